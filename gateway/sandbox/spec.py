"""What one sandboxed process may see and use: plain data, no effect.

Paths outside that list do not exist inside. The interpreter, its packages and the system's
libraries are always added, read-only (see ``view``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.canonical import Json

LAYERS = (
    "user_namespace",  # its own user ids: no capability counts outside
    "unprivileged_user",  # not the root of this machine behind that
    "mount_namespace",  # its own file tree: what is not listed does not exist
    "pid_namespace",  # sees, signals and outlives no process outside
    "ipc_namespace",  # no System V shared memory, no POSIX queues of others
    "network_namespace",  # no interface at all; not asked for where ``network`` is True
    "landlock",  # the same file rules once more, by another part of the kernel
    "seccomp",  # no address families and system calls that pipelines never need
    "rlimits",  # CPU, memory, file size, processes, descriptors
    "no_new_privs",  # no set-user-id program helps
    "no_capabilities",  # none left, none to gain
)
"""Every wall, outermost first. Production demands all of them."""

REINFORCEMENTS = ("landlock_network", "landlock_scope")
"""What newer kernels add (Landlock ABI 4 and 6). Where a sandbox has its own network namespace
they go over the same ground once more; where it has the host's network, ``landlock_scope`` alone
keeps it from abstract sockets."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of the kernel (``setrlimit``): per process, except ``processes``."""

    cpu_seconds: int
    memory_mb: int  # address space
    file_mb: int  # largest file it may write
    processes: int  # in the whole sandbox
    open_files: int = 1024


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One sandbox.

    ``read_only`` and ``writable`` pair a path of ours with the path at which it is seen inside.
    When we are root, a writable folder (itself, not what is in it) is given to the unprivileged
    user that the code runs as. ``network`` False means a network namespace without any
    interface; True means the host's network. A layer that is in ``required_layers`` and cannot be
    had ends the process before any code runs; another missing layer is left out and reported.
    """

    limits: Limits
    read_only: tuple[tuple[Path, str], ...] = ()
    writable: tuple[tuple[Path, str], ...] = ()
    workdir: str = "/tmp"  # noqa: S108 - the sandbox's own, an empty tmpfs
    network: bool = False
    tmp_mb: int = 64
    required_layers: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Json]:
        """Return the form that ``enter`` reads."""
        limits = self.limits
        return {
            "limits": {
                "cpu_seconds": limits.cpu_seconds,
                "memory_mb": limits.memory_mb,
                "file_mb": limits.file_mb,
                "processes": limits.processes,
                "open_files": limits.open_files,
            },
            "read_only": [[str(source), target] for source, target in self.read_only],
            "writable": [[str(source), target] for source, target in self.writable],
            "workdir": self.workdir,
            "network": self.network,
            "tmp_mb": self.tmp_mb,
            "required_layers": sorted(self.required_layers),
        }
