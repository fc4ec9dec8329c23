"""Pipelines as real pods: kernel, containerd, kubelet, API server, guard rails, the whole gateway.

No agent of Cilium is there, so no policy is enforced: what is shown of the network here is that
policies are in the API server first, and that a canary notices when nothing enforces them.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import importlib.util
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from bed.api import Api, Object
from bed.image import PIPELINES
from bed.installation import TASKS, Installation
from bed.objects import collection
from bed.private import NODE_ADDRESS, SILENT_ADDRESS
from gateway_bed import ROOT
from real_pods_bed import CODE, Site, Volume, end, launch, text, volume, why

from gateway.graph.pod_resolver import image_code_digest
from gateway.guest import tree_digest

pytestmark = pytest.mark.usefixtures("real_node")


@pytest.fixture(scope="module")
def shared(
    api: Api, guarded: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Volume]:
    """The volume of all workspaces, in the namespace that ``guarded`` made."""
    assert guarded
    with volume(api, tmp_path_factory.mktemp("volume") / "workspaces") as found:
        yield found


@pytest.fixture
def site(
    real_node: None,  # noqa: ARG001 - first of all, so that nothing is installed in vain
    cluster: dict[str, str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    """What a gateway before the real node needs."""
    monkeypatch.chdir(ROOT)
    guarded, shared = (request.getfixturevalue(name) for name in ("guarded", "shared"))
    found = Site(guarded, tmp_path, cluster["SLUICE_CLUSTER_IMAGE"], shared)
    yield found
    found.clean()


@pytest.fixture
def open_data() -> Iterator[str]:
    """Serve open data where pods reach it, to who has the key ``hush-hush``."""
    spec = importlib.util.spec_from_file_location("opendata", ROOT / "examples" / "opendata.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler = partial(  # its server listens on loopback only, which is another one in each pod
        module._Handler, files=module.read_files(), key="hush-hush", verbose=False
    )
    with http.server.ThreadingHTTPServer((NODE_ADDRESS, module.DEFAULT_PORT), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://{NODE_ADDRESS}:{module.DEFAULT_PORT}"
        server.shutdown()
        thread.join()


async def test_an_example_runs_as_real_pods(site: Site, open_data: str) -> None:
    """City weather runs to success, one pod a task; its key reaches it and stands in no pod."""
    parameters = {"source": open_data, "months": 2, "api_key": "hush-hush"}
    async with site.gateway() as served, served.client("ada") as ada:
        found = await end(ada, await launch(ada, "city-weather", parameters), 300)
    assert found["state"] == "succeeded", why(found)
    pods = site.pods(found["id"])
    assert len(pods) >= len(found["tasks"]) // 2
    assert {pod["spec"]["nodeName"] for pod in pods} == {"real-0"}
    assert "hush-hush" not in text(list(site.seen.values()))  # nor in what a pod reports
    reports = list((site.volume.folder / "runs" / found["id"]).rglob("*.html"))
    assert reports


async def test_a_task_finds_itself_shut_in(site: Site) -> None:
    """Not root, nothing to gain, no token, no Service's name, nothing to write but its folders."""
    name = site.catalogue("Look")
    async with site.gateway() as served, served.client("ada") as ada:
        found = await end(ada, await launch(ada, name))
    assert found["state"] == "succeeded", why(found)
    seen = json.loads(site.wrote(found["id"], "Look.txt"))
    assert set(seen["users"]) == {65_532}
    assert seen["writable"] == ["/tmp", "/workspace"]  # noqa: S108 - the pod's own
    assert (seen["token"], seen["order"]) == (False, False)
    assert seen["services"] == ["KUBERNETES_SERVICE_HOST"]  # every pod of Kubernetes has that one
    assert set(seen["capabilities"]) == {"0" * 16}
    assert (seen["no_new_privileges"], seen["seccomp"]) == ("1", "2")  # 2: a filter (proc(5))
    assert "options ndots:1" in seen["names"]


