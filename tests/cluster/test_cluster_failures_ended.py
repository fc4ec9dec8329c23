"""A pod that is ended from outside is waited for until it is gone, whoever ended it.

Each test watches beside the gateway: no task ever has two living pods, and none is left behind.
"""

from __future__ import annotations

import asyncio
import time

import pytest
from failures_bed import HELD, TWICE, Rigs
from pods_bed import PodRig, kill_driver, tainted, when

from gateway.runs.events import RunFinished, TaskStarted

pytestmark = pytest.mark.usefixtures("fake_nodes")


# --- by others ------------------------------------------------------------------------------------


async def test_deleted_by_somebody(runs: PodRig) -> None:
    """A pod that went under a running task is a failure, and tried again when it is gone."""
    order = await runs.order(play=f"{HELD};")
    await runs.supervisor.start(order)
    await runs.gone(await runs.pod())
    assert (await runs.end(order)).status == "succeeded"
    assert runs.failures == ["its pod was deleted before it ended by itself: nobody knows why"]


async def test_evicted_through_the_api(runs: PodRig) -> None:
    """A drained node evicts through the API; the failure says so."""
    order = await runs.order(play=f"{HELD};")
    await runs.supervisor.start(order)
    name = (await runs.pod())["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    await runs.admin("create", f"{name}/eviction", eviction)
    assert (await runs.end(order)).status == "succeeded"
    (failure,) = runs.failures
    assert "it was evicted through the API" in failure


async def test_driven_from_its_node(runs: PodRig) -> None:
    """A taint drives the pod away; it runs again elsewhere."""
    order = await runs.order(play=f"{HELD};")
    await runs.supervisor.start(order)
    node = (await runs.pod())["spec"]["nodeName"]
    taint = {"key": "sluice.test/away", "value": namespace_of(runs), "effect": "NoExecute"}
    async with tainted(runs.api, node, taint):
        end = await runs.end(order)
    assert end.status == "succeeded"
    (failure,) = runs.failures
    assert "its node was lost or told to take no pods (" in failure


async def test_no_second_pod_while_the_first_is_ending(runs: PodRig) -> None:
    """A pod that takes its time to end is waited for: deleted is not gone."""
    order = await runs.order(play=f"{HELD}+terminating;")
    await runs.supervisor.start(order)
    pod = await runs.pod()
    await runs.gone(pod)
    await asyncio.sleep(1.5)
    assert runs.witness.attempts() == 1
    await runs.wish(pod, hold="go")
    assert (await runs.end(order)).status == "succeeded"
    assert runs.witness.attempts() == TWICE


# --- from here ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", ["pending", "running"])
async def test_luigis_time_out(rigs: Rigs, hold: str) -> None:
    """Luigi's time-out ends a pod, begun or not, and then tries again."""
    async with rigs() as runs:
        end = await runs.play(f"hold={hold}", "", seconds=4)
        assert end.status == "succeeded"
        assert runs.failures == ["it ran longer than its time-out allows, and was ended"]
        assert runs.witness.attempts() == TWICE


async def test_cancel(runs: PodRig) -> None:
    """A cancelled run has no pod left within seconds."""
    order = await runs.order("Scene", plays="|".join([HELD] * 12))
    await runs.supervisor.start(order)
    await when(lambda: runs.witness.attempts() == 12)
    began = time.monotonic()
    await runs.supervisor.cancel(order.launch_id)
    assert time.monotonic() - began < 5
    assert await runs.listed() == []
    assert runs.told(RunFinished)[-1].status == "cancelled"


async def test_cancel_while_pods_are_being_made(runs: PodRig) -> None:
    """Neither what is there nor what is on its way to the server is left."""
    order = await runs.order("Scene", plays="|".join([HELD] * 12))
    await runs.supervisor.start(order)
    await when(lambda: runs.told(TaskStarted))
    await runs.supervisor.cancel(order.launch_id)
    assert await runs.listed() == []


async def test_driver_killed(runs: PodRig) -> None:
    """The scheduler's process may die: what runs goes on, in the same pods."""
    order = await runs.order("Sequel", play="", first=HELD)
    await runs.supervisor.start(order)
    pod = await runs.pod()
    assert kill_driver()
    await asyncio.sleep(0.5)
    await runs.wish(pod, hold="go")
    assert (await runs.end(order)).status == "succeeded"
    assert (runs.witness.attempts(), runs.failures) == (2, [])


def namespace_of(runs: PodRig) -> str:
    """Return where the runs' pods are."""
    return runs.cluster.namespace
