"""A graph whose log cannot be read just now is not lost: the log is asked for again.

The pod is played, and its process is not: it is the real entry point, run here with what the
cluster holds for the pod, whose report and log the fake node then gives.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bed.api import Api, Object
from bed.objects import collection
from cordon_bed import cordon
from pods_bed import KEY, PLAYED, SANDBOX, SHOWN, PodRig, rig, when
from relay_bed import Asked, Relay, token_for

from gateway.clock import new_id
from gateway.errors import Retryable
from gateway.graph import pod_resolver
from gateway.graph.pod_resolver import PodResolver
from gateway.graph.resolver import Resolution
from gateway.model import Receipt

pytestmark = pytest.mark.usefixtures("fake_nodes")
PROCESS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from sluice_guest.pod import Paths, Pod
del sys.path[0]
Pod(Paths(**json.loads(sys.argv[2]))).main()
"""


class Unwell:
    """The first answers to who asks for a pod's log are a load balancer's."""

    def __init__(self, relay: Relay, status: int, times: int) -> None:
        self.asked = 0
        self._status, self._times = status, times
        relay.touch = self._touch

    async def _touch(self, asked: Asked) -> int | None:
        if not asked.path.endswith("/log"):
            return None
        self.asked += 1
        return self._status if self.asked <= self._times else None


@pytest.fixture
async def relay(api: Api) -> AsyncIterator[Relay]:
    """The gateway's way to the API server."""
    async with Relay(api) as made:
        yield made


@pytest.fixture
async def runs(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path, relay: Relay
) -> AsyncIterator[PodRig]:
    """Pods in a namespace of this test."""
    eyes, token = Path(cluster["KUBECONFIG"]), token_for(api, namespace, tmp_path)
    kubeconfig = relay.kubeconfig(tmp_path)
    async with rig(api, kubeconfig, namespace, tmp_path / "rig", eyes=eyes, token=token) as made:
        yield made


async def resolve(runs: PodRig) -> Resolution:
    """Ask for a graph in a pod."""

    async def deny_all(_: Receipt) -> str:
        return f"p-{'0' * 32}"

    store = runs.folder / "code"
    return await PodResolver(runs.pods, runs.deliveries, SANDBOX, store, KEY, deny_all).resolve(
        launch_id=new_id(),
        image="",
        source=PLAYED,
        in_image=False,
        module="played",
        family="Scene",
        parameters={"plays": "|"},
        shown=SHOWN,
        emits={},
        receipt=Receipt(1, "entry", "0" * 64, "launch.resolving"),
    )


def processed(runs: PodRig, pod: Object, folder: Path) -> tuple[str, bytes]:
    """Run the pod's process here, and return its report and its log."""
    namespace, volumes = runs.cluster.namespace, {v["name"]: v for v in pod["spec"]["volumes"]}
    folder.mkdir()

    def kept(name: str, kind: str, file: str) -> Path:
        found = runs.api.get(f"{collection(namespace, kind)}/{name}")
        data = found.get("binaryData") or found["data"]
        (folder / file).write_bytes(base64.b64decode(data[file]))
        return folder / file

    guest = kept(volumes["guest"]["configMap"]["name"], "configmaps", "guest.pyz")
    code = kept(volumes["code"]["configMap"]["name"], "configmaps", "code.zip")
    order = kept(volumes["order"]["secret"]["secretName"], "secrets", "task.json")
    order.write_text(json.dumps({**json.loads(order.read_text()), "workdir": str(folder)}))
    paths = {"order": str(order), "code": str(code), "message": str(folder / "message")}
    paths["unpacked"] = str(folder / "pipeline")
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", PROCESS, str(guest), json.dumps(paths)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return (folder / "message").read_text(), done.stdout


def log(runs: PodRig, pod: Object, text: bytes, file: Path) -> None:
    """Have a pod's log hold a text."""
    lines = [
        f"2026-11-22T08:15:00.123456789Z stdout F {line}" for line in text.decode().split("\n")
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = f"/apis/kwok.x-k8s.io/v1alpha1/namespaces/{runs.cluster.namespace}/logs"
    source: Object = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Logs",
        "metadata": {"name": pod["metadata"]["name"]},
        "spec": {"logs": [{"containers": ["task"], "logsFile": str(file)}]},
    }
    runs.api.create(path, source)


async def played(runs: PodRig, folder: Path) -> asyncio.Task[Resolution]:
    """Begin to resolve, and let the pod run to its end with the report and log of its process."""
    async with cordon(runs.api) as nodes:
        await nodes.shut()
        resolving = asyncio.create_task(resolve(runs))
        pod = await runs.pod("Pending")
        secret = f"{collection(runs.cluster.namespace, 'secrets')}/{pod['metadata']['name']}"
        await asyncio.to_thread(_there, runs.api, secret)
        message, text = await asyncio.to_thread(processed, runs, pod, folder / "process")
        log(runs, pod, text, folder / "log")
        await runs.wish(pod, message=message)
    return resolving


def _there(api: Api, path: str) -> None:
    folder, _, name = path.rpartition("/")
    api.when(folder, lambda found: any(i["metadata"]["name"] == name for i in found["items"]))


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_log_that_cannot_be_read_now(
    runs: PodRig, relay: Relay, tmp_path: Path, status: int
) -> None:
    """A moment's failure costs a moment: the graph is the one that a sandbox here finds."""
    unwell = Unwell(relay, status, 2)
    resolving = await played(runs, tmp_path)
    found = await asyncio.wait_for(resolving, 60)
    here = (await runs.order("Scene", plays="|")).graph
    assert (found.graph.digest, unwell.asked) == (here.digest, 3)
    await when(lambda: not runs.pods.seen)
    assert runs.witness.attempts() == 1


async def test_log_that_cannot_be_read_for_long(
    runs: PodRig, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the cluster is at fault and not the pipeline: launch again; no pod is left."""
    monkeypatch.setattr(pod_resolver, "_LOG_SECONDS", 0.5)
    Unwell(relay, 503, 1000)
    resolving = await played(runs, tmp_path)
    with pytest.raises(Retryable) as caught:
        await asyncio.wait_for(resolving, 60)
    assert caught.value.step == "resolve"
    await when(lambda: not runs.pods.seen)