async def test_a_masked_parameter_comes_by_a_secret(site: Site) -> None:
    """The task has it in clear; it stands in no pod, no log of a pod and no entry."""
    name = site.catalogue("Tells")
    async with site.gateway() as served, served.client("ada") as ada:
        found = await end(ada, await launch(ada, name, {"secret": "rumpelstiltskin"}))
        entries = await served.gateway.parts.log.entries(0, 1_000)
    assert found["state"] == "succeeded", why(found)
    digest = hashlib.sha256(b"rumpelstiltskin").hexdigest()
    assert site.wrote(found["id"], "Tells.txt") == digest
    mounts = [volume for pod in site.pods(found["id"]) for volume in pod["spec"]["volumes"]]
    assert any("secret" in mount for mount in mounts)
    assert "rumpelstiltskin" not in text(list(site.seen.values()))  # nor in a report
    assert all("rumpelstiltskin" not in text(entry.value) for entry in entries)
    left = site.guarded.admin.get(collection(TASKS, "secrets"))["items"]
    assert [secret["metadata"]["name"] for secret in left] == []


async def test_a_task_that_yields_waits_for_what_it_yielded(site: Site) -> None:
    """A yield goes through the termination message, and Luigi runs the task again afterwards."""
    name = site.catalogue("Splits")
    async with site.gateway() as served, served.client("ada") as ada:
        found = await end(ada, await launch(ada, name), 180)
    assert found["state"] == "succeeded", why(found)
    assert site.wrote(found["id"], "Splits.txt") == "piece-0.txt,piece-1.txt,piece-2.txt"
    assert len(site.pods(found["id"])) == 5  # three pieces, and twice the one that yields them


async def test_memory_beyond_the_limit_is_a_failure_that_says_so(site: Site) -> None:
    """The kernel kills, the kubelet reports, and Luigi's failure names the limit."""
    name = site.catalogue("Eats", pod={"memory": "192Mi"})
    async with site.gateway() as served, served.client("ada") as ada:
        found = await end(ada, await launch(ada, name))
    assert found["state"] == "failed"
    assert "it used more memory than its limit of 192Mi" in why(found)


async def test_an_image_that_is_not_there_is_a_failure_that_says_so(site: Site) -> None:
    """Nobody waits for a registry for ever."""
    site.image = f"sluice.test/task@sha256:{'1' * 64}"
    name = site.catalogue("Look")
    async with site.gateway(pull_seconds=3) as served, served.client("ada") as ada:
        found = await end(ada, await launch(ada, name))
    assert found["state"] == "failed"
    assert f"its image {site.image} cannot be had" in why(found)


async def test_cancel_stops_a_pod_within_seconds(site: Site) -> None:
    """A task that would run for a minute is gone, process and pod, soon after the command."""
    name = site.catalogue("Waits")
    async with site.gateway() as served, served.client("ada") as ada:
        waiting = await launch(ada, name)
        await _begun(site, waiting)
        began = asyncio.get_running_loop().time()
        await ada.post(f"/v1/launches/{waiting}/cancel")
        found = await end(ada, waiting)
        took = asyncio.get_running_loop().time() - began
        assert found["state"] == "cancelled", why(found)
        left = await asyncio.to_thread(site.guarded.admin.get, collection(TASKS))
    assert took < 10
    assert left["items"] == []


async def test_a_gateway_that_starts_again_adopts_the_pod(site: Site) -> None:
    """The pod outlives the gateway, and its task runs once."""
    name = site.catalogue("Waits")
    async with site.gateway() as served, served.client("ada") as ada:
        waiting = await launch(ada, name, {"seconds": 15})
        await _begun(site, waiting)
    async with site.gateway() as served, served.client("ada") as ada:
        found = await end(ada, waiting)
    assert found["state"] == "succeeded", why(found)
    assert len({pod["metadata"]["uid"] for pod in site.pods(waiting)}) == 1
    assert site.wrote(waiting, "begun") == "begun\n"


async def test_a_pod_on_a_silent_node_runs_until_the_node_is_back(
    site: Site, api: Api, cluster: dict[str, str]
) -> None:
    """A launch is cancelled when the API server knows that its pod has ended, and no sooner."""
    name, kubelet = site.catalogue("Waits"), int(cluster["SLUICE_CLUSTER_KUBELET"])
    node = "/api/v1/nodes/real-0"
    async with site.gateway() as served, served.client("ada") as ada:
        waiting = await launch(ada, name, {"seconds": 300})
        await _begun(site, waiting)
        os.kill(kubelet, signal.SIGSTOP)
        try:
            await asyncio.to_thread(api.when, node, _ready("Unknown"), seconds=90)
            asked = asyncio.create_task(ada.post(f"/v1/launches/{waiting}/cancel"))
            await asyncio.sleep(5)
            assert (await ada.get(f"/v1/launches/{waiting}"))["state"] == "cancelling"
        finally:
            os.kill(kubelet, signal.SIGCONT)
        await asked
        found = await end(ada, waiting)
        await asyncio.to_thread(api.when, node, _ready("True"), seconds=90)
    assert found["state"] == "cancelled", why(found)


