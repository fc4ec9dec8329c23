"""The file tree inside: an empty tmpfs, and in it what was listed, under the listed names.

The old tree is gone from the mount namespace when ``build`` returns; there is no path back.
"""

from __future__ import annotations

import os
import stat

from gateway.sandbox.walls import kernel, users

_READ_ONLY, _NO_SUID, _NO_DEV, _NO_EXEC = 1, 2, 4, 8  # the same bits for mount and mount_setattr
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x4_0000
_OLD = "/.outside"
DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_OF_THE_MACHINE = ("sys", "sysrq-trigger", "irq", "bus", "fs")  # in /proc: settings of everybody
_COUNTS = ("mnt", "net", "ipc", "uts", "cgroup", "time")


def build(
    view: list[str],
    read_only: list[list[str]],
    writable: list[list[str]],
    *,
    network: bool,
    tmp_mb: int,
) -> None:
    """Leave for a mount namespace and fill it; the caller is process 1 of a pid namespace."""
    kernel.unshare(kernel.CLONE_NEWNS)
    real = {path: os.path.realpath(path) for path in view}
    links = {path: os.readlink(path) for path in view if os.path.islink(path)}
    pairs = [(os.path.realpath(source), target, False) for source, target in read_only]
    pairs += [(os.path.realpath(source), target, True) for source, target in writable]

    kernel.mount("none", "/", flags=_RECURSIVE | _PRIVATE)
    base = "/tmp"  # noqa: S108 - a mount point that exists everywhere; what is in it stays as it is
    kernel.mount("tmpfs", base, "tmpfs", _NO_SUID | _NO_DEV, "size=1m,nr_inodes=16k,mode=0755")
    os.mkdir(base + _OLD)
    kernel.pivot_root(base, base + _OLD)
    os.chdir("/")

    for path in view:
        if path in links and os.path.isdir(_OLD + real[path]):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(links[path], path)
        else:
            _bind(real[path], path, writable=False)
    for source, target, changes in pairs:
        _bind(source, target, writable=changes)
    _devices(tmp_mb)
    _scratch("/tmp", tmp_mb)  # noqa: S108 - the new, private one
    _names(network=network)
    _processes()
    kernel.detach(_OLD)
    os.rmdir(_OLD)
    kernel.set_mount_attributes("/", _READ_ONLY | _NO_SUID | _NO_DEV, recursive=False)


def refuse_more_namespaces() -> None:
    """Leave user and pid namespaces as the only ones that may still be made inside.

    A network or mount namespace would bring back capabilities over much kernel code.
    """
    for name in _COUNTS:
        path = f"/proc/sys/user/max_{name}_namespaces"
        if os.path.exists(path):
            _file(path, "0")


def seal_machine_settings() -> None:
    """Make what /proc shows of the whole machine read-only, whoever asks."""
    for name in _OF_THE_MACHINE:
        path = f"/proc/{name}"
        if os.path.exists(path):
            kernel.mount(path, path, flags=_BIND | _RECURSIVE)
            kernel.set_mount_attributes(path, _READ_ONLY, recursive=True)


def _bind(source: str, target: str, *, writable: bool) -> None:
    outside = _OLD + source
    mode = os.stat(outside).st_mode
    if stat.S_ISDIR(mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _file(target, "")
    if writable and os.getuid() == users.ROOT and os.stat(outside).st_uid == users.ROOT:
        os.chown(outside, users.INSIDE, users.INSIDE)
    kernel.mount(outside, target, flags=_BIND | _RECURSIVE)
    attributes = _NO_SUID | _NO_DEV | (0 if writable else _READ_ONLY)
    kernel.set_mount_attributes(target, attributes, recursive=True)


def _devices(shm_mb: int) -> None:
    os.mkdir("/dev")
    for name in DEVICES:
        _file(f"/dev/{name}", "")
        kernel.mount(f"{_OLD}/dev/{name}", f"/dev/{name}", flags=_BIND)
        kernel.set_mount_attributes(f"/dev/{name}", _NO_SUID | _NO_EXEC, recursive=False)
    for name, target in _LINKS:
        os.symlink(target, f"/dev/{name}")
    _scratch("/dev/shm", shm_mb)  # noqa: S108 - the new, private one


def _scratch(path: str, megabytes: int) -> None:
    os.makedirs(path, exist_ok=True)
    options = f"size={megabytes}m,nr_inodes=64k,mode=1777"
    kernel.mount("tmpfs", path, "tmpfs", _NO_SUID | _NO_DEV, options)


def _names(*, network: bool) -> None:
    os.makedirs("/etc", exist_ok=True)
    _file("/etc/passwd", f"sandbox:x:{users.INSIDE}:{users.INSIDE}::/tmp:/bin/sh\n")
    _file("/etc/group", f"sandbox:x:{users.INSIDE}:\n")
    if not network:
        _file("/etc/hosts", "127.0.0.1 localhost\n")


def _processes() -> None:
    os.mkdir("/proc")
    kernel.mount("proc", "/proc", "proc", _NO_SUID | _NO_DEV | _NO_EXEC)


def _file(path: str, text: str) -> None:
    with open(path, "w") as stream:  # noqa: PTH123 - pathlib would cost more than this module
        stream.write(text)
