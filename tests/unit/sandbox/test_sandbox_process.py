"""The life of a sandboxed process: how it starts, how it ends, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


@contextlib.contextmanager
def pipe():
    """A pipe that says when the last process that holds its write end is gone."""
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        for end in (read, write):
            with contextlib.suppress(OSError):
                os.close(end)


async def until_end(read: int) -> bytes:
    """Read to the end, which comes when nobody holds the other one."""
    with open(os.dup(read), "rb") as stream:  # noqa: PTH123 - a descriptor
        return await asyncio.wait_for(asyncio.to_thread(stream.read), 10)


@pytest.mark.parametrize(
    ("code", "status"),
    [("", 0), ("raise SystemExit(7)", 7), ("import os, signal; os.kill(0, 9)", -9)],
)
async def test_process_says_how_it_ended(code, status):
    """Exit codes as they are, signals as negative numbers; ``exit`` has both and the usage."""
    if status == -9:
        code = "import ctypes; ctypes.string_at(0)"  # process 1 cannot kill itself: let it crash
        status = -signal.SIGSEGV
    async with await SandboxProcess.start(SPEC, python(code)) as process:
        assert await process.wait() == status
    assert process.exit is not None
    assert process.exit.status == status
    assert process.exit.cpu_seconds > 0
    assert process.exit.max_rss_mb > 0


async def test_process_leaves_no_descriptor_and_no_zombie():
    """After many sandboxes, ended in each way, we hold what we held before."""

    async def each_way() -> None:
        async with await SandboxProcess.start(SPEC, python("")) as process:
            await process.wait()
        async with await SandboxProcess.start(SPEC, python("import time; time.sleep(60)")):
            pass
        with pytest.raises(Misconfigured):
            await SandboxProcess.start(SPEC, ["/nowhere"])

    await each_way()
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await each_way()
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


async def test_process_kill_takes_everything_along():
    """Children in sessions of their own, deaf to every signal, end with the sandbox."""
    with pipe() as (read, write):
        process = await SandboxProcess.start(SPEC, python(STUBBORN), fds={1: write})
        os.close(write)
        assert await asyncio.to_thread(os.read, read, 1) == b"x"
        process.kill()
        assert await asyncio.wait_for(process.wait(), 10) == -signal.SIGKILL
        await until_end(read)
        process.kill()  # again: no effect
        await process.close()


async def test_process_ends_when_its_keeper_is_killed():
    """Somebody kills the keeper: the code dies at once, and we learn of it."""
    with pipe() as (read, write):
        async with await SandboxProcess.start(SPEC, python(STUBBORN), fds={1: write}) as process:
            os.close(write)
            assert await asyncio.to_thread(os.read, read, 1) == b"x"
            os.kill(process.pid, signal.SIGKILL)
            assert await asyncio.wait_for(process.wait(), 10) == -signal.SIGKILL
        await until_end(read)


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


async def test_process_ends_when_the_gateway_is_killed():
    """SIGKILL for us: no line of ours runs, and still nothing of the code lives on."""
    with pipe() as (read, write):
        gateway = subprocess.Popen([sys.executable, "-c", GATEWAY, STUBBORN], stdout=write)
        os.close(write)
        try:
            assert await asyncio.to_thread(os.read, read, 1) == b"x"
        finally:
            gateway.kill()
            gateway.wait()
        await until_end(read)


async def test_process_that_cannot_be_started_is_an_error_before_any_code():
    """A program that does not exist is told apart from one that failed."""
    with pytest.raises(Misconfigured) as caught:
        await SandboxProcess.start(SPEC, ["/nowhere/python"])
    assert caught.value.code == "sandbox_failed"
    assert "/nowhere/python" in caught.value.diagnostics


async def test_process_setup_has_a_bound(monkeypatch, tmp_path):
    """A keeper that hangs is given up, and is gone afterwards."""
    hanging = tmp_path / "enter.py"
    hanging.write_text("import time; time.sleep(60)")
    monkeypatch.setattr("gateway.sandbox.process.KEEPER", hanging)
    with pytest.raises(Retryable) as caught:
        await asyncio.wait_for(SandboxProcess.start(SPEC, python(""), setup_seconds=0.2), 10)
    assert caught.value.code == "sandbox_slow"


async def test_process_start_can_be_cancelled():
    """A launch that is given up while its sandbox is built leaves nothing behind."""
    before = set(os.listdir("/proc/self/fd"))
    for delay in (0, 0.005, 0.03):
        start = asyncio.create_task(
            SandboxProcess.start(SPEC, python("import time; time.sleep(60)"))
        )
        await asyncio.sleep(delay)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    assert set(os.listdir("/proc/self/fd")) == before


async def test_process_required_layers_are_all_on():
    """With every layer demanded, as in production, the code runs behind every one of them."""
    spec = SandboxSpec(SPEC.limits, required_layers=frozenset(LAYERS))
    async with await SandboxProcess.start(spec, python("")) as process:
        assert await process.wait() == 0
    assert [name for name in LAYERS if not process.layers[name]] == []


def test_process_module_names_no_path_of_this_machine():
    """The keeper is found beside the module, wherever that is installed."""
    from gateway.sandbox.process import KEEPER

    assert KEEPER == Path(sys.modules["gateway.sandbox.process"].__file__ or "").with_name(
        "enter.py"
    )
