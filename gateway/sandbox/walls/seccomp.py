"""A seccomp filter against what namespaces and Landlock do not cover.

Address families that ignore network namespaces (vsock reaches the hypervisor's host), io_uring
(which opens sockets that no filter sees), and system calls with a record of kernel holes that no
pipeline has a use for. Everything else passes: this is a short list of refusals, no allow-list.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from gateway.sandbox.walls.kernel import PR_SET_SECCOMP, prctl

_AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_REFUSED = {
    "x86_64": {
        "open_by_handle_at": 304,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "kexec_load": 246,
        "kexec_file_load": 320,
        "init_module": 175,
        "finit_module": 313,
        "delete_module": 176,
        "perf_event_open": 298,
        "bpf": 321,
        "userfaultfd": 323,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
    },
    "aarch64": {
        "open_by_handle_at": 265,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "kexec_load": 104,
        "kexec_file_load": 294,
        "init_module": 105,
        "finit_module": 273,
        "delete_module": 106,
        "perf_event_open": 241,
        "bpf": 280,
        "userfaultfd": 282,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
    },
}
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # classic BPF: ld abs, jeq, jge, ret
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_PASS, _ERRNO = 0x7FFF_0000, 0x0005_0000
_X32 = 0x4000_0000  # the other call table of x86_64: would go round every number above
_FILTER_MODE = 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_void_p))


def restrict() -> None:
    """Install the filter, for this process and all that it starts; needs ``no_new_privs``."""
    machine = os.uname().machine
    if machine not in _AUDIT_ARCH:
        raise OSError(errno.ENOSYS, f"seccomp: no filter for {machine}")
    program = b"".join(struct.pack("=HBBI", *line) for line in _program(machine))
    block = ctypes.create_string_buffer(program, len(program))

    head = _Program(len(program) // 8, ctypes.addressof(block))
    prctl(PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(head))


def _program(machine: str) -> list[tuple[int, int, int, int]]:
    """Return the lines: code, lines to skip if true, lines to skip if false, operand."""
    refused = sorted(_REFUSED[machine].values())
    length = 10 + len(refused) + len(_FAMILIES)
    passing, refusing = length - 2, length - 1
    lines = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, refusing - 5, 0, _X32),
    ]
    for number in refused:
        lines.append((_EQUAL, refusing - len(lines) - 1, 0, number))
    lines.append((_EQUAL, 0, passing - len(lines) - 1, _SOCKET[machine]))
    lines.append((_LOAD, 0, 0, _FIRST_ARGUMENT))
    for family in _FAMILIES:
        lines.append((_EQUAL, passing - len(lines) - 1, 0, int(family)))
    lines.append((_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT))
    lines.append((_RETURN, 0, 0, _PASS))
    lines.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return lines
