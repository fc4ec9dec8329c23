"""What a resolving pod may use where a pod has no field for it: CPU time, and bytes of one file.

The pipeline goes on in a child. Process 1 of a pod ignores SIGXCPU, and could say nothing after a
SIGKILL; here it waits, and says which limit it was.
"""

from __future__ import annotations

import os
import resource
import signal

from .failure import GuestError

_NEARLY = 0.8  # as in gateway/graph/resolver.py: the kernel's limit and its account differ
_SIGNALLED = 128  # plus the signal: how a container's runtime tells it too


def go_on_within(cpu_seconds: int, file_mb: int) -> None:
    """Return in a child with these limits; in the caller's process end as the child ends.

    Raises ``GuestError`` (``resolve_cpu``) in the caller's process when the time was used up. A
    file that grows too large is the child's own ``OSError``: Python ignores SIGXFSZ.
    """
    child = os.fork()
    if child == 0:
        _set(resource.RLIMIT_CPU, cpu_seconds)
        _set(resource.RLIMIT_FSIZE, file_mb << 20)
        # RLIMIT_NPROC counts the processes of the user on the whole node, other pods' among them;
        # how many a pod may have is the kubelet's to bound (podPidsLimit).
        return
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    took = used.ru_utime + used.ru_stime
    if -code in (signal.SIGKILL, signal.SIGXCPU) and took >= _NEARLY * cpu_seconds:
        raise GuestError(
            "resolve_cpu", f"importing and building the graph took over {cpu_seconds} s of CPU"
        )
    os._exit(code if code >= 0 else _SIGNALLED - code)


def _set(which: int, value: int) -> None:
    """Set a limit for good; a lower one that is already in force stays."""
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
