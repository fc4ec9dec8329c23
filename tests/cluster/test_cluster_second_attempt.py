"""Between two attempts of a task: whatever the gateway does, the former one's pod goes first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
from bed.api import Api
from pods_bed import PodRig, rig

from gateway.runs.executor import Assignment, Progress, RunOrder
from gateway.runs.halt import StoppedError

pytestmark = pytest.mark.usefixtures("fake_nodes")
HELD = "hold=running"
Rigs = Callable[..., AbstractAsyncContextManager[PodRig]]


@pytest.fixture
def rigs(api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path) -> Rigs:
    """Make runs in a namespace of this test: one gateway after the other."""
    return partial(rig, api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig")


def root(order: RunOrder) -> Assignment:
    """Return the one task of an order."""
    return Assignment.of(order.graph, order.graph.root)


def deaf(_: Progress) -> None:
    """Hear of no progress."""


async def test_gateway_that_stops_starts_no_next_attempt(rigs: Rigs) -> None:
    """One that waits for the former attempt's end is stopped with it, and gets no pod."""
    async with rigs() as runs:
        order = await runs.order(play=f"{HELD}+terminating;")
        executor = runs.executor(order.launch_id)
        await executor.prepare(order)
        first = asyncio.create_task(executor.run(root(order), 1, deaf))
        pod = await runs.pod()
        await executor.kill(order.graph.root, 1)
        second = asyncio.create_task(executor.run(root(order), 2, deaf))
        await asyncio.sleep(0.3)
        executor.leave()
        said = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(each) for each in said] == [StoppedError, StoppedError]
        await executor.close()
        await asyncio.sleep(0.3)
        assert runs.witness.attempts() == 1
        await runs.wish(pod, hold="go")


@pytest.mark.parametrize("ending", [True, False])
async def test_next_attempt_after_a_crash_ends_the_former_pod(rigs: Rigs, ending: bool) -> None:
    """A gateway crashed between the entry of attempt 2 and its pod: that of attempt 1 goes first.

    The rigs' witness fails the test where two of them live at once.
    """
    async with rigs() as dead:
        order = await dead.order(play=f"{HELD}+terminating;")
        executor = dead.executor(order.launch_id)
        await executor.prepare(order)
        first = asyncio.create_task(executor.run(root(order), 1, deaf))
        former = await dead.pod()
        if ending:
            await executor.kill(order.graph.root, 1)
        executor.leave()
        await asyncio.wait([first])
        assert isinstance(first.exception(), StoppedError)
    async with rigs() as runs:
        executor = runs.executor(order.launch_id)
        await executor.prepare(order)
        second = asyncio.create_task(executor.run(root(order), 2, deaf))
        await asyncio.sleep(1)
        assert runs.witness.attempts() == 0
        (left,) = await runs.listed()
        assert left["metadata"]["uid"] == former["metadata"]["uid"]
        assert "deletionTimestamp" in left["metadata"]
        await runs.wish(former, hold="go")
        assert (await second).status == "DONE"
        assert runs.witness.attempts() == 1
        await executor.close()


async def test_crash_after_both_entries_and_no_stop(rigs: Rigs) -> None:
    """The same attempt is taken up and its pod is not mistaken for another attempt's."""
    async with rigs() as dead:
        order = await dead.order(play=HELD)
        executor = dead.executor(order.launch_id)
        await executor.prepare(order)
        first = asyncio.create_task(executor.run(root(order), 1, deaf))
        pod = await dead.pod()
        executor.leave()
        await asyncio.wait([first])
        first.exception()
    async with rigs() as runs:
        executor = runs.executor(order.launch_id)
        await executor.prepare(order)
        again = asyncio.create_task(executor.run(root(order), 1, deaf))
        await asyncio.sleep(0.5)
        await runs.wish(pod, hold="go")
        assert (await again).status == "DONE"
        assert runs.witness.attempts() == 0
        await executor.close()
