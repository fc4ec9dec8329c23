"""Run some Python behind the walls, and see what it could say."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.sandbox.pipes import CappedPipe
from gateway.sandbox.process import Exit, SandboxProcess
from gateway.sandbox.spec import Limits, SandboxSpec

SMALL = Limits(cpu_seconds=20, memory_mb=1024, file_mb=8, processes=32)


@dataclass(frozen=True)
class Seen:
    """What came out of a sandbox."""

    exit: Exit
    output: str
    layers: Mapping[str, bool]
    notes: Mapping[str, str]


Inside = Callable[..., Awaitable[Seen]]


def python(code: str, *arguments: str) -> list[str]:
    """Return the command line of some Python code."""
    return [sys.executable, "-I", "-S", "-c", textwrap.dedent(code), *arguments]


async def run_inside(
    code: str,
    *arguments: str,
    skip: tuple[str, ...] = (),
    fds: Mapping[int, int] | None = None,
    **fields: Any,
) -> Seen:
    """Run code to its end; ``fields`` are those of ``SandboxSpec``, ``skip`` leaves layers out."""
    spec = SandboxSpec(**{"limits": SMALL, **fields})
    argv = python(code, *arguments)
    with CappedPipe(1 << 20) as output:
        given = {1: output.write_end, 2: output.write_end, **(fds or {})}
        if skip:  # as `start` does it after such a layer failed
            process = SandboxProcess._spawn(spec, argv, given, list(skip))
            await process._entered
        else:
            process = await SandboxProcess.start(spec, argv, fds=given)
        output.given_away()
        async with asyncio.timeout(30), process:
            await process.wait()
        data = await output.collect()
    assert process.exit is not None
    return Seen(process.exit, data.decode(), process.layers, process.notes)
