"""On the real node a pod is what it is anywhere: a process in cgroups and namespaces."""

from __future__ import annotations

import pytest
from bed.api import Api
from bed.objects import collection, ended, phase, pod

pytestmark = pytest.mark.usefixtures("real_node")

REPORT = """\
import luigi, pathlib, socket
pathlib.Path("/dev/termination-log").write_text("luigi " + luigi.__version__)
print(",".join(name for _, name in socket.if_nameindex()))
"""
OVEREAT = "food = bytearray(512 * 2**20); print(len(food))"


def python(program: str) -> list[str]:
    """Return the command of a container that runs a Python program."""
    return ["python3", "-c", program]


def test_kubelet_runs_luigi(api: Api, namespace: str) -> None:
    """Luigi is in the image, the pod has a network of its own, and message and log come back."""
    path = f"{collection(namespace)}/task"
    api.create(collection(namespace), pod("task", "kubelet", python(REPORT)))
    done = api.when(path, phase("Succeeded", "Failed"), seconds=60)
    assert ended(done)["message"] == "luigi 3.8.1"
    assert ended(done)["exitCode"] == 0
    assert api.text("GET", f"{path}/log") == "lo,eth0\n"


def test_kubelet_reports_the_exit_status(api: Api, namespace: str) -> None:
    """A task that exits with 3 is a failed pod with exit code 3."""
    command = python("raise SystemExit(3)")
    api.create(collection(namespace), pod("task", "kubelet", command))
    done = api.when(f"{collection(namespace)}/task", phase("Succeeded", "Failed"), seconds=60)
    assert (done["status"]["phase"], ended(done)["exitCode"]) == ("Failed", 3)


def test_kubelet_kills_what_eats_too_much(api: Api, namespace: str) -> None:
    """A memory limit is a cgroup's: the kernel kills, and the pod says OOMKilled."""
    hungry = pod("task", "kubelet", python(OVEREAT))
    hungry["spec"]["containers"][0]["resources"] = {"limits": {"memory": "64Mi", "cpu": "1"}}
    api.create(collection(namespace), hungry)
    done = api.when(f"{collection(namespace)}/task", phase("Succeeded", "Failed"), seconds=60)
    assert (ended(done)["reason"], ended(done)["exitCode"]) == ("OOMKilled", 137)


def test_kubelet_stops_a_pod_on_deletion(api: Api, namespace: str) -> None:
    """A deleted pod gets SIGTERM, and is gone when its process is."""
    command = python("import signal; signal.signal(15, lambda *_: exit(0)); signal.pause()")
    api.create(collection(namespace), pod("task", "kubelet", command))
    api.when(f"{collection(namespace)}/task", phase("Running"), seconds=60)
    api.delete(f"{collection(namespace)}/task")
    api.when(collection(namespace), lambda found: found["items"] == [])
