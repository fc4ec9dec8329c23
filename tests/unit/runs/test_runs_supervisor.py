"""Whole runs: a resolved pipeline, the driver with Luigi in it, real processes in sandboxes."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import Conflict, Retryable
from gateway.runs.events import (
    NodesAdded,
    RunEvent,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskProgress,
    TaskRefused,
    TaskStarted,
)
from gateway.settings import RunSettings
from tests.fixtures.runs.kit import RUNS, Rig, alive


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A supervisor; whatever it still runs at the end is ended."""
    found = Rig(tmp_path)
    yield found
    await found.supervisor.close()


def _with(tmp_path: Path, **changes: object) -> Rig:
    return Rig(tmp_path, runs=RunSettings.model_validate({**RUNS.model_dump(), **changes}))


async def test_diamond(rig: Rig) -> None:
    """Dependencies first, a shared one once; the root's output is the run's."""
    order = await rig.order("Diamond")
    end = await rig.carry(order)
    pair = [TaskStarted, TaskFinished]
    assert [type(event) for event in rig.events[:3]] == [RunStarted, *pair]
    assert rig.told(RunStarted)[0].layers["network_namespace"] is True
    first = rig.told(TaskFinished)[0]
    assert (first.attempt, first.status, first.outputs) == (1, "DONE", ("Leaf-base",))
    assert first.seconds > 0
    assert end == RunFinished(
        order.launch_id,
        "succeeded",
        "4 tasks done",
        ("Diamond-it",),
        {"done": 4, "skipped": 0, "failed": 0, "not_run": 0},
    )
    begun = [mark for mark in rig.marks() if mark.startswith("begin")]
    assert begun[0] == "begin Leaf-base"
    assert sorted(begun[1:3]) == ["begin Side-left", "begin Side-right"]
    assert begun[3:] == ["begin Diamond-it"]
    assert rig.marks().index("end Leaf-base") < rig.marks().index(begun[1])


async def test_no_process_before_its_entry(rig: Rig) -> None:
    """While the entry of a start is not durable, no process of the task exists."""
    seen: list[list[str]] = []

    async def slow(event: RunEvent) -> None:
        if isinstance(event, TaskStarted):
            await asyncio.sleep(0.3)
            seen.append(rig.marks())

    rig.hook = slow
    await rig.run("Leaf", name="only")
    assert seen == [[]]


async def test_no_process_without_its_entry(rig: Rig) -> None:
    """A start that cannot be logged starts nothing, and ends the run with that reason."""

    async def fail(event: RunEvent) -> None:
        if isinstance(event, TaskStarted):
            raise Retryable("log_away", "no entry can be written")

    rig.hook = fail
    end = await rig.run("Leaf", name="only")
    assert (end.status, rig.marks()) == ("failed", [])
    assert "the decision log could not be written" in end.reason


async def test_nothing_to_do(rig: Rig) -> None:
    """What is complete is not run again; a complete root needs nothing below it."""
    await rig.run("Diamond")
    (rig.workspace / "Leaf-base").unlink()
    again = await rig.run("Diamond")
    assert again.status == "succeeded"
    assert again.reason == "nothing to do: Diamond(name=it) is complete"
    assert len(rig.told(TaskStarted)) == 4
    assert len(rig.told(RunStarted)[1].skipped) == 3


async def test_declassifying_task_is_not_skipped(rig: Rig) -> None:
    """A task that is trusted to declassify runs in each launch that needs it, complete or not."""
    await rig.run("Side", name="left")
    (rig.workspace / "Side-left").unlink()
    order = await rig.order("Side", name="left")
    leaf = next(key for key, node in order.graph.nodes.items() if node.family == "Leaf")
    rig.events.clear()
    await rig.carry(dataclasses.replace(order, declassifying=frozenset({leaf})))
    assert rig.starts(order) == ["Leaf", "Side"]


