"""Runs under fire: killed drivers, killed sandboxes, a lying guest, a lost log, a dead gateway."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.errors import Retryable
from gateway.runs.events import RunEvent, RunFinished, TaskFinished, TaskStarted
from gateway.runs.local import wait_until_dead
from gateway.runs.run import REBUILDS
from tests.fixtures.runs.kit import Rig, alive


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A supervisor; whatever it still runs at the end is ended."""
    found = Rig(tmp_path)
    yield found
    await found.supervisor.close()


def _kill_driver() -> bool:
    """Kill -9 the driver that this process has started, if there is one."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ours = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1]) == os.getpid()
            if ours and b"gateway.runs.driver" in (path / "cmdline").read_bytes():
                os.kill(int(path.name), signal.SIGKILL)
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


async def _eventually(happened: Callable[[], bool]) -> None:
    for _ in range(2000):
        if happened():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never happened")


def _never_twice_at_once(marks: list[str]) -> bool:
    """Whether each task's beginnings and ends alternate."""
    open_now: Counter[str] = Counter()
    for mark in marks:
        what, name = mark.split(" ", 1)
        open_now[name] += 1 if what == "begin" else -1
        if open_now[name] not in (0, 1):
            return False
    return True


async def test_driver_killed(rig: Rig) -> None:
    """A run whose driver is killed completes; nothing ran twice, and nothing at once."""
    order = await rig.order("Fan", count="8", seconds="0.3")
    await rig.supervisor.start(order)
    await _eventually(lambda: len(rig.told(TaskFinished)) >= 2)
    assert _kill_driver()
    await rig.supervisor.wait(order.launch_id)
    assert rig.told(RunFinished)[0].status == "succeeded"
    assert _never_twice_at_once(rig.marks())
    assert set(Counter(rig.marks()).values()) == {1}


async def test_driver_killed_again_and_again(rig: Rig) -> None:
    """A driver that keeps dying is given up, and the run says so."""
    order = await rig.order("Fan", count="40", seconds="0.2")
    await rig.supervisor.start(order)
    for _ in range(REBUILDS + 1):
        await _eventually(_kill_driver)
        await asyncio.sleep(0.1)
    await rig.supervisor.wait(order.launch_id)
    end = rig.told(RunFinished)[0]
    assert (end.status, end.reason) == (
        "failed",
        "the run's scheduler process died again and again",
    )
    assert _never_twice_at_once(rig.marks())


async def test_warm_process_killed(rig: Rig) -> None:
    """When a sandbox dies, its attempts fail with that reason and are made again in a new one."""
    order = await rig.order("Leaf", name="one", seconds="1.0")
    await rig.supervisor.start(order)
    await rig.until("begin Leaf-one")
    rig.executors[0]._warm[False].result()._process.kill()
    await rig.supervisor.wait(order.launch_id)
    assert rig.told(RunFinished)[0].status == "succeeded"
    ends = [(event.status, event.explanation) for event in rig.told(TaskFinished)]
    assert ends == [("FAILED", "the pipeline's process ended with signal 9"), ("DONE", "")]


async def test_warm_process_hangs(rig: Rig) -> None:
    """A guest that does not obey is ended with its sandbox: cancelling does not depend on it."""
    order = await rig.order("Endless")
    await rig.supervisor.start(order)
    await rig.until("begin Endless-it")
    guest = rig.executors[0]._warm[False].result()._process._process
    assert guest is not None
    signal.pidfd_send_signal(guest, signal.SIGSTOP)
    began = time.monotonic()
    await rig.supervisor.cancel(order.launch_id)
    assert time.monotonic() - began < 20
    assert rig.told(RunFinished)[0].status == "cancelled"
    assert alive("/bin/sleep", "62") == []


async def test_guest_lies(rig: Rig) -> None:
    """A guest that breaks its protocol is ended, and its attempts fail with that reason."""
    rig.workspace.mkdir(parents=True)
    (rig.workspace / "hostile").touch()
    order = await rig.order("Endless")
    end = await rig.carry(order)
    assert end.status == "failed"
    assert "broke its protocol" in end.reason
    assert alive("/bin/sleep", "62") == []


async def test_log_lost_before_a_start(rig: Rig) -> None:
    """Where the entry of a start is not durable, the process is never started."""

    async def lost(event: RunEvent) -> None:
        if isinstance(event, TaskStarted):
            raise Retryable("log_down", "no log")

    rig.hook = lost
    end = await rig.run("Leaf")
    assert (end.status, end.counts["not_run"]) == ("failed", 1)
    assert "the decision log could not be written" in end.reason
    assert rig.marks() == []


async def test_log_lost_while_tasks_run(rig: Rig) -> None:
    """When the log is lost, nothing more is started and what runs is ended."""
    down = False

    async def lost(event: RunEvent) -> None:
        nonlocal down
        down = down or isinstance(event, TaskFinished)
        if down:
            raise Retryable("log_down", "no log")

    rig.hook = lost
    order = await rig.order("Fan", count="20", seconds="0.3")
    await rig.supervisor.start(order)
    await rig.supervisor.wait(order.launch_id)
    assert rig.told(RunFinished) == []  # it has no end in the log, so recovery takes it over
    assert len(rig.told(TaskStarted)) <= 5
    assert alive(str(rig.folder)) == []


_GATEWAY = """
import asyncio, sys
from pathlib import Path
from tests.fixtures.runs.kit import Rig

async def main():
    rig = Rig(Path(sys.argv[1]))
    order = await rig.order("EndlessFan")
    await rig.supervisor.start(order)
    await rig.supervisor.wait(order.launch_id)

asyncio.run(main())
"""


async def test_gateway_killed(rig: Rig) -> None:
    """Nothing of a run outlives a killed gateway for long, and its lock tells when nothing does."""
    gateway = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _GATEWAY, str(rig.folder)), cwd=Path(__file__).parents[2]
    )
    for i in range(4):
        await rig.until(f"begin Endless-{i}")
    with pytest.raises(Retryable):
        await wait_until_dead(rig.folder / "scratch", seconds=0.2)
    gateway.kill()
    await gateway.wait()
    await wait_until_dead(rig.folder / "scratch", seconds=5)
    assert alive("/bin/sleep", "62") == []


async def test_recovery(rig: Rig) -> None:
    """A run that was interrupted goes on where it was: done stays done, attempts are counted on."""
    order = await rig.order("Fan", count="6", seconds="0.3")
    await rig.supervisor.start(order)
    await _eventually(lambda: len(rig.told(TaskFinished)) >= 3)
    await rig.supervisor.close()
    finished = frozenset(e.key for e in rig.told(TaskFinished) if e.status == "DONE")
    attempts = {event.key: event.attempt for event in rig.told(TaskStarted)}
    after = Rig(rig.folder)
    end = await after.carry(dataclasses.replace(order, done=finished, attempts=attempts))
    assert end.status == "succeeded"
    assert end.counts["done"] + end.counts["skipped"] == 7  # one may end while we close
    again = {event.key: event.attempt for event in after.told(TaskStarted)}
    assert again.keys().isdisjoint(finished)
    assert all(attempts.get(key, 0) + 1 == attempt for key, attempt in again.items())
