"""A bench for code behind the walls: run some Python inside, and see what it could say."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

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


@pytest.fixture
def inside() -> Inside:
    """Run Python code in a sandbox to its end; keyword arguments are those of ``SandboxSpec``."""

    async def run(
        code: str,
        *arguments: str,
        skip: tuple[str, ...] = (),
        fds: Mapping[int, int] | None = None,
        **spec: object,
    ) -> Seen:
        wanted = SandboxSpec(**{"limits": SMALL, **spec})  # type: ignore[arg-type]
        argv = [sys.executable, "-I", "-S", "-c", textwrap.dedent(code), *arguments]
        with CappedPipe(1 << 20) as output:
            given = {1: output.write_end, 2: output.write_end, **(fds or {})}
            if skip:
                process = SandboxProcess._spawn(wanted, argv, given, list(skip))
                await process._entered
            else:
                process = await SandboxProcess.start(wanted, argv, fds=given)
            output.given_away()
            async with asyncio.timeout(30), process:
                await process.wait()
            data = await output.collect()
        assert process.exit is not None
        return Seen(process.exit, data.decode(), process.layers, process.notes)

    return run


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file as our keys are: mode 0600, in a folder of mode 0700."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    path = folder / "installation.key"
    path.write_text("the installation key")
    path.chmod(0o600)
    return path
