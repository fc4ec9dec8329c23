"""What a task yields is asked whether it is complete, in a pod: a cancel ends that question too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bed.api import Api, Object
from cordon_bed import Cordon, cordon
from pods_bed import KEY, SANDBOX, PodRig, rig, when

from gateway.cluster.marks import PROBE, TASK
from gateway.graph.resolver import SandboxResolver
from gateway.runs.events import NodesAdded, RunEvent, RunFinished, TaskStarted
from gateway.runs.executor import RunOrder

pytestmark = pytest.mark.usefixtures("fake_nodes")
QUIET = Path(__file__).parents[1] / "fixtures" / "pipelines" / "quiet"
YIELD = {
    "status": "PENDING",
    "explanation": "",
    "outputs": [],
    "yields": {
        "roots": [0],
        "nodes": [{"f": 0, "t": "Piece_one_0000000000", "p": {"name": "one"}, "x": [], "d": []}],
    },
}


@pytest.fixture
async def nodes(api: Api) -> AsyncIterator[Cordon]:
    """The nodes, which take pods or take none."""
    async with cordon(api) as made:
        yield made


@pytest.fixture
async def runs(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> AsyncIterator[PodRig]:
    """Runs in a namespace of this test."""
    async with rig(api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig") as made:
        yield made


async def splitting(runs: PodRig) -> RunOrder:
    """Return the order of a task that may yield another."""
    resolution = await SandboxResolver(SANDBOX, runs.folder / "code", KEY).resolve(
        source=QUIET, module="quiet", family="Splits", parameters={}, shown=("name",), emits={}
    )
    return await runs.order(
        graph=resolution.graph,
        code_path=resolution.code_path,
        code_digest=resolution.code_digest,
        module="quiet",
    )


def questions(runs: PodRig) -> list[Object]:
    """Return the questions that the API server has."""
    found: list[Object] = runs.api.get(runs.path)["items"]
    return [pod for pod in found if pod["metadata"]["annotations"].get(TASK) == PROBE]


async def asked_about_a_yield(runs: PodRig, nodes: Cordon) -> tuple[RunOrder, Object]:
    """Run a task until it has yielded, and return the question about that, which no node takes."""

    async def stop_at(event: RunEvent) -> None:
        if isinstance(event, TaskStarted | NodesAdded):
            await nodes.shut()

    runs.hook = stop_at
    order = await splitting(runs)
    await runs.supervisor.start(order)
    pod = await runs.pod("Pending")
    await runs.wish(pod, message=json.dumps({"v": 1, "result": YIELD}))
    await nodes.open()
    await when(lambda: runs.told(NodesAdded))
    await when(lambda: [q for q in questions(runs) if not q["spec"].get("nodeName")])
    (question,) = questions(runs)
    return order, question


@pytest.mark.parametrize("phase", ["Pending", "Running"])
async def test_run_cancelled_while_it_asks_about_a_yield(
    runs: PodRig, nodes: Cordon, phase: str
) -> None:
    """No pod is left when the cancel returns, and nothing that was yielded began."""
    order, question = await asked_about_a_yield(runs, nodes)
    if phase == "Running":
        await runs.wish(question, hold="running")
        await nodes.open()
    await when(lambda: questions(runs)[0]["status"].get("phase") == phase)
    await asyncio.wait_for(runs.supervisor.cancel(order.launch_id), 60)
    assert runs.api.get(runs.path)["items"] == []
    assert [end.status for end in runs.told(RunFinished)] == ["cancelled"]
    assert len(runs.told(TaskStarted)) == 1
