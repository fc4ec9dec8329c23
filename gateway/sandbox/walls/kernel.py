"""System calls that Python does not wrap, for x86_64 and aarch64, under their own names."""

from __future__ import annotations

import ctypes
import errno
import os

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

_MACHINE = os.uname().machine
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(_MACHINE)
_KEYCTL = {"x86_64": 250, "aarch64": 219}.get(_MACHINE)

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(what: str, number: int | None, *arguments: object) -> int:
    """Call by number; ``what`` names it in the error. ``number`` None: unknown on this machine."""
    if number is None:
        raise OSError(errno.ENOSYS, f"{what}: not known for {_MACHINE}")
    plain = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *plain), what)


def unshare(flags: int) -> None:
    """Leave the namespaces that ``flags`` name for new ones."""
    _checked(_libc.unshare(flags), "unshare")


def prctl(option: int, value: int = 0, pointer: object = 0) -> None:
    """Change one attribute of this process."""
    third = ctypes.c_ulong(pointer) if isinstance(pointer, int) else pointer
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(option, ctypes.c_ulong(value), third, zero, zero), f"prctl {option}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Attach a file system, or what is at another path."""
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _checked(result, f"mount {target}")


def detach(target: str) -> None:
    """Unmount a tree, now for lookups and later for those who still use it: umount2(2)."""
    detach_flag = 2
    _checked(_libc.umount2(target.encode(), detach_flag), f"unmount {target}")


def pivot_root(new: str, old: str) -> None:
    """Change the root of this mount namespace."""
    syscall("pivot_root", _PIVOT_ROOT, new.encode(), old.encode())


def set_mount_attributes(path: str, attributes: int, *, recursive: bool) -> None:
    """Add attributes to a mount, and to those below it: mount_setattr(2), Linux 5.12."""
    at_fdcwd, at_recursive = -100, 0x8000
    block = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    flags = at_recursive if recursive else 0
    size = ctypes.sizeof(block)
    syscall(f"mount_setattr {path}", 442, at_fdcwd, path.encode(), flags, block, size)


def empty_bounding_set() -> None:
    """Make capabilities impossible to regain by running a program: prctl(2)."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL and capability:
                return  # past the last one that this kernel knows
            raise


def drop_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets: capset(2)."""
    version_3 = 0x2008_0522
    header = (ctypes.c_uint32 * 2)(version_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _checked(_libc.capset(header, nothing), "capset")


def new_session_keyring() -> None:
    """Leave the keyring of whoever started us behind: keyctl(2), KEYCTL_JOIN_SESSION_KEYRING."""
    join = 1
    syscall("keyctl", _KEYCTL, join, None)
