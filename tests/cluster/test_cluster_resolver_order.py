"""Invariant 4 of the pod that is asked for a graph: it reaches nothing, and that was so before it.

Judged by the API server's own record, as the pods of tasks are (``audit.py``). The pod is played;
its process is the real entry point, run here on the image's folder.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from audit import order
from bed.api import Object
from bed.installation import TASKS, Installation
from bed.objects import PROFILES, collection
from cordon_bed import cordon
from cut_bed import PLAYED, PODS, RUNNER, cleared, settings, unbind
from gateway_bed import ROOT, Served, serve
from labels_bed import labels

from gateway.cluster.marks import LAUNCH_ID, RESOLVE, TASK
from gateway.graph.pod_resolver import image_code_digest
from gateway.guest.pod_code import digest_of_image
from gateway.network.marks import policy_name
from gateway.network.profiles import compiled
from gateway.network.sites import site_of
from gateway.settings import Settings

pytestmark = pytest.mark.usefixtures("fake_nodes")
IMAGE = f"sluice.test/pipelines@sha256:{'2' * 64}"
FOLDER = "/app/pipelines/played"  # of the image
LAUNCH = {"pipeline": "imaged", "parameters": {"plays": "|"}, "reason": "test"}
NOTHING: Object = {"ingress": [{}], "egress": [{}]}  # rules that select nobody: all is denied
PROCESS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from sluice_guest.pod import Paths, Pod
del sys.path[0]
Pod(Paths(**json.loads(sys.argv[2]))).main()
"""


@pytest.fixture
def imaged(
    guarded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings of a gateway whose catalogue has ``imaged``, of an image; no profile is bound."""
    monkeypatch.chdir(ROOT)
    chosen = settings(guarded, tmp_path)
    catalogue = chosen.policy.directory / "data" / "pipelines.yaml"
    rows = yaml.safe_load(catalogue.read_text())
    code = image_code_digest(IMAGE, digest_of_image(str(ROOT / PLAYED)))
    approval = {**rows["scene"]["standing_approval"], "code_digest": code}
    place = {"image": IMAGE, "source": FOLDER, "standing_approval": approval}
    catalogue.write_text(json.dumps({**rows, "imaged": {**rows["scene"], **place}}))
    unbind(guarded)
    with cleared(guarded.admin):
        yield chosen


async def asked(guarded: Installation) -> Object:
    """Wait for the pod that is asked for a graph, and for what it is asked."""
    async with asyncio.timeout(30):
        while True:
            for pod in (await asyncio.to_thread(guarded.admin.get, PODS))["items"]:
                name = pod["metadata"]["name"]
                if pod["metadata"]["annotations"].get(TASK) == RESOLVE:
                    found = await asyncio.to_thread(guarded.admin.get, collection(TASKS, "secrets"))
                    if any(item["metadata"]["name"] == name for item in found["items"]):
                        return dict(pod)
            await asyncio.sleep(0.1)


def process(guarded: Installation, pod: Object, folder: Path) -> tuple[str, bytes]:
    """Run the pod's process on the image's folder, and return its report and its log."""
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert "code" not in volumes, "the code is the image's"
    folder.mkdir()
    guest = guarded.admin.get(
        f"{collection(TASKS, 'configmaps')}/{volumes['guest']['configMap']['name']}"
    )["binaryData"]["guest.pyz"]
    (folder / "guest.pyz").write_bytes(base64.b64decode(guest))
    secret = guarded.admin.get(
        f"{collection(TASKS, 'secrets')}/{volumes['order']['secret']['secretName']}"
    )["data"]["task.json"]
    task = json.loads(base64.b64decode(secret))
    assert (task["tree"], task["image"]) == (FOLDER, IMAGE)
    here = {"tree": str(ROOT / PLAYED), "workdir": str(folder)}
    (folder / "task.json").write_text(json.dumps({**task, **here}))
    files = {"order": "task.json", "code": "none", "message": "message", "unpacked": "unpacked"}
    paths = {name: str(folder / file) for name, file in files.items()}
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", PROCESS, folder / "guest.pyz", json.dumps(paths)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return (folder / "message").read_text(), done.stdout


def answered(guarded: Installation, pod: Object, folder: Path) -> None:
    """Have the node that will play the pod give the report and the log of its process."""
    message, text = process(guarded, pod, folder / "process")
    lines = [f"2026-11-22T08:00:00.0Z stdout F {line}\n" for line in text.decode().split("\n")]
    (folder / "log").write_text("".join(lines))
    name = pod["metadata"]["name"]
    source: Object = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Logs",
        "metadata": {"name": name},
        "spec": {"logs": [{"containers": ["task"], "logsFile": str(folder / "log")}]},
    }
    guarded.admin.create(f"/apis/kwok.x-k8s.io/v1alpha1/namespaces/{TASKS}/logs", source)
    note = {"bed.sluice/message": message}
    guarded.admin.merge(f"{PODS}/{name}", {"metadata": {"annotations": note}})


async def launched(served: Served, guarded: Installation, folder: Path) -> tuple[Object, str]:
    """Launch the pipeline; return the pod that was asked for its graph, and the launch's end."""
    async with served.client("ada") as ada:
        async with cordon(guarded.admin) as nodes:
            await nodes.shut()
            posting = asyncio.create_task(ada.post("/v1/launches", LAUNCH))
            pod = await asked(guarded)
            await asyncio.to_thread(answered, guarded, pod, folder)
        launch_id = (await posting)["id"]
        async for event in ada.events(launch_id):
            last = event
    assert pod["metadata"]["annotations"][LAUNCH_ID] == launch_id
    return pod, str(last.data["state"])


async def test_no_resolving_pod_before_the_policy_that_denies_all(
    imaged: Settings, guarded: Installation, cluster: dict[str, str], tmp_path: Path
) -> None:
    """A pipeline of an image: the pod asked for its graph wears a profile that allows nothing.

    The binder had made and read its policy before; so it had for each pod of the run.
    """
    if "SLUICE_CLUSTER_AUDIT_LOG" not in cluster:
        pytest.skip("the cluster of KUBECONFIG keeps its audit log to itself")
    policy = policy_name(compiled((), site_of(imaged.cluster)).name)
    policies = collection(TASKS, PROFILES)
    async with labels(Path(cluster["KUBECONFIG"]), TASKS) as worn, serve(imaged) as served:
        pod, state = await launched(served, guarded, tmp_path)
        bound = guarded.admin.get(f"{policies}/{policy}")["spec"]
    name, launch_id = pod["metadata"]["name"], pod["metadata"]["annotations"][LAUNCH_ID]
    assert (state, worn[name]) == ("succeeded", policy)
    assert {key: bound[key] for key in bound if key != "endpointSelector"} == NOTHING
    assert pod["spec"]["containers"][0]["image"] == IMAGE
    record = Path(cluster["SLUICE_CLUSTER_AUDIT_LOG"])
    found = order(record, launch_id, (), RUNNER, worn=worn)
    assert (found.pods, found.early, found.twice) == (2, (), ())
