"""Start one sandboxed process, know when it ended, end it with everything it started.

Between us and the code stands the keeper: ``enter.py``, which builds the sandbox, starts the code
as process 1 of its own pid namespace, and waits. Three things end the code for certain: ``kill``
here, our death (the keeper sees to it), and the keeper's death (we see to it).

Never blocks the event loop for longer than a fork takes; leaves no zombie and no descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.errors import GatewayError, Misconfigured, Retryable
from gateway.sandbox.spec import SandboxSpec
from gateway.sandbox.view import host_view

KEEPER = Path(__file__).with_name("enter.py")
_MESSAGE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Exit:
    """How the process ended: an exit code or a signal, and what it used."""

    code: int | None
    signal: int | None
    cpu_seconds: float = 0.0  # with every process inside
    max_rss_mb: int = 0  # of the largest process inside

    @property
    def status(self) -> int:
        """The exit code, or the negative number of the signal, as ``subprocess`` has it."""
        return self.code if self.code is not None else -(self.signal or signal.SIGKILL)


class SandboxProcess:
    """A running sandbox. Make one with ``start``; end it with ``close`` or ``async with``."""

    def __init__(self, keeper: subprocess.Popen[bytes], control: socket.socket) -> None:
        self.layers: Mapping[str, bool] = {}
        self.notes: Mapping[str, str] = {}  # why a layer is not on, for the operator
        self.exit: Exit | None = None  # None while it runs
        self._keeper = keeper
        self._control = control
        self._process: int | None = None  # pidfd of process 1
        self._last_words = Exit(None, signal.SIGKILL)
        loop = asyncio.get_running_loop()
        self._entered: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[int] = loop.create_future()
        self._keeper_ended = os.pidfd_open(keeper.pid)
        loop.add_reader(control, self._hear)
        loop.add_reader(self._keeper_ended, self._reap)

    @classmethod
    async def start(
        cls,
        spec: SandboxSpec,
        argv: Sequence[str],
        *,
        fds: Mapping[int, int] | None = None,
        setup_seconds: float = 10.0,
    ) -> Self:
        """Start ``argv`` (an absolute path and its arguments) behind the walls of ``spec``.

        ``fds`` maps a descriptor number inside to a descriptor of ours, which stays open here and
        is the caller's to close; 0, 1 and 2 are /dev/null unless mapped. Returns when the code
        itself has been started.

        Raises ``Misconfigured`` (``sandbox_layer_missing`` for a required layer,
        ``sandbox_failed`` otherwise) and ``Retryable`` (``sandbox_slow``). No code has run then.
        """
        skip: list[str] = []
        while True:
            process = cls._spawn(spec, argv, dict(fds or {}), skip)
            try:
                async with asyncio.timeout(setup_seconds):
                    await process._entered  # noqa: SLF001 - our own: this is a constructor
            except _WallError as failure:
                await process.close()
                if not failure.optional or failure.layer is None or failure.layer in skip:
                    raise failure.explain() from failure
                skip.append(failure.layer)  # half built: once more, without it
            except TimeoutError as error:
                await process.close()
                raise Retryable("sandbox_slow", "no sandbox was ready in time") from error
            except BaseException:
                await process.close()
                raise
            else:
                return process

    @classmethod
    def _spawn(
        cls, spec: SandboxSpec, argv: Sequence[str], fds: dict[int, int], skip: list[str]
    ) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as always:
            on_failure.callback(ours.close)
            always.callback(theirs.close)
            copies: dict[int, int] = {}  # beyond 0, 1 and 2, which are the keeper's own
            for inside, descriptor in fds.items():
                copies[inside] = os.dup(descriptor)
                always.callback(os.close, copies[inside])
            order = {
                "spec": spec.to_json(),
                "view": host_view(network=spec.network),
                "argv": list(argv),
                "fds": list(copies.items()),
                "skip": skip,
            }
            ours.send(json.dumps(order).encode())
            keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", str(KEEPER), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *copies.values()),
                env={},
                cwd="/",
                start_new_session=True,
            )
            on_failure.pop_all()
            return cls(keeper, ours)

    @property
    def pid(self) -> int:
        """The keeper's process id, for logs: the code's own id means nothing outside."""
        return self._keeper.pid

    async def wait(self) -> int:
        """Return the exit code, or the negative signal, once it has ended; see also ``exit``."""
        return await asyncio.shield(self._ended)

    def kill(self) -> None:
        """End the code and everything that it started, now; ``wait`` tells when it is done."""
        if self.exit is not None:
            return
        if self._process is None:  # no code runs yet, and none will: process 1 goes with its keeper
            self._keeper.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        with contextlib.suppress(OSError):  # the keeper may be gone already
            self._control.send(b"kill")

    async def close(self) -> None:
        """Kill what still runs, wait for its end, give back every descriptor."""
        self.kill()
        await self.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _hear(self) -> bool:
        """Take one packet of the keeper; return whether there may be more."""
        try:
            data, passed, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 1)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data, passed = b"", []
        if not data:
            asyncio.get_running_loop().remove_reader(self._control)
            return False
        message = json.loads(data)
        if "exited" in message:
            self._last_words = Exit(**message["exited"])
        elif "layers" in message:
            self.layers, self.notes = message["layers"], message["notes"]
            self._process = passed[0]
            if not self._entered.done():
                self._entered.set_result(None)
        elif not self._entered.done():
            self._entered.set_exception(_WallError(**message))
        return True

    def _reap(self) -> None:
        """Collect the keeper, which has ended, and with it everything that we hold."""
        while self._hear():
            pass
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._control)
        loop.remove_reader(self._keeper_ended)
        self._keeper.wait()  # it has ended: this returns at once
        self._control.close()
        os.close(self._keeper_ended)
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # the keeper was killed over our heads
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            os.close(self._process)
            self._process = None
        self.exit = self._last_words
        if not self._entered.done():
            self._entered.set_exception(_WallError("the keeper ended", None, optional=False))
        if not self._ended.done():
            self._ended.set_result(self.exit.status)


class _WallError(Exception):
    """The keeper could not build the sandbox."""

    def __init__(self, error: str, layer: str | None, *, optional: bool) -> None:
        super().__init__(error)
        self.layer = layer
        self.optional = optional

    def explain(self) -> GatewayError:
        if self.layer is None:
            return Misconfigured(
                "sandbox_failed", "no sandbox could be built", diagnostics=str(self)
            )
        return Misconfigured(
            "sandbox_layer_missing",
            f"this machine cannot give the sandbox its {self.layer}",
            field=self.layer,
            diagnostics=str(self),
        )
