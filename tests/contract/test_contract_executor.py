"""What every executor promises; see ``gateway/runs/executor.py`` for the numbered list."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.errors import Unprocessable
from gateway.runs.executor import Assignment, Executor, Outcome, Progress, RunOrder
from gateway.runs.local import UnsafeLocalExecutor
from tests.fixtures.runs.kit import RUNS, SANDBOX, Rig, alive

IMPLEMENTATIONS: dict[str, Callable[[], Executor]] = {
    "local": lambda: UnsafeLocalExecutor(SANDBOX, RUNS),
}


@pytest.fixture(params=IMPLEMENTATIONS)
async def executor(request: pytest.FixtureRequest) -> AsyncIterator[Executor]:
    """Each implementation that ships."""
    made = IMPLEMENTATIONS[request.param]()
    yield made
    await made.close()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Resolves the pipeline and reads its marks; its supervisor is not used here."""
    return Rig(tmp_path)


def _root(order: RunOrder) -> Assignment:
    return Assignment.of(order.graph, order.graph.root)


def _deaf(_: Progress) -> None:
    """Hear no progress."""


def test_says_what_it_enforces(executor: Executor) -> None:
    """An executor names who enforces the network, and warns where nobody does."""
    assert executor.enforcement
    assert executor.warning or executor.enforcement != "none"


async def test_runs_a_task(executor: Executor, rig: Rig) -> None:
    """A prepared executor says its walls, and runs a task to its outcome."""
    order = await rig.order("Leaf", name="one")
    await executor.prepare(order)
    assert executor.layers["pid_namespace"] is True
    assert await executor.run(_root(order), 1, _deaf) == Outcome("DONE", "", ("Leaf-one",))


async def test_nothing_is_alive_after_run(executor: Executor, rig: Rig) -> None:
    """(1) Whatever a task leaves running has ended when ``run`` returns, killed or not."""
    order = await rig.order("Endless")
    await executor.prepare(order)
    running = asyncio.create_task(executor.run(_root(order), 1, _deaf))
    await rig.until("begin Endless-it")
    began = time.monotonic()
    await executor.kill(order.graph.root, 1)
    assert (await running).status == "FAILED"
    assert time.monotonic() - began < 20
    assert alive("/bin/sleep", "62") == []


async def test_never_two_at_once(executor: Executor, rig: Rig) -> None:
    """(2) A second attempt does not begin before the first has ended."""
    order = await rig.order("Endless")
    await executor.prepare(order)
    first = asyncio.create_task(executor.run(_root(order), 1, _deaf))
    await rig.until("begin Endless-it")
    second = asyncio.create_task(executor.run(_root(order), 2, _deaf))
    await asyncio.sleep(0.3)
    assert rig.marks() == ["begin Endless-it"]
    await executor.kill(order.graph.root, 1)
    await first
    for _ in range(500):
        if len(rig.marks()) == 2:
            break
        await asyncio.sleep(0.01)
    assert rig.marks() == ["begin Endless-it"] * 2
    await executor.kill(order.graph.root, 2)
    await second


async def test_kill_before_it_began(executor: Executor, rig: Rig) -> None:
    """An attempt that is killed while it waits for its turn never begins."""
    order = await rig.order("Leaf", name="late")
    await executor.prepare(order)
    running = asyncio.create_task(executor.run(_root(order), 1, _deaf))
    await asyncio.sleep(0)
    await executor.kill(order.graph.root, 1)
    assert (await running).status == "FAILED"


async def test_kill_of_nobody(executor: Executor, rig: Rig) -> None:
    """Killing an attempt that has ended, or never was, is not an error."""
    order = await rig.order("Leaf", name="one")
    await executor.prepare(order)
    await executor.kill(order.graph.root, 1)
    await executor.run(_root(order), 1, _deaf)
    await executor.kill(order.graph.root, 1)


async def test_reach(executor: Executor, rig: Rig) -> None:
    """(3) A task without egress has no network, when it runs and when it is asked."""
    order = await rig.order("Reaches")
    await executor.prepare(order)
    near = next(n.key for n in order.graph.nodes.values() if n.family == "NearReach")
    task = Assignment.of(order.graph, near)
    assert await executor.probe([task]) == {near: False}
    assert (await executor.run(task, 1, _deaf)).status == "DONE"
    assert (rig.workspace / "NearReach-it").read_text() == "lo"
    assert await executor.probe([task]) == {near: True}
    assert {mark for mark in rig.marks() if "asked" in mark} == {"asked NearReach [lo]"}


async def test_probe_that_raises(executor: Executor, rig: Rig) -> None:
    """A complete() that raises is answered with what it raised, the others with their answer."""
    odd, plain = await rig.order("Unclear"), await rig.order("Leaf", name="one")
    await executor.prepare(odd)
    answers = await executor.probe([_root(odd), _root(plain)])
    assert answers[plain.graph.root] is False
    assert "the catalogue does not answer" in str(answers[odd.graph.root])


async def test_nonsense(executor: Executor, rig: Rig) -> None:
    """(4) A task that reports nonsense has failed, with a reason."""
    order = await rig.order("Garbage")
    await executor.prepare(order)
    outcome = await executor.run(_root(order), 1, _deaf)
    assert (outcome.status, outcome.explanation) == ("FAILED", "its report is not JSON")


async def test_progress(executor: Executor, rig: Rig) -> None:
    """What a task says of its progress is handed on while it runs."""
    heard: list[Progress] = []
    order = await rig.order("Reports")
    await executor.prepare(order)
    await executor.run(_root(order), 1, heard.append)
    assert heard == [Progress(percent=40), Progress(message="half way")]


async def test_close_ends_everything(executor: Executor, rig: Rig) -> None:
    """A closed executor has nothing alive, and starts nothing more."""
    order = await rig.order("Endless")
    await executor.prepare(order)
    running = asyncio.create_task(executor.run(_root(order), 1, _deaf))
    await rig.until("begin Endless-it")
    await executor.close()
    assert alive("/bin/sleep", "62") == []
    assert (await running).status == "FAILED"
    assert (await executor.run(_root(order), 2, _deaf)).status == "FAILED"
    assert rig.marks() == ["begin Endless-it"]


async def test_other_code_is_not_loaded(executor: Executor, rig: Rig) -> None:
    """Code whose bytes are not those that were decided is refused before it is imported."""
    order = await rig.order("Leaf")
    values = {name: getattr(order, name) for name in RunOrder.__slots__}
    with pytest.raises(Unprocessable) as caught:
        await executor.prepare(RunOrder(**{**values, "code_digest": "0" * 64}))
    assert caught.value.code == "pipeline_not_loaded"
