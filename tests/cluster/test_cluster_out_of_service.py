"""An operator says that a silent node is dead, and Kubernetes believes it: then, and not before.

The taint ``node.kubernetes.io/out-of-service`` has the pods deleted, which on a silent node only
begins their end, and has the pod garbage collector finish it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bed.api import Api, Object
from pods_bed import PodRig, rig, tainted, when

pytestmark = pytest.mark.usefixtures("fake_nodes")
HELD = "hold=running"
DEAD = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
PATIENT = 120  # seconds; the garbage collector looks every 20


@pytest.fixture
async def runs(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> AsyncIterator[PodRig]:
    """Runs in a namespace of this test."""
    async with rig(api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig") as made:
        yield made


@asynccontextmanager
async def silent(api: Api, node: str) -> AsyncIterator[None]:
    """Have a node say nothing, until the cluster knows it, and have it back."""
    path = f"/api/v1/nodes/{node}"
    api.merge(path, {"metadata": {"labels": {"type": None}}})
    try:
        await asyncio.to_thread(
            api.when, path, lambda found: _ready(found) == "Unknown", seconds=60
        )
        yield
    finally:
        api.merge(path, {"metadata": {"labels": {"type": "kwok"}}})
        await asyncio.to_thread(api.when, path, _is_back, seconds=60)


def _ready(node: Object) -> str:
    return next(str(c["status"]) for c in node["status"]["conditions"] if c["type"] == "Ready")


def _is_back(node: Object) -> bool:
    return _ready(node) == "True" and not node["spec"].get("taints")


@pytest.mark.slow
@pytest.mark.parametrize("told_to_end", [False, True])
async def test_silent_node_that_is_declared_dead(runs: PodRig, told_to_end: bool) -> None:
    """Its pod counts as running until the API server gives it up; then the task runs elsewhere.

    Also where the pod was to be deleted before: on a silent node that alone ends nothing.
    """
    order = await runs.order(play=f"{HELD};")
    await runs.supervisor.start(order)
    pod = await runs.pod()
    node = pod["spec"]["nodeName"]
    async with silent(runs.api, node):
        if told_to_end:
            await runs.gone(pod)
        await asyncio.sleep(2)
        assert (runs.witness.attempts(), runs.failures) == (1, [])
        async with tainted(runs.api, node, DEAD):
            await when(lambda: runs.failures, PATIENT)
            end = await runs.end(order)
    assert end.status == "succeeded"
    (failure,) = runs.failures
    assert failure.startswith("its node was lost or told to take no pods (")
    assert runs.witness.attempts() == 2
