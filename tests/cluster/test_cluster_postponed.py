"""A run that cannot begin now, for the cluster's sake, is no failure: it waits, with its pods."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from bed.api import Api
from pods_bed import PodRig, rig, when

from gateway.errors import GatewayError, Misconfigured, Retryable
from gateway.runs.events import RunFinished, TaskStarted
from gateway.runs.executor import RunOrder

pytestmark = pytest.mark.usefixtures("fake_nodes")
HELD = "hold=running"
Rigs = Callable[..., AbstractAsyncContextManager[PodRig]]
NOT_NOW = Retryable("guard_rails_open", "the guard rails are open", step="bind")
NEVER = Misconfigured("cluster_forbids", "the cluster refuses a profile", step="bind")


@pytest.fixture
def rigs(api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path) -> Rigs:
    """Make runs in a namespace of this test: one gateway after the other."""
    return partial(rig, api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig")


def failing(error: GatewayError) -> Callable[[], Awaitable[None]]:
    """Return a step 7 that ends so."""

    async def bind() -> None:
        raise error

    return bind


async def left(rigs: Rigs) -> RunOrder:
    """Leave a running pod behind; return the order under which it is taken up."""
    async with rigs() as first:
        order = await first.order(play=HELD)
        await first.supervisor.start(order)
        await first.pod()
        await first.supervisor.close()
        (event,) = first.told(TaskStarted)
    return replace(order, alive=frozenset({event.key}), attempts={event.key: 0})


async def test_pods_of_a_run_that_has_to_wait_live_on(rigs: Rigs) -> None:
    """No end, no new pod, the reason for whoever tries again; then the same pod is taken up."""
    order = await left(rigs)
    async with rigs() as runs:
        for _ in range(2):
            await runs.supervisor.start(replace(order, bind=failing(NOT_NOW)))
            assert await runs.supervisor.wait(order.launch_id) == "bind: the guard rails are open"
        assert runs.events == []
        (pod,) = await runs.listed()
        assert "deletionTimestamp" not in pod["metadata"]
        await runs.supervisor.start(order)
        await when(lambda: runs.told(TaskStarted))
        await runs.wish(pod, hold="go")
        assert (await runs.end(order)).status == "succeeded"
        assert runs.witness.attempts() == 0


async def test_cluster_that_does_not_take_the_code_now(rigs: Rigs) -> None:
    """Nor is it a failure where the run was bound and its code cannot be brought."""
    order = await left(rigs)
    async with rigs(patience_seconds=0.2) as runs:
        there = runs.client._client.configuration
        host = there.host

        async def bound() -> None:
            there.host = "https://127.0.0.1:1"

        await runs.supervisor.start(replace(order, bind=bound))
        assert (await runs.supervisor.wait(order.launch_id)).startswith("run: the cluster's API")
        assert runs.told(RunFinished) == []
        there.host = host
        (pod,) = await runs.living()
        await runs.supervisor.start(order)
        await runs.supervisor.cancel(order.launch_id)
        assert pod not in await runs.living()


async def test_pods_of_a_run_that_can_never_begin_are_ended(rigs: Rigs) -> None:
    """What waiting does not mend ends the run, and what an earlier gateway left of it."""
    order = await left(rigs)
    async with rigs() as runs:
        await runs.supervisor.start(replace(order, bind=failing(NEVER)))
        assert await runs.supervisor.wait(order.launch_id) == ""
        (end,) = runs.told(RunFinished)
        assert (end.status, end.reason) == ("failed", "the cluster refuses a profile")
        assert await runs.listed() == []


async def test_cancel_wins_over_waiting(rigs: Rigs) -> None:
    """A run that is stopped while it is bound is cancelled, with its pods."""
    order = await left(rigs)

    async def bind() -> None:
        await asyncio.sleep(60)

    async with rigs() as runs:
        await runs.supervisor.start(replace(order, bind=bind))
        await asyncio.sleep(0.5)
        await asyncio.wait_for(runs.supervisor.cancel(order.launch_id), 10)
        assert [end.status for end in runs.told(RunFinished)] == ["cancelled"]
        assert await runs.listed() == []
