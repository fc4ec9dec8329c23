"""Questions are pods as well: one that is given up half asked is ended with its run, surely."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from bed.api import Api, Object
from pods_bed import MuteDoor, PodRig, rig, when

from gateway.cluster.marks import PROBE, TASK
from gateway.runs.events import RunFinished, TaskStarted
from gateway.runs.executor import Assignment

pytestmark = pytest.mark.usefixtures("fake_nodes")
Rigs = Callable[..., AbstractAsyncContextManager[PodRig]]


def questions(runs: PodRig) -> list[Object]:
    """Return the questions that the API server has."""
    found: list[Object] = runs.api.get(runs.path)["items"]
    return [pod for pod in found if pod["metadata"]["annotations"].get(TASK) == PROBE]


@pytest.fixture
def rigs(api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path) -> Rigs:
    """Make runs in a namespace of this test."""
    return partial(rig, api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig")


async def test_question_whose_pod_was_on_its_way(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> None:
    """Given up before the server answered: closing waits for the answer, and ends the pod."""
    eyes = Path(cluster["KUBECONFIG"])
    async with MuteDoor(api.server) as door:
        kubeconfig = door.kubeconfig(eyes, tmp_path)
        async with rig(api, kubeconfig, namespace, tmp_path / "rig", eyes=eyes) as runs:
            order = await runs.order(play="")
            executor = runs.executor(order.launch_id)
            await executor.prepare(order)
            door.mute = True
            asked = Assignment.of(order.graph, order.graph.root)
            asking = asyncio.create_task(executor.probe([asked]))
            await when(lambda: questions(runs))
            asking.cancel()
            await asyncio.wait([asking])
            closing = asyncio.create_task(executor.close())
            await asyncio.sleep(0.5)
            assert not closing.done()
            door.mute = False
            await door.hang_up()
            await closing
            await when(lambda: not questions(runs))


async def test_run_cancelled_while_it_asks(rigs: Rigs) -> None:
    """A question that no node takes is gone when the cancel returns, and no task began."""
    async with rigs() as runs:
        order = await runs.order(play="")
        assert order.pods is not None
        order = replace(order, pods=replace(order.pods, cpu="5k"))
        await runs.supervisor.start(order)
        await when(lambda: questions(runs))
        await asyncio.wait_for(runs.supervisor.cancel(order.launch_id), 10)
        assert questions(runs) == []
        assert runs.told(TaskStarted) == []
        assert [end.status for end in runs.told(RunFinished)] == ["cancelled"]


async def test_gateway_that_stops_while_it_asks(rigs: Rigs) -> None:
    """It stops at once; the next run of the launch ends the old question and asks its own."""
    async with rigs() as first:
        order = await first.order(play="")
        assert order.pods is not None
        stuck = replace(order, pods=replace(order.pods, cpu="5k"))
        await first.supervisor.start(stuck)
        await when(lambda: questions(first))
        await asyncio.wait_for(first.supervisor.close(), 10)
        assert first.told(RunFinished) == []
    async with rigs() as runs:
        assert (await runs.carry(order)).status == "succeeded"
        await when(lambda: not questions(runs))
