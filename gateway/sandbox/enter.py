"""Build a sandbox, start the code in it as process 1, and keep it: the keeper of ``process.py``.

Run as ``python -I -S -B enter.py N``; descriptor N is a ``SOCK_SEQPACKET`` socket to the gateway::

    from the gateway  {"spec", "view", "argv", "fds": [[inside, ours], ...], "skip": [layer, ...]}
    to the gateway    {"layers": {name: bool}, "notes": {name: why not}} with a pidfd of process 1
                      or {"error": text, "layer": name | null, "optional": bool}
                      at the end {"exited": {"code", "signal", "cpu_seconds", "max_rss_mb"}}

Any further packet, or the end of the socket, means: kill. The keeper stays outside the walls,
where the code can neither see nor signal it.

The steps, in this order because each needs rights that a later one gives up:

1. a user namespace, then a pid namespace, whose process 1 does the rest
2. ipc, uts, cgroup and network namespaces, and a mount namespace with a tree of its own
3. resource limits, no capabilities, an unprivileged user, death with the keeper
4. no_new_privs, Landlock, seccomp
5. exec, with a fixed environment

A failing layer that is required ends all this with its name. No code runs behind fewer walls than
were asked for.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from gateway.sandbox.walls import kernel, landlock, limits, seccomp, tree, users
from gateway.sandbox.walls.record import WallError, Walls

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": tree.SCRATCH,
    "TMPDIR": tree.SCRATCH,
    "MPLCONFIGDIR": tree.SCRATCH,
    "OPENBLAS_NUM_THREADS": "1",  # its threads would each reserve memory, and count as processes
    "OMP_NUM_THREADS": "1",
    "LUIGI_CONFIG_PATH": "/dev/null",
}
_PACKET = 1 << 18
_HIGH = 200  # where descriptors are parked while others are put in place


def main() -> None:
    """Keep one sandbox from its first message to its end."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)  # which `keep` turns into a kill
    first = control.recv(_PACKET)
    if not first:
        return
    order = json.loads(first)
    scratch = _without_mounts(order) if "mount_namespace" in order["skip"] else None
    try:
        child, layers, notes = start(order)
    except (WallError, OSError) as error:
        wall = error if isinstance(error, WallError) else WallError(None, str(error))
        _say(control, wall.to_json())
    else:
        watch = os.pidfd_open(child)
        _say(control, {"layers": layers, "notes": notes}, watch)
        _say(control, {"exited": keep(child, watch, control)})
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def start(order: dict[str, Any]) -> tuple[int, dict[str, bool], dict[str, str]]:
    """Fork process 1; return its id, and which layers are on, once the code itself runs."""
    parked = [(inside, _park(ours)) for inside, ours in order["fds"]]
    walls = Walls(order["spec"]["required_layers"], order["skip"])
    own_tree = "mount_namespace" not in order["skip"]
    becomes = _leave_users_and_processes(walls, own_tree=own_tree)
    report_read, report_write = _high_pipe()
    alive_read, alive_write = _high_pipe()
    child = os.fork()
    if child == 0:
        os.close(report_read)
        os.close(alive_write)
        _become(order, walls, parked, becomes, report_write, alive_read)
    for descriptor in (report_write, alive_read, *(high for _, high in parked)):
        os.close(descriptor)
    for _, ours in order["fds"]:
        os.close(ours)
    with open(report_read, encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor, not a path
        lines = [json.loads(line) for line in stream]  # ends when exec closes the other end
    if not lines:
        lines = [WallError(None, "process 1 ended before its time").to_json()]
    if "error" in lines[-1]:
        os.waitpid(child, 0)
        raise WallError.from_json(lines[-1])
    return child, lines[-1]["layers"], lines[-1]["notes"]


def keep(child: int, watch: int, control: socket.socket) -> dict[str, object]:
    """Wait for the end of process 1, hasten it when told to, and leave nothing behind.

    SIGTERM is how we learn of the gateway's death even where a process that it forked still holds
    the socket. The keeper must outlive it: the code may have undone its own death signal.
    """

    def kill(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(watch, signal.SIGKILL)

    signal.signal(signal.SIGTERM, kill)
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.register(control, select.POLLIN)
    while watch not in {descriptor for descriptor, _ in poll.poll()}:
        kill()
        poll.unregister(control)
    _, status, usage = os.wait4(child, 0)
    _end_orphans()
    return {
        "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "max_rss_mb": usage.ru_maxrss >> 10,
    }


def _leave_users_and_processes(walls: Walls, *, own_tree: bool) -> int | None:
    """Return the user to become before code runs; None: whoever we are now."""
    root = os.geteuid() == users.ROOT
    becomes = users.NOBODY if root and own_tree else None

    def own_users() -> None:
        nonlocal becomes
        becomes = users.enter_namespace(become_nobody=own_tree)

    walls.build("user_namespace", own_users, clean=False)
    if root and becomes is None:
        walls.leave_out("unprivileged_user", "root cannot become another user here")
    else:
        walls.on["unprivileged_user"] = True
    walls.build("pid_namespace", lambda: kernel.unshare(kernel.CLONE_NEWPID))
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    return becomes


def _become(
    order: dict[str, Any],
    walls: Walls,
    parked: list[tuple[int, int]],
    becomes: int | None,
    report: int,
    alive: int,
) -> None:
    """Build the remaining walls round this process and turn into the code. Never returns."""
    try:
        _put_in_place(parked, keep=[report, alive])
        os.setsid()
        _isolate(order, walls, becomes)
        _reduce(order, walls, becomes, alive)
        os.chdir(order["spec"]["workdir"])
        _line(report, {"layers": walls.on, "notes": walls.notes})
        environment = {**ENVIRONMENT, **order.get("environment", {})}
        os.execve(order["argv"][0], order["argv"], environment)  # noqa: S606 - no shell wanted
    except WallError as error:
        _line(report, error.to_json())
    except Exception as error:  # noqa: BLE001 - whatever it is: no walls, no code
        _line(report, WallError(None, f"{type(error).__name__}: {error}").to_json())
    finally:
        os._exit(127)


def _isolate(order: dict[str, Any], walls: Walls, becomes: int | None) -> None:
    spec = order["spec"]
    rest = kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP
    walls.build("ipc_namespace", lambda: kernel.unshare(rest))
    with contextlib.suppress(OSError):  # not compiled in, or refused: seccomp closes it as well
        kernel.new_session_keyring()
    if spec["network"]:
        walls.on["network_namespace"] = False
        walls.notes["network_namespace"] = "this sandbox was given the network"
    else:
        walls.build("network_namespace", lambda: kernel.unshare(kernel.CLONE_NEWNET))

    def own_tree() -> None:
        if not walls.on["pid_namespace"]:
            raise OSError(errno.ENOTSUP, "needs a pid namespace, for a /proc of its own")
        tree.build(
            order["view"],
            spec["read_only"],
            spec["writable"],
            network=spec["network"],
            tmp_mb=spec["tmp_mb"],
            owner=becomes,
        )
        tree.refuse_more_namespaces()
        tree.seal_machine_settings()

    walls.build("mount_namespace", own_tree, clean=False)


def _reduce(order: dict[str, Any], walls: Walls, becomes: int | None, alive: int) -> None:
    spec = order["spec"]
    walls.build("rlimits", lambda: limits.apply(spec["limits"]))
    with contextlib.suppress(OSError):  # not ours to empty where there is no user namespace
        kernel.empty_bounding_set()
    if becomes is not None:
        users.become(becomes)
    walls.build("no_capabilities", kernel.drop_capabilities)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user had cleared it
    watched = select.poll()
    watched.register(alive, 0)
    if watched.poll(0):
        raise WallError(None, "the keeper died")
    os.close(alive)
    walls.build("no_new_privs", lambda: kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1))
    version = [0]

    def file_rules() -> None:
        version[0] = landlock.restrict(_file_rules(order), network=spec["network"])

    walls.build("landlock", file_rules)
    walls.on["landlock_network"] = version[0] >= landlock.NETWORK_ABI and not spec["network"]
    walls.on["landlock_scope"] = version[0] >= landlock.SCOPE_ABI
    walls.build("seccomp", seccomp.restrict)


def _file_rules(order: dict[str, Any]) -> list[tuple[str, int]]:
    spec = order["spec"]
    scratch = order.get("environment", ENVIRONMENT)["TMPDIR"]
    names = ("/etc/passwd", "/etc/group", "/etc/hosts")
    readable = [*order["view"], *names, *(target for _, target in spec["read_only"])]
    writable = [scratch, tree.SHARED_MEMORY, *(target for _, target in spec["writable"])]
    changeable = ["/proc", *(f"/dev/{name}" for name in tree.DEVICES)]
    return [
        *((path, landlock.READ) for path in readable),
        *((path, landlock.WRITE) for path in writable),
        *((path, landlock.CHANGE) for path in changeable),
    ]


def _without_mounts(order: dict[str, Any]) -> str:
    """Let the paths inside mean ours, for want of a tree of its own; return its scratch folder."""
    spec = order["spec"]
    scratch = f"{tree.SCRATCH}/sluice-{os.getpid()}-{os.urandom(8).hex()}"
    Path(scratch).mkdir(mode=0o700)
    table = {target: source for source, target in (*spec["read_only"], *spec["writable"])}

    def outside(path: str) -> str:
        if path == tree.SCRATCH:
            return scratch
        for target, source in table.items():
            if path == target or path.startswith(target + "/"):
                return str(source) + path.removeprefix(target)
        return path

    order["environment"] = {"HOME": scratch, "TMPDIR": scratch, "MPLCONFIGDIR": scratch}
    order["argv"] = [order["argv"][0], *map(outside, order["argv"][1:])]
    spec["workdir"] = outside(spec["workdir"])
    for pairs in (spec["read_only"], spec["writable"]):
        pairs[:] = [[source, source] for source, _ in pairs]
    return scratch


def _end_orphans() -> None:
    """Without a pid namespace, what is left of the code is now our child: kill until none is."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
            for child in children.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, 0)


def _park(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)


def _high_pipe() -> tuple[int, int]:
    """Return a pipe that no descriptor of the code will be put on top of."""
    ends = os.pipe()
    high = _park(ends[0]), _park(ends[1])
    for end in ends:
        os.close(end)
    return high


def _put_in_place(parked: list[tuple[int, int]], keep: list[int]) -> None:
    """Put descriptors where the code expects them and close all others."""
    for inside, descriptor in parked:
        os.dup2(descriptor, inside, inheritable=True)
    wanted = sorted({0, 1, 2, *(inside for inside, _ in parked), *keep})
    for before, after in zip(wanted, [*wanted[1:], 1 << 16], strict=True):
        os.closerange(before + 1, after)


def _say(control: socket.socket, message: dict[str, Any], descriptor: int | None = None) -> None:
    passed = [] if descriptor is None else [descriptor]
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", passed))] if passed else []
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody is left to tell
        control.sendmsg([json.dumps(message).encode()], rights)


def _line(report: int, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(report, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
