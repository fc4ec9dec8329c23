"""What is the local executor's own: its warm processes, its lock, its word about the network."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import Retryable
from gateway.runs.executor import Assignment
from gateway.runs.local import UnsafeLocalExecutor, _Attempt, wait_until_dead
from gateway.runs.warm import WarmProcess
from tests.fixtures.runs.kit import RUNS, SANDBOX, Rig


@pytest.fixture
async def executor() -> AsyncIterator[UnsafeLocalExecutor]:
    """An executor for one run."""
    made = UnsafeLocalExecutor(SANDBOX, RUNS)
    yield made
    await made.close()


def test_word_about_the_network() -> None:
    """It says that it enforces nothing, and for which tasks that matters."""
    assert UnsafeLocalExecutor.enforcement == "none"
    assert "no network policy is enforced" in UnsafeLocalExecutor.warning


async def test_no_network_until_needed(executor: UnsafeLocalExecutor, tmp_path: Path) -> None:
    """A run whose tasks declare no egress never has a process with the network."""
    order = await Rig(tmp_path).order("Leaf", name="one")
    await executor.prepare(order)
    task = Assignment.of(order.graph, order.graph.root)
    await executor.probe([task])
    await executor.run(task, 1, lambda _: None)
    assert set(executor._warm) == {False}


async def test_lock_lasts_as_long_as_the_sandbox(
    executor: UnsafeLocalExecutor, tmp_path: Path
) -> None:
    """The run's lock is held by the sandbox itself: who dies first does not free it."""
    order = await Rig(tmp_path).order("Leaf")
    await executor.prepare(order)
    assert executor._lock is not None
    os.close(executor._lock)
    executor._lock = None
    with pytest.raises(Retryable) as caught:
        await wait_until_dead(order.scratch, seconds=0.1)
    assert caught.value.code == "former_run_alive"
    await executor.close()
    await wait_until_dead(order.scratch, seconds=0.1)


async def test_killed_at_the_last_moment() -> None:
    """An attempt whose process is ready, and that is killed before it hears so, does not begin."""
    attempt = _Attempt("name")
    process: asyncio.Future[WarmProcess] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(attempt.given(process))
    await asyncio.sleep(0)
    process.set_result(object())  # type: ignore[arg-type]
    await attempt.kill()
    assert await waiting is None


async def test_no_former_run(tmp_path: Path) -> None:
    """Where there never was a run, nothing is waited for, and nothing is made."""
    await wait_until_dead(tmp_path / "never")
    assert not (tmp_path / "never").exists()


async def test_private_folders(executor: UnsafeLocalExecutor, tmp_path: Path) -> None:
    """Scratch and logs are ours alone."""
    order = await Rig(tmp_path).order("Leaf")
    await executor.prepare(order)
    for folder in (order.scratch, order.scratch / "logs"):
        assert folder.stat().st_mode & 0o777 == 0o700


async def test_nothing_is_left_open(tmp_path: Path) -> None:
    """A closed executor has given back every descriptor."""

    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    order = await Rig(tmp_path).order("Leaf", name="one")
    before = opened()
    executor = UnsafeLocalExecutor(SANDBOX, RUNS)
    await executor.prepare(order)
    task = Assignment.of(order.graph, order.graph.root)
    await executor.probe([task])
    await executor.run(task, 1, lambda _: None)
    await executor.close()
    assert opened() == before
