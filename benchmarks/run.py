"""A run of 300 tasks of 20 ms, four at a time, beside plain ``luigi.build(workers=4)``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bed import WIDE, bed
from benchmarks.figures import Figure

TASKS = 300
MILLISECONDS = 20
_PLAIN = """
import logging, sys
sys.path.insert(0, sys.argv[1])
import luigi, wide
logging.disable(logging.CRITICAL)
task = wide.Wide(n=int(sys.argv[2]), milliseconds=int(sys.argv[3]))
sys.exit(not luigi.build([task], local_scheduler=True, workers=4, log_level="CRITICAL"))
"""


async def measure() -> list[Figure]:
    """Return seconds from the request to the end of the run."""
    with tempfile.TemporaryDirectory() as folder:
        ours = await _ours(Path(folder))
        plain = await _plain(Path(folder) / "plain")
    ideal = TASKS * MILLISECONDS / 4000
    return [
        Figure(
            f"run {TASKS} tasks of {MILLISECONDS} ms, 4 at a time",
            ours,
            "s",
            "s, luigi.build(workers=4)",
            plain,
        ),
        Figure(
            "overhead per task of that run",
            (ours - ideal) / TASKS * 1000,
            "ms",
            "ms, luigi.build",
            (plain - ideal) / TASKS * 1000,
        ),
    ]


async def _ours(folder: Path) -> float:
    async with bed(folder) as found:
        start = time.perf_counter()
        body = {"pipeline": "wide", "parameters": {"n": TASKS, "milliseconds": MILLISECONDS}}
        view = await found.client.post("/v1/launches", body)
        async for event in found.client.events(view["id"]):
            if event.name == "end":
                assert event.data["state"] == "succeeded", event.data
        return time.perf_counter() - start


async def _plain(folder: Path) -> float:
    folder.mkdir()
    start = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PLAIN, str(WIDE), str(TASKS), str(MILLISECONDS), cwd=folder
    )
    assert await process.wait() == 0
    return time.perf_counter() - start
