"""What sandboxed code can and cannot do to processes, the network and the machine."""

from __future__ import annotations

import ast
import os
import socket

import pytest
from sandbox_bench import Inside

from gateway.sandbox.spec import Limits

CONNECT = """
    import socket, sys
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))),
        (socket.AF_UNIX, "\\0" + sys.argv[2]),
    ):
        try:
            socket.socket(family).connect(address)
            print("connected")
        except OSError as error:
            print("refused")
"""


@pytest.mark.parametrize("skip", [(), ("landlock",), ("network_namespace",)])
async def test_sandbox_reaches_neither_loopback_nor_abstract_sockets(
    inside: Inside, skip: tuple[str, ...]
) -> None:
    """Servers that listen on this machine cannot be reached from a sandbox without network.

    The network namespace and Landlock (ABI 6) each see to that without the other.
    """
    name = f"sluice-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0" + name)
        local.listen()
        seen = await inside(CONNECT, str(tcp.getsockname()[1]), name, skip=skip)
    assert seen.output.split() == ["refused", "refused"]


async def test_sandbox_with_network_still_reaches_no_abstract_socket(inside: Inside) -> None:
    """With the host's network TCP works; abstract sockets (X11, D-Bus) stay out by Landlock."""
    name = f"sluice-test-{os.getpid()}-network"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0" + name)
        local.listen()
        seen = await inside(CONNECT, str(tcp.getsockname()[1]), name, network=True)
    expected = "refused" if seen.layers["landlock_scope"] else "connected"
    assert seen.output.split() == ["connected", expected]
    assert not seen.layers["network_namespace"]


async def test_sandbox_has_no_interface(inside: Inside) -> None:
    """The network namespace holds a loopback that is down, and nothing else."""
    seen = await inside("import socket; print([name for _, name in socket.if_nameindex()])")
    assert seen.output.strip() == "['lo']"


async def test_sandbox_refuses_calls_that_go_round_namespaces(inside: Inside) -> None:
    """Sockets to the hypervisor's host, io_uring and the kernel keyring are refused by seccomp."""
    seen = await inside(
        """
        import ctypes, errno, os, socket
        try:
            socket.socket(40, socket.SOCK_STREAM)
        except OSError as error:
            print(errno.errorcode[error.errno])
        libc = ctypes.CDLL(None, use_errno=True)
        keyctl = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
        for call in ((425, 8, 0), (keyctl, 0, -3)):
            libc.syscall(*call)
            print(errno.errorcode[ctypes.get_errno()])
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            socket.socket(family).close()
        """
    )
    assert seen.output.split() == ["EAFNOSUPPORT", "EPERM", "EPERM"]


async def test_sandbox_sees_and_signals_nobody_outside(inside: Inside) -> None:
    """Its /proc holds its own processes only, and our ids mean nothing there."""
    seen = await inside(
        """
        import os, signal, sys
        print([name for name in os.listdir("/proc") if name.isdigit()])
        for pid in (int(sys.argv[1]), int(sys.argv[2])):
            try:
                os.kill(pid, signal.SIGTERM)
                print("signalled")
            except ProcessLookupError:
                print("nobody")
        """,
        str(os.getpid()),
        str(os.getppid()),
    )
    assert seen.output.splitlines() == ["['1']", "nobody", "nobody"]


async def test_sandbox_has_no_rights_to_gain(inside: Inside) -> None:
    """No capability in any set, no new privileges, nobody's user id, and no way to mount."""
    seen = await inside(
        """
        import ctypes, os
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        print({name: status[name].strip() for name in
               ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")})
        print(os.getresuid(), os.getresgid())
        libc = ctypes.CDLL(None, use_errno=True)
        print(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), libc.chroot(b"/tmp"))
        try:
            os.setuid(0)
        except OSError:
            print("refused")
        """
    )
    lines = seen.output.splitlines()
    assert set(ast.literal_eval(lines[0]).values()) == {"0" * 16, "1", "2"}
    assert lines[1:] == ["(1000, 1000, 1000) (1000, 1000, 1000)", "-1 -1", "refused"]


async def test_sandbox_may_nest_users_and_processes_but_no_network(inside: Inside) -> None:
    """The guest nests a pid namespace per attempt; a network namespace would bring rights back."""
    seen = await inside(
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        def attempt(flags):
            child = os.fork()
            if child == 0:
                os._exit(0 if libc.unshare(0x10000000 | flags) == 0 else 1)
            print(os.waitpid(child, 0)[1] == 0)
        attempt(0x20000000)  # pid
        attempt(0x40000000)  # network
        attempt(0x00020000)  # mount
        """
    )
    assert seen.output.split() == ["True", "False", "False"]


async def test_sandbox_cannot_change_settings_of_the_machine(inside: Inside) -> None:
    """What /proc shows of the whole machine is read-only, whoever started the sandbox."""
    seen = await inside(
        """
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger",
                     "/proc/sys/user/max_net_namespaces"):
            try:
                open(path, "w").write("1")
                print("written")
            except OSError:
                print("refused")
        """
    )
    assert seen.output.split() == ["refused"] * 3


async def test_sandbox_bounds_a_fork_bomb(inside: Inside) -> None:
    """Processes end at their number, for root as for anybody, and all are gone afterwards."""
    seen = await inside(
        """
        import os, signal
        made = 0
        try:
            while made < 500:
                if os.fork() == 0:
                    signal.pause()
                made += 1
        except BlockingIOError:
            print(made)
        """,
        limits=Limits(cpu_seconds=20, memory_mb=1024, file_mb=8, processes=16),
    )
    assert 10 <= int(seen.output) <= 15


async def test_sandbox_bounds_memory(inside: Inside) -> None:
    """Beyond the address space that was given, Python raises MemoryError."""
    seen = await inside(
        """
        try:
            bytearray(2 << 30)
        except MemoryError:
            print("refused")
        """
    )
    assert seen.output.strip() == "refused"


async def test_sandbox_bounds_cpu(inside: Inside) -> None:
    """A loop is killed after its CPU seconds, although process 1 ignores most signals."""
    seen = await inside(
        """
        import signal
        for number in (signal.SIGXCPU, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        while True:
            pass
        """,
        limits=Limits(cpu_seconds=1, memory_mb=1024, file_mb=8, processes=16),
    )
    assert seen.exit.signal == 9
    assert 0.7 < seen.exit.cpu_seconds < 3  # two clocks of the kernel, which differ a little


async def test_sandbox_limits_cannot_be_raised(inside: Inside) -> None:
    """Soft and hard limits are equal, and without rights the hard one is final."""
    seen = await inside(
        """
        import resource
        for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_AS, resource.RLIMIT_CPU):
            soft, hard = resource.getrlimit(limit)
            try:
                resource.setrlimit(limit, (soft + 1, hard + 1))
                print("raised")
            except ValueError:
                print("refused")
        """
    )
    assert seen.output.split() == ["refused"] * 3
