"""Resource limits: setrlimit(2). Soft and hard are equal, so that nothing can be raised.

For process 1 of a namespace this matters twice: it ignores the soft CPU limit's SIGXCPU, and the
kernel's SIGKILL at the hard one is final.
"""

from __future__ import annotations

import resource

_MB = 1 << 20


def apply(limits: dict[str, int]) -> None:
    """Set every limit of ``spec.Limits``; a lower limit that is already in force stays."""
    _set(resource.RLIMIT_CPU, limits["cpu_seconds"])
    _set(resource.RLIMIT_AS, limits["memory_mb"] * _MB)
    _set(resource.RLIMIT_FSIZE, limits["file_mb"] * _MB)
    _set(resource.RLIMIT_NPROC, limits["processes"])
    _set(resource.RLIMIT_NOFILE, limits["open_files"])
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_MEMLOCK, 0)
    _set(resource.RLIMIT_MSGQUEUE, 0)


def _set(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
