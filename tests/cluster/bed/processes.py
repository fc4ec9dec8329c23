"""Child processes that cannot outlive us.

Each child asks the kernel to be killed when its parent dies (prctl, Linux), so that even a bed that
is killed outright leaves nothing behind; an orderly end sends SIGTERM first and waits. Must be used
from the main thread: that promise is tied to the thread that started the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .places import BedError

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_GRACE_SECONDS = 10


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; call it between fork and exec."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we had asked
        os._exit(1)


@dataclass(frozen=True)
class Child:
    """One running process of the bed and the file that its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise BedError with the end of the log when the process has ended."""
        if (status := self.process.poll()) is not None:
            raise BedError(f"{self.name} ended with status {status}; {self.log}:\n{tail(self.log)}")


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log file."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@contextlib.contextmanager
def running(name: str, command: Sequence[str], logs: Path) -> Iterator[Child]:
    """Run a command as long as the block runs: SIGTERM at its end, SIGKILL after ten seconds."""
    log = logs / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=functools.partial(die_with, os.getpid()),  # noqa: PLW1509 - the bed has one thread
        )
    try:
        yield Child(name, process, log)
    finally:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(
    what: str, ready: Callable[[], bool], children: Sequence[Child], *, seconds: float
) -> None:
    """Ask until the answer is yes, as long as all children live.

    Raises BedError when a child ends or the time is over.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            logs = "\n".join(f"{child.log}:\n{tail(child.log, 5)}" for child in children)
            raise BedError(f"{what} did not happen within {seconds:.0f} s\n{logs}")
        time.sleep(0.1)
