"""The decision log fails while pods run: they are left, and nothing that they did is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from bed.api import Api
from pods_bed import PodRig, rig, when

from gateway.errors import Retryable
from gateway.runs.events import RunEvent, RunFinished, TaskFinished, TaskStarted

pytestmark = pytest.mark.usefixtures("fake_nodes")
HELD = "hold=running"
Rigs = Callable[..., AbstractAsyncContextManager[PodRig]]


@pytest.fixture
def rigs(api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path) -> Rigs:
    """Make runs in a namespace of this test: one after the other."""
    return partial(rig, api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig")


async def full(event: RunEvent) -> None:
    """Take no outcome, and nothing after it."""
    if isinstance(event, TaskFinished | RunFinished):
        raise Retryable("store_failed", "the disk is full", step="log")


async def test_outcome_that_could_not_be_logged_is_read_again(rigs: Rigs) -> None:
    """The run has no end; the next one adopts its pods: what ended is not run again."""
    async with rigs() as first:
        first.hook = full
        order = await first.order("Scene", plays=f"run-for=2s|{HELD}")
        await first.supervisor.start(order)
        await when(lambda: len(first.told(TaskStarted)) == 2)
        assert await first.supervisor.wait(order.launch_id) == ""
        assert first.told(RunFinished) == []
        pods = await first.listed()
        assert sorted(pod["status"]["phase"] for pod in pods) == ["Running", "Succeeded"]
        begun = {event.key: event.attempt for event in first.told(TaskStarted)}
    known = replace(
        order,
        alive=frozenset(begun),
        attempts={key: attempt - 1 for key, attempt in begun.items()},
    )
    async with rigs() as second:
        await second.supervisor.start(known)
        await when(lambda: len(second.told(TaskStarted)) == 2)
        for pod in pods:
            await second.wish(pod, hold="go")
        assert (await second.end(known)).status == "succeeded"
        assert (second.failures, second.witness.attempts()) == ([], 0)
        assert {end.key for end in second.told(TaskFinished) if end.attempt} == begun.keys()
