"""A machine of its own for the real kubelet, out of namespaces.

A kubelet and a container runtime are not polite guests: they mount, make cgroups and network
devices, write under /var and /run, and set kernel parameters. So the whole bed with a kubelet, and
the command that it was brought up for, run in mount, pid, network, ipc, uts and cgroup namespaces
of their own. The network is a loopback device: neither pods nor tests reach anything outside.
Promises: when the command ends no process, mount, device, cgroup or changed parameter is left; when
we are killed outright, no process, mount or device.

Needs root, and cgroup v1 controllers (a pure cgroup v2 machine is refused, not tried).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .places import BedError, State
from .processes import die_with

_CGROUPS = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
_HIERARCHIES = (*_CONTROLLERS, "systemd")
_UNSHARE = (
    *("unshare", "--fork", "--kill-child", "--mount-proc"),
    *("--pid", "--mount", "--net", "--ipc", "--uts", "--cgroup"),
)
# What a kubelet sets for the whole kernel, which has no namespace for it.
_PARAMETERS = (
    *("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"),
)
_GONE_SECONDS = 10
NODE_ADDRESS = "10.99.0.1"  # on the loopback device: a kubelet refuses 127.0.0.1 as its node's
SILENT_ADDRESS = "10.99.0.2"  # the node talks to it; what it sends to a pod is thrown away
POD_RANGE = "10.88.0.0/24"


def run_apart(command: Sequence[str]) -> int:
    """Run a command in a machine of its own and return its exit status.

    The command has to call ``settle`` first. Raises BedError where this machine cannot do it.
    """
    if os.geteuid() != 0:
        raise BedError("a real kubelet needs root; without --kubelet the bed does not")
    if missing := [name for name in _CONTROLLERS if not (_CGROUPS / name).is_dir()]:
        raise BedError(f"a real kubelet is only tried with cgroup v1; missing: {missing}")
    us = os.getpid()
    with _cgroup_subtree() as folders:

        def enter() -> None:
            die_with(us)
            for folder in folders:
                (folder / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

        return subprocess.run(
            [*_UNSHARE, *command],
            check=False,
            preexec_fn=enter,
        ).returncode


@contextlib.contextmanager
def _cgroup_subtree() -> Iterator[list[Path]]:
    """Have a group in each hierarchy, which becomes the root that the kubelet sees."""
    folders = [_CGROUPS / name / f"sluice-bed-{os.getpid()}" for name in _HIERARCHIES]
    folders = [folder for folder in folders if folder.parent.is_dir()]
    try:
        for folder in folders:
            folder.mkdir()
        cpuset = _CGROUPS / "cpuset" / folders[0].name
        for name in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group, and then unusable
            (cpuset / name).write_bytes((cpuset.parent / name).read_bytes())
        (cpuset / "cgroup.clone_children").write_text("1", encoding="ascii")
        yield folders
    finally:
        for folder in folders:
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a cgroup and those in it, giving processes that were just killed time to be gone."""
    for each, _, _ in os.walk(folder, topdown=False):
        deadline = time.monotonic() + _GONE_SECONDS
        while True:
            try:
                Path(each).rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                break


def settle(state: State) -> None:
    """Furnish the new machine from inside: loopback, cgroups, /run, /var, kernel parameters.

    Writes to /var land in the state folder, writes to the kernel parameters in files there.
    """
    _do("ip", "link", "set", "lo", "up")
    for address in (NODE_ADDRESS, SILENT_ADDRESS):
        _do("ip", "address", "add", f"{address}/32", "dev", "lo")
    _do("ip", "rule", "add", "blackhole", "from", SILENT_ADDRESS, "to", POD_RANGE)
    hierarchies = [name for name in _HIERARCHIES if (_CGROUPS / name).is_dir()]
    _do("umount", "--recursive", str(_CGROUPS))
    _do("mount", "-t", "tmpfs", "tmpfs", str(_CGROUPS))
    for name in hierarchies:
        (_CGROUPS / name).mkdir()
        which = "none,name=systemd" if name == "systemd" else name
        _do("mount", "-t", "cgroup", "-o", which, "cgroup", str(_CGROUPS / name))
    _do("mount", "-t", "tmpfs", "tmpfs", "/run")
    upper, work, values = (state.machine / name for name in ("var", "var-work", "parameters"))
    for folder in (upper, work, values):
        folder.mkdir(parents=True)
    layers = f"lowerdir=/var,upperdir={upper},workdir={work}"
    _do("mount", "-t", "overlay", "-o", layers, "overlay", "/var")
    for name in _PARAMETERS:
        parameter, copy = Path("/proc/sys", name), values / name.replace("/", ".")
        copy.write_bytes(parameter.read_bytes())
        _do("mount", "--bind", str(copy), str(parameter))


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BedError(f"{' '.join(command)}: {done.stderr.strip()}")
