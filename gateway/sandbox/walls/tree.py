"""The file tree inside: an empty tmpfs, and in it what was listed, under the listed names.

The old tree is gone from the mount namespace when ``build`` returns; there is no path back.
"""

from __future__ import annotations

import os
from pathlib import Path

from gateway.sandbox.walls import kernel, users

DEVICES = ("null", "zero", "full", "random", "urandom")
SCRATCH = "/tmp"  # noqa: S108 - inside: a private tmpfs
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - inside: a private tmpfs

_READ_ONLY, _NO_SUID, _NO_DEV, _NO_EXEC = 1, 2, 4, 8  # the same bits for mount and mount_setattr
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x4_0000
_BASE = "/tmp"  # noqa: S108 - outside: a mount point that exists everywhere; its content stays
_OLD = "/.outside"
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_OF_THE_MACHINE = ("sys", "sysrq-trigger", "irq", "bus", "fs")  # in /proc: settings of everybody
_REFUSED_NAMESPACES = ("mnt", "net", "ipc", "uts", "cgroup", "time")


def build(
    view: list[str],
    read_only: list[list[str]],
    writable: list[list[str]],
    *,
    network: bool,
    tmp_mb: int,
    owner: int | None,
) -> None:
    """Leave for a mount namespace and fill it; the caller is process 1 of a pid namespace.

    ``owner`` is the user that root will become, and is given the writable folders themselves.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    shown = [
        (path, path.resolve(), path.is_symlink() and path.is_dir()) for path in map(Path, view)
    ]
    links = {path: path.readlink() for path, _, linked in shown if linked}
    mine = [(Path(source).resolve(), Path(target)) for source, target in read_only]
    theirs = [(Path(source).resolve(), Path(target)) for source, target in writable]

    kernel.mount("none", "/", flags=_RECURSIVE | _PRIVATE)
    kernel.mount("tmpfs", _BASE, "tmpfs", _NO_SUID | _NO_DEV, "size=1m,nr_inodes=16k,mode=0755")
    Path(_BASE + _OLD).mkdir()
    kernel.pivot_root(_BASE, _BASE + _OLD)
    os.chdir("/")

    _scratch(SCRATCH, tmp_mb)  # first: what is shown may lie below it
    _devices(tmp_mb)
    for path, real, linked in shown:
        if linked:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(links[path])
        else:
            _bind(real, path)
    for source, target in mine:
        _bind(source, target)
    for source, target in theirs:
        if owner is not None and Path(_OLD + str(source)).stat().st_uid == users.ROOT:
            os.chown(_OLD + str(source), owner, owner)
        _bind(source, target, writable=True)
    _names(users.INSIDE if owner is None else owner, network=network)
    Path("/proc").mkdir()
    kernel.mount("proc", "/proc", "proc", _NO_SUID | _NO_DEV | _NO_EXEC)
    kernel.detach(_OLD)
    Path(_OLD).rmdir()
    kernel.set_mount_attributes("/", _READ_ONLY | _NO_SUID | _NO_DEV, recursive=False)


def refuse_more_namespaces() -> None:
    """Leave user and pid namespaces as the only ones that may still be made inside.

    A network or mount namespace would bring back capabilities over much kernel code.
    """
    for name in _REFUSED_NAMESPACES:
        count = Path(f"/proc/sys/user/max_{name}_namespaces")
        if count.exists():
            count.write_text("0")


def seal_machine_settings() -> None:
    """Make what /proc shows of the whole machine read-only, whoever asks."""
    for name in _OF_THE_MACHINE:
        path = f"/proc/{name}"
        if Path(path).exists():
            kernel.mount(path, path, flags=_BIND | _RECURSIVE)
            kernel.set_mount_attributes(path, _READ_ONLY, recursive=True)


def _bind(source: Path, target: Path, *, writable: bool = False) -> None:
    outside = Path(_OLD + str(source))
    if outside.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    kernel.mount(str(outside), str(target), flags=_BIND | _RECURSIVE)
    attributes = _NO_SUID | _NO_DEV | (0 if writable else _READ_ONLY)
    kernel.set_mount_attributes(str(target), attributes, recursive=True)


def _devices(shm_mb: int) -> None:
    folder = Path("/dev")
    folder.mkdir()
    for name in DEVICES:
        device = folder / name
        device.touch()
        kernel.mount(f"{_OLD}{device}", str(device), flags=_BIND)
        kernel.set_mount_attributes(str(device), _NO_SUID | _NO_EXEC, recursive=False)
    for name, target in _LINKS.items():
        (folder / name).symlink_to(target)
    _scratch(SHARED_MEMORY, shm_mb)


def _scratch(path: str, megabytes: int) -> None:
    Path(path).mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,nr_inodes=64k,mode=1777"
    kernel.mount("tmpfs", path, "tmpfs", _NO_SUID | _NO_DEV, options)


def _names(user: int, *, network: bool) -> None:
    folder = Path("/etc")
    folder.mkdir(exist_ok=True)
    passwd = f"sandbox:x:{user}:{user}::{SCRATCH}:/bin/sh\n"
    (folder / "passwd").write_text(passwd)
    (folder / "group").write_text(f"sandbox:x:{user}:\n")
    if not network:
        (folder / "hosts").write_text("127.0.0.1 localhost\n")
