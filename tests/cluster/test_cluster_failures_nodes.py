"""A pod on a node that went silent runs, for all that anybody knows: no second one is made.

Each test watches beside the gateway: no task ever has two living pods, and none is left behind.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bed.api import Api
from failures_bed import HELD, TWICE
from pods_bed import PodRig

pytestmark = pytest.mark.usefixtures("fake_nodes")


@pytest.mark.slow
async def test_silent_node_that_comes_back(runs: PodRig) -> None:
    """A pod on a silent node is running for all that anybody knows: no second one is made."""
    order = await runs.order(play=HELD)
    await runs.supervisor.start(order)
    pod = await runs.pod()
    node = f"/api/v1/nodes/{pod['spec']['nodeName']}"
    runs.api.merge(node, {"metadata": {"labels": {"type": None}}})
    try:
        await _node_is(runs.api, node, "Unknown")
        await asyncio.sleep(2)
        assert (runs.witness.attempts(), runs.failures) == (1, [])
    finally:
        runs.api.merge(node, {"metadata": {"labels": {"type": "kwok"}}})
    await runs.wish(pod, hold="go")
    assert (await runs.end(order)).status == "succeeded"
    assert runs.witness.attempts() == 1


@pytest.mark.slow
async def test_time_out_on_a_silent_node(runs: PodRig) -> None:
    """A pod that was told to end and cannot answer is waited for, until an operator asserts it."""
    order = await runs.order(play=f"{HELD};", seconds=25)
    await runs.supervisor.start(order)
    pod = await runs.pod()
    node = f"/api/v1/nodes/{pod['spec']['nodeName']}"
    runs.api.merge(node, {"metadata": {"labels": {"type": None}}})
    try:
        await _node_is(runs.api, node, "Unknown")
        await asyncio.sleep(12)  # the time-out has passed
        assert (runs.witness.attempts(), len(await runs.living())) == (1, 1)
        name = pod["metadata"]["name"]
        runs.api.delete(f"{runs.path}/{name}", gracePeriodSeconds="0")  # the operator's word
        assert (await runs.end(order)).status == "succeeded"
    finally:
        runs.api.merge(node, {"metadata": {"labels": {"type": "kwok"}}})
        await _node_is(runs.api, node, "True")
    assert runs.witness.attempts() == TWICE


@pytest.mark.slow
async def test_lost_node(runs: PodRig) -> None:
    """When the Node object is gone the cluster gives its pods up, and the task runs again."""
    order = await runs.order(play=f"{HELD};")
    await runs.supervisor.start(order)
    name = (await runs.pod())["spec"]["nodeName"]
    node = runs.api.get(f"/api/v1/nodes/{name}")
    runs.api.delete(f"/api/v1/nodes/{name}")
    try:
        end = await asyncio.wait_for(runs.end(order), 120)
    finally:
        _put_back(runs.api, node)
    assert end.status == "succeeded"
    (failure,) = runs.failures
    assert "its node is gone from the cluster" in failure
    assert runs.witness.attempts() == TWICE


async def _node_is(api: Api, path: str, status: str) -> None:
    def ready(node: Any) -> bool:
        return any(
            item["type"] == "Ready" and item["status"] == status
            for item in node["status"]["conditions"]
        )

    await asyncio.to_thread(api.when, path, ready, seconds=60)


def _put_back(api: Api, node: Any) -> None:
    """Make a node again that was deleted; KWOK plays it as before."""
    meta = {name: node["metadata"][name] for name in ("name", "labels")}
    status = {name: node["status"][name] for name in ("capacity", "allocatable")}
    fresh = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": status}
    api.create("/api/v1/nodes", fresh)
