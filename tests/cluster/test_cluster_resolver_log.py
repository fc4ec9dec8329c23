"""A pod that was asked for a graph is there until its log, which holds the graph, is read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from bed.api import Object
from bed.installation import TASKS, Installation
from bed.objects import collection
from cut_bed import cleared, settings
from gateway_bed import ROOT, Served, serve

from gateway.cluster.marks import RESOLVE, TASK
from gateway.commands.client import ClientError, GatewayClient

pytestmark = pytest.mark.usefixtures("fake_nodes")
PODS = collection(TASKS)
LOGS = f"/apis/kwok.x-k8s.io/v1alpha1/namespaces/{TASKS}/logs"
SWEEP = 5  # seconds between two looks of the reconciliation
LAUNCH = {"pipeline": "scene", "parameters": {"plays": ""}, "reason": "test"}


@pytest.fixture
async def served(
    guarded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    """A gateway that resolves in pods."""
    monkeypatch.chdir(ROOT)
    chosen = settings(guarded, tmp_path)
    cluster = chosen.cluster.model_copy(update={"resolve_in_pods": True})
    with cleared(guarded.admin):
        async with serve(chosen.model_copy(update={"cluster": cluster})) as found:
            yield found


def resolving(guarded: Installation) -> list[Object]:
    """Return the pods that are asked for a graph."""
    found: list[Object] = guarded.admin.get(PODS)["items"]
    return [pod for pod in found if pod["metadata"]["annotations"].get(TASK) == RESOLVE]


async def asked(guarded: Installation, phase: str) -> Object:
    """Wait for the pod that is asked for a graph to be in a phase."""
    async with asyncio.timeout(20):
        while True:
            for pod in await asyncio.to_thread(resolving, guarded):
                if pod["status"].get("phase") == phase:
                    return pod
            await asyncio.sleep(0.1)


@contextmanager
def cordoned(guarded: Installation) -> Iterator[None]:
    """Let no node take a pod."""
    nodes = [each["metadata"]["name"] for each in guarded.admin.get("/api/v1/nodes")["items"]]
    for name in nodes:
        guarded.admin.merge(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": True}})
    try:
        yield
    finally:
        for name in nodes:
            guarded.admin.merge(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": None}})


@contextmanager
def slow_log(guarded: Installation, name: str, fifo: Path) -> Iterator[None]:
    """Have a pod's log come from a pipe: nothing is read before somebody opens its other end."""
    os.mkfifo(fifo)
    source: Object = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Logs",
        "metadata": {"name": name},
        "spec": {"logs": [{"containers": ["task"], "logsFile": str(fifo)}]},
    }
    guarded.admin.create(LOGS, source)
    try:
        yield
    finally:
        os.close(os.open(fifo, os.O_RDWR))  # nobody can read a log there, and the node says so
        guarded.admin.delete(f"{LOGS}/{name}")


async def refusal(ada: GatewayClient) -> str:
    """Launch as somebody, and return why it was refused."""
    with pytest.raises(ClientError) as caught:
        await ada.post("/v1/launches", LAUNCH)
    return str(caught.value)


async def test_pod_is_there_while_its_log_is_read(
    served: Served, guarded: Installation, tmp_path: Path
) -> None:
    """A slow kubelet: no sweep takes the pod for an orphan, and the launch gets its answer."""
    fifo = tmp_path / "log"
    async with served.client("ada") as ada:
        with ExitStack() as stack:
            with cordoned(guarded):
                launching = asyncio.create_task(refusal(ada))
                pod = await asked(guarded, "Pending")
                stack.enter_context(slow_log(guarded, pod["metadata"]["name"], fifo))
            await asked(guarded, "Succeeded")
            await asyncio.sleep(SWEEP + 1)
            assert not launching.done()
            (there,) = resolving(guarded)
            assert there["metadata"]["uid"] == pod["metadata"]["uid"]
        assert "the cluster refused" in await launching
    assert await served.gateway.parts.log.entries(0, 100, event_prefix="pod.") == []
    async with asyncio.timeout(10):
        while await asyncio.to_thread(resolving, guarded):  # noqa: ASYNC110 -- the server's word
            await asyncio.sleep(0.1)
