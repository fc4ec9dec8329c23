"""Give each attempt a process tree of its own, so that ending it ends all that it started.

The attempt's process is the first of a nested pid namespace, under a warden that waits for it.
Where namespaces cannot be nested (in most pods) the warden adopts what is left over, and kills it.
A Landlock domain of its own keeps an attempt from touching the warm process and other attempts.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWPID = 0x1000_0000, 0x2000_0000
_PDEATHSIG, _SUBREAPER, _NO_NEW_PRIVS = 1, 36, 38
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_SIGNALLED = 128  # plus the signal: the exit code of a warden whose process was killed
_SCOPES = 0b11  # abstract unix sockets, signals: Landlock ABI 6

_libc = ctypes.CDLL(None, use_errno=True)


def fork_enclosed(work: Callable[[], None], *, nest: bool) -> tuple[int, int]:
    """Fork a warden that runs ``work`` in an enclosed process; return its pid, and a lifeline.

    The warden ends like the process did (its exit code, or 128 plus the signal, see ``outcome``),
    after everything inside has ended. Closing the lifeline, a descriptor, ends both. ``nest`` is
    what ``can_nest`` said. Raises ``OSError`` when there is no room for a process.
    """
    theirs, ours = os.pipe()
    try:
        warden = os.fork()
    except OSError:
        os.close(theirs)
        os.close(ours)
        raise
    if warden:
        os.close(theirs)
        return warden, ours
    status = 1
    try:
        os.close(ours)
        status = _guard(work, theirs, nest=nest)
    finally:
        os._exit(status)


def outcome(status: int) -> tuple[int | None, int | None]:
    """Return exit code or signal of the enclosed process, from the warden's wait status."""
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    code = os.WEXITSTATUS(status)
    return (None, code - _SIGNALLED) if code > _SIGNALLED else (code, None)


def can_nest() -> bool:
    """Try it, in a child."""
    child = os.fork()
    if child == 0:
        os._exit(0 if _own_namespaces() else 1)
    return os.waitpid(child, 0)[1] == 0


def _guard(work: Callable[[], None], lifeline: int, *, nest: bool) -> int:
    os.setsid()
    _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    if nest:
        _own_namespaces()
    child = os.fork()
    if child == 0:
        os.close(lifeline)
        _enclosed(work)
    os.closerange(0, lifeline)  # the attempt's descriptors are the attempt's alone
    os.closerange(lifeline + 1, 1 << 16)
    watch = os.pidfd_open(child)
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    if watch not in {descriptor for descriptor, _ in poll.poll()}:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    _end_orphans()
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else _SIGNALLED + os.WTERMSIG(status)


def _enclosed(work: Callable[[], None]) -> None:
    """Run ``work`` as the process that it is meant for. Never returns."""
    code = 1
    try:
        os.setsid()
        _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _own_domain()
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the attempt's log is where it belongs
        traceback.print_exc()
    finally:
        os._exit(code)


def _own_namespaces() -> bool:
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWPID) != 0:
        return False
    try:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1\n"),
            ("gid_map", f"{group} {group} 1\n"),
        ):
            Path(f"/proc/self/{name}").write_text(text)
    except OSError:
        return False
    return True


def _own_domain() -> None:
    """Enter a Landlock domain below the sandbox's; a kernel without scopes has none to enter."""
    _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    attributes = (ctypes.c_uint64 * 3)(0, 0, _SCOPES)
    ruleset = _libc.syscall(
        ctypes.c_long(_LANDLOCK_CREATE), attributes, ctypes.c_size_t(24), ctypes.c_uint32(0)
    )
    if ruleset >= 0:
        _libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT), ctypes.c_int(ruleset), ctypes.c_uint32(0))
        os.close(ruleset)


def _end_orphans() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
            for orphan in children.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(orphan), signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, 0)
