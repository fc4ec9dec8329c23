"""Resident memory of gateway and driver while 300 tasks run, beside ``import luigi`` alone."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.bed import bed
from benchmarks.figures import Figure, resident_mb

_IDLE = "import luigi, sys; print(flush=True); sys.stdin.read()"


async def measure() -> list[Figure]:
    """Return megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        async with bed(Path(folder)) as found:
            body = {"pipeline": "wide", "parameters": {"n": 300, "milliseconds": 5}}
            view = await found.client.post("/v1/launches", body)
            largest = 0.0
            async for event in found.client.events(view["id"]):
                if event.name == "task.finished":
                    largest = max(largest, *(resident_mb(pid) for pid in _drivers()), 0.0)
            gateway = resident_mb(os.getpid())
    idle = await _idle()
    return [
        Figure("gateway after 300 tasks", gateway, "MB", "MB, import luigi", idle),
        Figure("driver of 300 tasks", largest, "MB", "MB, import luigi", idle),
    ]


def _drivers() -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"gateway.runs.driver" in command:
                found.append(int(folder.name))
    return found


async def _idle() -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _IDLE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    await process.stdout.readline()
    value = resident_mb(process.pid)
    process.stdin.close()
    await process.wait()
    return value