async def test_finished_before_a_restart(rig: Rig) -> None:
    """What this launch finished before a restart is not asked about and not run again."""
    order = await rig.order("Side", name="left")
    leaf = next(key for key, node in order.graph.nodes.items() if node.family == "Leaf")
    side = order.graph.root
    end = await rig.carry(dataclasses.replace(order, done=frozenset({leaf}), attempts={side: 3}))
    assert end.status == "succeeded"
    assert [(e.key, e.attempt) for e in rig.told(TaskStarted)] == [(side, 4)]


async def test_retries_exhausted(rig: Rig) -> None:
    """When a task fails for good, the reason names it and says why; what is beside it is done."""
    end = await rig.run("NeedsBroken")
    assert end.status == "failed"
    assert end.reason == "1 task failed: Broken(name=it) (ValueError: no such table)"
    assert end.counts == {"done": 1, "skipped": 0, "failed": 1, "not_run": 1}
    assert [e.attempt for e in rig.told(TaskFinished) if e.status == "FAILED"] == [1, 2]


async def test_time_out(tmp_path: Path) -> None:
    """Luigi's time-out ends the task with everything it started, and says so."""
    rig = _with(tmp_path, retry_count=1)
    end = await rig.run("Stuck")
    assert end.status == "failed"
    assert "it ran longer than its time-out allows" in end.reason
    assert alive("/bin/sleep", "61") == []


async def test_cancel(rig: Rig) -> None:
    """A cancelled run ends within two seconds, leaves no process, and tells each attempt's end."""
    order = await rig.order("EndlessFan")
    await rig.supervisor.start(order)
    for i in range(4):
        await rig.until(f"begin Endless-{i}")
    began = time.monotonic()
    await rig.supervisor.cancel(order.launch_id)
    assert time.monotonic() - began < 20
    assert alive("/bin/sleep", "62") == []
    assert alive(str(rig.folder)) == []
    assert rig.told(RunFinished)[0].status == "cancelled"
    assert len(rig.told(TaskFinished)) == len(rig.told(TaskStarted)) == 4


async def test_cancel_while_preparing(rig: Rig) -> None:
    """A run can be cancelled before anything of it runs; it then has an end and no start."""
    order = await rig.order("Diamond")
    await rig.supervisor.start(order)
    await asyncio.sleep(0)
    await rig.supervisor.cancel(order.launch_id)
    assert [type(event) for event in rig.events] == [RunFinished]
    assert rig.told(RunFinished)[0].status == "cancelled"


async def test_cancel_between_entry_and_act(rig: Rig) -> None:
    """A run that is cancelled while a start is being logged does not start the task."""
    order = await rig.order("Leaf")
    cancelling: list[asyncio.Task[None]] = []

    async def cancel(event: RunEvent) -> None:
        if isinstance(event, TaskStarted):
            cancelling.append(asyncio.create_task(rig.supervisor.cancel(order.launch_id)))
            await asyncio.sleep(0.1)

    rig.hook = cancel
    assert (await rig.carry(order)).status == "cancelled"
    await cancelling[0]
    assert rig.marks() == []


@pytest.mark.parametrize("lost", [TaskStarted, TaskFinished])
async def test_condemned(rig: Rig, lost: type[RunEvent]) -> None:
    """A run whose network is being taken away ends cancelled, even where another fault is first."""
    order = await rig.order("Leaf", name="only")

    async def fail(event: RunEvent) -> None:
        if isinstance(event, lost):
            rig.supervisor.condemn(order.launch_id, "cut by somebody")
            raise Retryable("log_away", "no entry can be written")

    rig.hook = fail
    end = await rig.carry(order)
    assert (end.status, end.reason) == ("cancelled", "cut by somebody")
    rig.supervisor.condemn(order.launch_id, "an ended run is left alone")


