"""The life of a sandboxed process: how it starts, how it ends, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest
from sandbox_bench import python

from gateway.errors import Misconfigured, Retryable
from gateway.sandbox.process import SandboxProcess
from gateway.sandbox.spec import LAYERS, Limits, SandboxSpec

SPEC = SandboxSpec(Limits(cpu_seconds=10, memory_mb=512, file_mb=1, processes=16))
STUBBORN = """
import ctypes, os, signal, time
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG: live on when the parent dies
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
if os.fork() == 0:
    os.setsid()
os.write(1, b"x")
time.sleep(60)
"""


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Give a pipe that tells when the last process that holds its write end is gone."""
    read, write = os.pipe()
    ends = [os.fdopen(read, "rb"), os.fdopen(write, "wb")]
    try:
        yield Watch(*ends)
    finally:
        for end in ends:
            end.close()


@dataclass(frozen=True)
class Watch:
    """Both ends of a pipe."""

    read: BinaryIO
    write: BinaryIO

    async def begun(self) -> None:
        """Return when the code has said that it runs."""
        self.write.close()
        said = await asyncio.wait_for(asyncio.to_thread(self.read.read, 1), 10)
        assert said == b"x"

    async def gone(self) -> None:
        """Return when nobody holds the write end any more."""
        await asyncio.wait_for(asyncio.to_thread(self.read.read), 10)


def descriptors() -> set[str]:
    """Return what this process holds open."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("raise SystemExit(7)", 7),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
    ],
)
async def test_process_says_how_it_ended(code: str, status: int) -> None:
    """Exit codes as they are, signals as negative numbers; ``exit`` has both and the usage."""
    async with await SandboxProcess.start(SPEC, python(code)) as process:
        assert await process.wait() == status
    assert process.exit is not None
    assert process.exit.status == status
    assert process.exit.cpu_seconds > 0
    assert process.exit.max_rss_mb > 0


async def test_process_leaves_no_descriptor_and_no_zombie() -> None:
    """After many sandboxes, ended in each way, we hold what we held before."""

    async def each_way() -> None:
        async with await SandboxProcess.start(SPEC, python("")) as process:
            await process.wait()
        async with await SandboxProcess.start(SPEC, python("import time; time.sleep(60)")):
            pass
        with pytest.raises(Misconfigured):
            await SandboxProcess.start(SPEC, ["/nowhere"])

    await each_way()
    before = descriptors()
    for _ in range(3):
        await each_way()
    assert descriptors() == before
    assert not await asyncio.to_thread(Path(f"/proc/self/task/{os.getpid()}/children").read_text)


async def test_process_kill_takes_everything_along() -> None:
    """Children in sessions of their own, deaf to every signal, end with the sandbox."""
    with watched() as watch:
        process = await SandboxProcess.start(SPEC, python(STUBBORN), fds={1: watch.write.fileno()})
        await watch.begun()
        process.kill()
        assert await asyncio.wait_for(process.wait(), 10) == -signal.SIGKILL
        await watch.gone()
        process.kill()  # again: no effect
        await process.close()


async def test_process_ends_when_its_keeper_is_killed() -> None:
    """Somebody kills the keeper: the code dies at once, and we learn of it."""
    with watched() as watch:
        fds = {1: watch.write.fileno()}
        async with await SandboxProcess.start(SPEC, python(STUBBORN), fds=fds) as process:
            await watch.begun()
            os.kill(process.pid, signal.SIGKILL)
            assert await asyncio.wait_for(process.wait(), 10) == -signal.SIGKILL
        await watch.gone()


GATEWAY = """
import asyncio, os, sys
from gateway.sandbox.process import SandboxProcess
from gateway.sandbox.spec import Limits, SandboxSpec
async def main():
    spec = SandboxSpec(Limits(cpu_seconds=10, memory_mb=512, file_mb=1, processes=16))
    await SandboxProcess.start(spec, [sys.executable, "-I", "-S", "-c", sys.argv[1]], fds={1: 1})
    os.close(1)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_process_ends_when_the_gateway_is_killed() -> None:
    """SIGKILL for us: no line of ours runs, and still nothing of the code lives on."""
    with watched() as watch:
        gateway = await asyncio.create_subprocess_exec(
            sys.executable, "-c", GATEWAY, STUBBORN, stdout=watch.write
        )
        try:
            await watch.begun()
        finally:
            gateway.kill()
            await gateway.wait()
        await watch.gone()


async def test_process_that_cannot_be_started_is_an_error_before_any_code() -> None:
    """A program that does not exist is told apart from one that failed."""
    with pytest.raises(Misconfigured) as caught:
        await SandboxProcess.start(SPEC, ["/nowhere/python"])
    assert caught.value.code == "sandbox_failed"
    assert "/nowhere/python" in caught.value.diagnostics


async def test_process_setup_has_a_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A keeper that hangs is given up, and is gone afterwards."""
    hanging = tmp_path / "enter.py"
    hanging.write_text("import time; time.sleep(60)")
    monkeypatch.setattr("gateway.sandbox.process.KEEPER", hanging)
    with pytest.raises(Retryable) as caught:
        await asyncio.wait_for(SandboxProcess.start(SPEC, python(""), setup_seconds=0.2), 10)
    assert caught.value.code == "sandbox_slow"


async def test_process_start_can_be_cancelled() -> None:
    """A launch that is given up while its sandbox is built leaves nothing behind."""
    before = descriptors()
    for delay in (0, 0.005, 0.03):
        start = asyncio.create_task(
            SandboxProcess.start(SPEC, python("import time; time.sleep(60)"))
        )
        await asyncio.sleep(delay)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    assert descriptors() == before


async def test_process_required_layers_are_all_on() -> None:
    """With every layer demanded, as in production, the code runs behind every one of them."""
    spec = SandboxSpec(SPEC.limits, required_layers=frozenset(LAYERS))
    async with await SandboxProcess.start(spec, python("")) as process:
        assert await process.wait() == 0
    assert [name for name in LAYERS if not process.layers[name]] == []
