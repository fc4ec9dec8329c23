"""User ids: a namespace of its own, and behind it somebody who is not root."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from gateway.sandbox.walls import kernel

INSIDE = 1000  # the id that the code sees as its own
NOBODY = 65534  # whom it runs as outside, when root starts it
ROOT = 0


def enter_namespace(*, become_nobody: bool) -> int | None:
    """Move into a new user namespace; return the id to ``become`` there before code runs.

    Root keeps its id for building the file tree, and then becomes ``INSIDE``, which is nobody
    outside. Only a process that stayed outside may write that map, hence the helper. For others
    (None) the one id they have is ``INSIDE`` already.

    ``become_nobody`` False leaves root the machine's root, without capabilities: nobody could not
    enter root's own folders, and there is no tree in which they would be shown.
    """
    user, group = os.geteuid(), os.getegid()
    if user != ROOT or not become_nobody:
        kernel.unshare(kernel.CLONE_NEWUSER)
        map_self(user, group, INSIDE)
        return None
    os.setgroups([])
    write, cancel = _map_writer(os.getpid(), f"0 0 1\n{INSIDE} {NOBODY} 1\n")
    try:
        kernel.unshare(kernel.CLONE_NEWUSER)
    except OSError:
        cancel()
        raise
    if not write():
        raise PermissionError(errno.EPERM, "root may not map another user")
    return INSIDE


def map_self(user: int, group: int, inside: int) -> None:
    """Map the one id that an unprivileged process may map: its own."""
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{inside} {user} 1\n")
    _write("/proc/self/gid_map", f"{inside} {group} 1\n")


def become(user: int) -> None:
    """Give up root for good."""
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _map_writer(pid: int, table: str) -> tuple[Callable[[], bool], Callable[[], bool]]:
    """Fork a helper that writes the maps of ``pid`` when told to, and says whether it could."""
    command_read, command_write = os.pipe()
    helper = os.fork()
    if helper == 0:
        status = 1
        try:
            os.close(command_write)
            if os.read(command_read, 1):
                _write(f"/proc/{pid}/uid_map", table)
                _write(f"/proc/{pid}/gid_map", table)
                status = 0
        finally:
            os._exit(status)
    os.close(command_read)

    def finish(command: bytes) -> bool:
        if command:
            os.write(command_write, command)
        os.close(command_write)
        return os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1]) == 0

    return lambda: finish(b"x"), lambda: finish(b"")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