async def test_cancel_what_has_ended(rig: Rig) -> None:
    """Cancelling or awaiting a run that has ended, or never was, is not an error."""
    await rig.run("Leaf")
    await rig.supervisor.cancel("unknown")
    await rig.supervisor.wait("unknown")


async def test_dynamic_dependencies(rig: Rig) -> None:
    """A task that yields twice runs three times, and its yields once each, as new nodes."""
    order = await rig.order("Dynamic")
    end = await rig.carry(order)
    assert end.status == "succeeded"
    assert rig.marks().count("begin Dynamic-it") == 3
    assert [rig.marks().count(f"begin Leaf-{x}") for x in "abc"] == [1, 1, 1]
    assert [len(event.nodes) for event in rig.told(NodesAdded)] == [2, 1]
    statuses = [e.status for e in rig.told(TaskFinished) if e.key == order.graph.root]
    assert statuses == ["PENDING", "PENDING", "DONE"]
    assert end.counts["done"] == 4


async def test_two_yield_the_same(rig: Rig) -> None:
    """What two tasks yield runs once, whichever of them the driver hears of first."""
    waited: list[RunEvent] = []

    async def slow(event: RunEvent) -> None:
        if isinstance(event, TaskFinished) and event.status == "PENDING" and not waited:
            waited.append(event)
            await asyncio.sleep(0.5)  # the other one overtakes

    rig.hook = slow
    order = await rig.order("Twins")
    end = await rig.carry(order)
    assert end.status == "succeeded"
    assert (order.scratch / "driver.log").read_text() == ""
    assert [rig.marks().count(f"begin Leaf-{x}") for x in "abc"] == [1, 1, 1]


async def test_external_data_missing(rig: Rig) -> None:
    """Missing external data is named; nothing is run for it."""
    end = await rig.run("NeedsAbsent")
    assert (end.status, end.reason) == ("failed", "external data missing: Absent")
    assert rig.told(TaskStarted) == []


async def test_reach(rig: Rig) -> None:
    """No egress declared: no interface but a dead loopback, in run() and in complete()."""
    await rig.run("Reaches")
    assert (rig.workspace / "NearReach-it").read_text() == "lo"
    assert (rig.workspace / "FarReach-it").read_text() != "lo"
    asked = {mark for mark in rig.marks() if mark.startswith("asked")}
    assert {mark for mark in asked if "Near" in mark} == {"asked NearReach [lo]"}
    assert "asked FarReach [lo]" not in asked


async def test_wrappers(rig: Rig) -> None:
    """Wrappers need no process, and a ladder with 2^20 ways through it takes no time."""
    end = await rig.run("Rung", height="20")
    assert rig.marks() == ["begin Leaf-ground", "end Leaf-ground"]
    assert end.outputs == ("Leaf-ground",)
    assert end.counts["done"] == 42


async def test_bad_ends(tmp_path: Path) -> None:
    """Nonsense, a crash, a limit, an undeclared yield: failures that say what happened.

    And what says it does not give away a parameter that is masked.
    """
    rig = _with(tmp_path, retry_count=1)
    order = await rig.order("Misfits", token="hunter2-hunter2")
    end = await rig.carry(order)
    assert end.status == "failed"
    assert end.counts == {"done": 0, "skipped": 0, "failed": 7, "not_run": 1}
    words = {
        "Garbage": "its report is not JSON",
        "Liar": "ended without a result",
        "Dies": "signal 11 (SIGSEGV)",
        "Hungry": "MemoryError (the limit is 1024 MB)",
        "Burner": "1 s of CPU time",
        "Stranger": "neither in the graph nor in may_yield",
        "Tells": "RuntimeError: refused: ***",
    }
    said = rig.explanations(order)
    assert said.keys() == words.keys()
    assert [family for family in words if words[family] not in said[family]] == []
    assert "hunter2" not in repr(rig.events)
    assert len(rig.told(TaskRefused)) == 1
    assert not [mark for mark in rig.marks() if "undeclared" in mark]