@pytest.mark.parametrize(
    ("address", "state"), [(NODE_ADDRESS, "failed"), (SILENT_ADDRESS, "succeeded")]
)
async def test_a_canary_that_is_reached_fails_the_attempt(
    site: Site, address: str, state: str
) -> None:
    """Where no policy is enforced the canary is reached; thrown away packets are what it wants."""
    name = site.catalogue("Look")
    listener = await asyncio.start_server(lambda _, writer: writer.close(), address)
    port = listener.sockets[0].getsockname()[1]
    async with (
        listener,
        site.gateway(canary=f"{address}:{port}") as served,
        served.client("ada") as ada,
    ):
        found = await end(ada, await launch(ada, name))
    assert found["state"] == state, why(found)
    sentence = "the canary could be reached from node real-0: no policy is in force there"
    assert (sentence in why(found)) == (state == "failed")
    pods = site.pods(found["id"])
    assert all(pod["spec"]["initContainers"][0]["name"] == "canary" for pod in pods)


async def test_code_that_the_cluster_changed_is_not_delivered(site: Site) -> None:
    """Other bytes under the name of the code stop the launch: here the runner itself put them."""
    name = site.catalogue("Look")
    async with site.gateway() as served, served.client("ada") as ada:
        first = await end(ada, await launch(ada, name))
        assert first["state"] == "succeeded", why(first)
        path = collection(TASKS, "configmaps")
        for found in site.guarded.admin.get(path)["items"]:
            if found["metadata"]["name"].startswith("sluice-code-"):
                forged = {**found, "binaryData": {"code.zip": "Zm9yZ2Vk"}}
                meta = {key: found["metadata"][key] for key in ("name", "namespace")}
                site.guarded.admin.delete(f"{path}/{meta['name']}")
                site.guarded["runner"].create(path, {**forged, "metadata": meta})
        second = await end(ada, await launch(ada, name))
        for found in site.guarded.admin.get(path)["items"]:
            if found["metadata"]["name"].startswith("sluice-code-"):
                site.guarded.admin.delete(f"{path}/{found['metadata']['name']}")
    assert second["state"] == "failed", why(second)
    assert "does not hold what its name says" in why(second)


async def test_a_pipeline_that_lives_in_an_image(site: Site, cluster: dict[str, str]) -> None:
    """Its graph comes from a pod of that image, its tasks run from that folder, nothing is ours."""
    image, folder = cluster["SLUICE_CLUSTER_PIPELINES_IMAGE"], f"{PIPELINES}/in_pods"
    digest = image_code_digest(image, tree_digest.compute(str(ROOT / CODE)))
    name = site.catalogue("Splits", source=folder, image=image, code_digest=digest)
    site.image = f"sluice.test/none@sha256:{'1' * 64}"
    async with site.gateway() as served, served.client("ada") as ada:
        found = await end(ada, await launch(ada, name), 180)
    assert found["state"] == "succeeded", why(found)
    assert found["plan"]["code_digest"] == digest
    pods = site.pods(found["id"])
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {image}
    assert all("/sluice-code" not in text(pod) for pod in pods)
    assert any(name.split("-")[1] == "resolve" for name in site.seen)


async def _begun(site: Site, launch_id: str) -> None:
    """Wait until a task says that it runs."""
    mark = site.volume.folder / "runs" / launch_id / "begun"
    async with asyncio.timeout(90):
        while not mark.exists():  # noqa: ASYNC110 - a file of another process
            await asyncio.sleep(0.1)


def _ready(status: str) -> Callable[[Object], bool]:
    """Return a question for ``Api.when``: whether a node's readiness is this."""
    return lambda node: any(
        item["type"] == "Ready" and item["status"] == status
        for item in node["status"]["conditions"]
    )
