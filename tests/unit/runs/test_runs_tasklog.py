"""The log of an attempt: private, capped, and never in the way of the task."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from gateway.runs.tasklog import TaskLog


async def test_private_file(tmp_path: Path) -> None:
    """What the process writes is in the file, which only we may read."""
    path = tmp_path / "log"
    with TaskLog(path, 100) as log:
        os.write(log.writer, b"hello\n")
    assert path.read_bytes() == b"hello\n"
    assert path.stat().st_mode & 0o777 == 0o600


async def test_cut(tmp_path: Path) -> None:
    """Beyond the size nothing is kept, the log says so, and the writer never waits."""
    path = tmp_path / "log"
    with TaskLog(path, 1000) as log:
        writer = os.dup(log.writer)
        log.release_writer()

        def chatter() -> None:
            for _ in range(64):
                os.write(writer, b"x" * 65_536)
            os.close(writer)

        await asyncio.wait_for(asyncio.to_thread(chatter), 10)
    assert path.read_bytes() == b"x" * 1000 + b"\n[cut after 1000 bytes]\n"


async def test_what_is_left_in_the_pipe(tmp_path: Path) -> None:
    """What a task wrote last, before anybody could read it, is in the log."""
    with TaskLog(tmp_path / "log", 100_000) as log:
        os.write(log.writer, b"y" * 60_000)
    assert (tmp_path / "log").stat().st_size == 60_000


async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    """A closed log holds nothing open."""

    def opened() -> set[Path]:
        return set(Path("/proc/self/fd").iterdir())

    before = opened()
    with TaskLog(tmp_path / "log", 100):
        pass
    assert opened() == before
