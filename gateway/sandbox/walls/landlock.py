"""File, network and signal rules by Landlock (Linux 5.13; ABI 4 adds TCP, ABI 6 adds scopes).

A second part of the kernel that says no, should the mount namespace have a hole.
"""

from __future__ import annotations

import ctypes
import os
import stat

from gateway.sandbox.walls.kernel import syscall

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_ABI_QUERY = 1
_PATH_RULE = 1

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_REMOVE = 1 << 4 | 1 << 5  # folders, files
_MAKE = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12  # folder, file, socket, fifo, symlink
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15

READ = _EXECUTE | _READ_FILE | _READ_DIR
WRITE = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE | _MAKE | _REFER | _TRUNCATE
CHANGE = _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE  # of what exists: /dev, /proc
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_TCP = 1 << 0 | 1 << 1  # bind, connect
_SCOPES = 1 << 0 | 1 << 1  # abstract unix sockets, signals

NETWORK_ABI = 4
SCOPE_ABI = 6


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """Return the version that the kernel offers; raises ``OSError`` where there is none."""
    return syscall("landlock_create_ruleset", _CREATE, None, 0, _ABI_QUERY)


def restrict(rules: list[tuple[str, int]], *, network: bool) -> int:
    """Allow ``rules`` (path, rights) and nothing else from here on; return the ABI in force.

    Needs ``no_new_privs``. A path that does not exist is no rule. Without ``network``, TCP is
    refused from ABI 4. From ABI 6, signals and abstract sockets do not leave the sandbox.
    """
    version = abi()
    handled = (1 << 13) - 1
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        handled |= right if version >= since else 0
    attributes = [handled]
    if version >= NETWORK_ABI:
        attributes.append(0 if network else _TCP)
    if version >= SCOPE_ABI:
        attributes.append(_SCOPES)
    block = (ctypes.c_uint64 * len(attributes))(*attributes)
    size = ctypes.sizeof(block)
    ruleset = syscall("landlock_create_ruleset", _CREATE, block, size, 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        syscall("landlock_restrict_self", _RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= _OF_A_FILE
        rule = _PathRule(rights, parent)
        pointer = ctypes.byref(rule)
        syscall("landlock_add_rule", _ADD_RULE, ruleset, _PATH_RULE, pointer, 0)
    finally:
        os.close(parent)