async def test_progress(rig: Rig) -> None:
    """What a task says of its progress is told while it runs."""
    await rig.run("Reports")
    assert any(event.percent == 40 for event in rig.told(TaskProgress))
    assert any(event.message == "half way" for event in rig.told(TaskProgress))


async def test_task_log(tmp_path: Path) -> None:
    """What a task prints is in a file of its attempt, private to us, cut at its size."""
    rig = _with(tmp_path, keep_log_bytes=5000)
    order = await rig.order("Chatty")
    await rig.carry(order)
    path = order.scratch / "logs" / f"{order.graph.root}.1.log"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().endswith(b"\n[cut after 5000 bytes]\n")
    assert path.stat().st_size < 5100


async def test_unloadable_code(rig: Rig) -> None:
    """Code that is not what was approved is not loaded, and the run ends with that reason."""
    order = dataclasses.replace(await rig.order("Leaf"), code_digest="0" * 64)
    end = await rig.carry(order)
    assert end.status == "failed"
    assert "could not be loaded" in end.reason
    assert rig.told(TaskStarted) == []


async def test_one_at_a_time_in_a_workspace(rig: Rig) -> None:
    """Two runs in one workspace follow each other; one elsewhere does not wait for them."""
    first = await rig.order("Endless")
    second = await rig.order("Leaf", name="second", scratch=rig.folder / "s2")
    third = await rig.order(
        "Leaf", name="third", scratch=rig.folder / "s3", workspace=rig.folder / "w3"
    )
    for order in (first, second, third):
        await rig.supervisor.start(order)
    await rig.supervisor.wait(third.launch_id)
    await rig.until("begin Endless-it")
    assert [event.launch_id for event in rig.told(RunFinished)] == [third.launch_id]
    await rig.supervisor.cancel(first.launch_id)
    await rig.supervisor.wait(second.launch_id)
    assert rig.told(RunFinished)[-1].launch_id == second.launch_id
    assert rig.told(RunFinished)[-1].status == "succeeded"


async def test_parallel_runs(tmp_path: Path) -> None:
    """Beyond the bound runs wait, in order; a waiting one can be cancelled."""
    rig = _with(tmp_path, parallel_runs=1)
    orders = [
        await rig.order("Leaf", name="x", scratch=tmp_path / f"s{i}", workspace=tmp_path / f"w{i}")
        for i in range(3)
    ]
    for order in orders:
        await rig.supervisor.start(order)
    await asyncio.sleep(0)
    await rig.supervisor.cancel(orders[1].launch_id)
    for order in orders:
        await rig.supervisor.wait(order.launch_id)
    ends = {event.launch_id: event.status for event in rig.told(RunFinished)}
    assert [ends[order.launch_id] for order in orders] == ["succeeded", "cancelled", "succeeded"]
    turns = [e for e in rig.events if isinstance(e, RunStarted | RunFinished)]
    assert [(type(e), e.launch_id) for e in turns if e.launch_id != orders[1].launch_id] == [
        (RunStarted, orders[0].launch_id),
        (RunFinished, orders[0].launch_id),
        (RunStarted, orders[2].launch_id),
        (RunFinished, orders[2].launch_id),
    ]


async def test_same_launch_twice(rig: Rig) -> None:
    """A launch that is under way is not started again."""
    order = await rig.order("Leaf")
    await rig.supervisor.start(order)
    with pytest.raises(Conflict):
        await rig.supervisor.start(order)
    await rig.supervisor.wait(order.launch_id)


async def test_close(rig: Rig) -> None:
    """Closing ends all processes and gives no run an end: they are recovered later."""
    order = await rig.order("Endless")
    await rig.supervisor.start(order)
    await rig.until("begin Endless-it")
    await rig.supervisor.close()
    assert rig.told(RunFinished) == []
    assert alive("/bin/sleep", "62") == []
    with pytest.raises(Retryable):
        await rig.supervisor.start(order)
