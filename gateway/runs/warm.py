"""A warm process: the pipeline imported once, in its sandbox, from which attempts are forked.

Speaks the ``serve`` protocol of ``gateway/guest``. Everything it says is untrusted: pipeline code
runs in it. It is believed about how its own attempts ended, which it can only spoil for itself;
who breaks the protocol is killed, and with it all of its attempts.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from gateway.canonical import Json
from gateway.errors import Unprocessable
from gateway.runs.report import End, Report, bounded_text
from gateway.runs.tasklog import TaskLog
from gateway.sandbox.guest import CHANNEL_FD, SPEC_FD, guest_argv, json_descriptor
from gateway.sandbox.process import SandboxProcess
from gateway.sandbox.spec import SandboxSpec

LOCK_FD = 5  # held open inside, so that the lock lasts as long as anything in there lives
_PACKET = 65_536
_GRACE = 0.1  # seconds
_KILL_SECONDS = 1.0  # until a warm process that does not end an attempt is ended itself


@dataclass(slots=True)
class _Call:
    """One attempt, or one probe, under way."""

    report: Report
    reader: int  # descriptor from which the report is read
    end: asyncio.Future[End]


class WarmProcess:
    """One sandbox with the pipeline in it."""

    def __init__(self, process: SandboxProcess, channel: socket.socket) -> None:
        """Use ``start``."""
        self._process = process
        self._channel = channel
        self._calls: dict[str, _Call] = {}
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._fault: str | None = None
        self._loop.add_reader(channel, self._hear)
        self._watch = asyncio.create_task(self._see_out())

    @classmethod
    async def start(cls, sandbox: SandboxSpec, spec: int, lock: int, seconds: float) -> Self:
        """Start one, and return when the pipeline is imported.

        ``spec`` is what ``guest_spec`` made, ``lock`` the descriptor to hold. Raises
        ``Unprocessable`` (code ``pipeline_not_loaded``), or what ``SandboxProcess.start`` raises.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            process = await SandboxProcess.start(
                sandbox,
                guest_argv("serve", sandbox),
                fds={CHANNEL_FD: theirs.fileno(), SPEC_FD: spec, LOCK_FD: lock},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        warm = cls(process, ours)
        try:
            async with asyncio.timeout(seconds):
                await warm._ready
        except TimeoutError as error:
            await warm.close()
            raise _not_loaded(f"it was not imported within {seconds:g} s") from error
        except BaseException:
            await warm.close()
            raise
        return warm

    @property
    def alive(self) -> bool:
        """Whether it can take another attempt."""
        return not self._watch.done() and self._fault is None

    @property
    def layers(self) -> Mapping[str, bool]:
        """The walls it stands behind."""
        return self._process.layers

    async def call(
        self, op: Literal["run", "probe"], name: str, payload: Json, log: TaskLog, report: Report
    ) -> End:
        """Have one attempt made; return when nothing of it is alive. ``name`` is unique."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        call = _Call(report, reader, self._loop.create_future())
        self._calls[name] = call
        self._loop.add_reader(reader, self._read, call)
        content = json_descriptor(payload)
        try:
            if self.alive:
                await self._send({"op": op, "attempt": name}, [content, log.writer, writer])
        except OSError:
            self._lose("the pipeline's process is gone")
        finally:
            os.close(content)
            os.close(writer)
            log.release_writer()
        try:
            if self._watch.done():
                return self._lost()
            return await asyncio.shield(call.end)
        finally:
            self._read(call)
            self._loop.remove_reader(reader)
            os.close(reader)
            del self._calls[name]

    async def kill(self, name: str) -> None:
        """End one attempt; where the guest does not do it, everything."""
        call = self._calls.get(name)
        if call is None:
            return
        try:
            await self._send({"op": "kill", "attempt": name}, [])
        except OSError:
            self._lose("the pipeline's process is gone")
        await asyncio.wait([call.end], timeout=_KILL_SECONDS)
        if not call.end.done():
            self._lose("the pipeline's process did not end another task of it, and was ended")

    async def close(self) -> None:
        """End it with all of its attempts; return when nothing of it is alive."""
        self._fault = self._fault or "the run was ended"
        await self._process.close()
        await self._watch

    async def _send(self, message: Mapping[str, Json], descriptors: list[int]) -> None:
        data = [json.dumps(message).encode()]
        while True:
            try:
                socket.send_fds(self._channel, data, descriptors)
            except BlockingIOError:
                await asyncio.sleep(0.01)  # the guest is slow to read; it is bounded by its end
            else:
                return

    def _read(self, call: _Call) -> None:
        """Take what is there, at most what a pipe holds: a chatty task waits for its turn."""
        try:
            data = os.read(call.reader, _PACKET)
        except BlockingIOError:
            return
        if data:
            call.report.feed(data)
        else:
            self._loop.remove_reader(call.reader)

    def _hear(self) -> None:
        """Take one packet; descriptors that come along are refused by the kernel."""
        try:
            packet = self._channel.recv(_PACKET)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._loop.remove_reader(self._channel)
            # Usually it is ending, and how it ended says more.
            self._loop.call_later(_GRACE, self._lose, "the pipeline's process closed its socket")
            return
        try:
            message = json.loads(packet)
        except (ValueError, RecursionError):
            message = None
        match message:
            case {"event": "ready"} if not self._ready.done():
                self._ready.set_result(None)
            case {"event": "failed", "reason": reason} if not self._ready.done():
                self._ready.set_exception(_not_loaded(bounded_text(reason)))
            case {"event": "exited", "attempt": str(name), "code": code, "signal": number} if (
                name in self._calls and _is_end(code, number)
            ):
                end = self._calls[name].end
                if not end.done():
                    end.set_result(End(code, number))
            case _:
                self._lose("the pipeline's process broke its protocol, and was ended")

    def _lose(self, why: str) -> None:
        """End a process that can no longer be used."""
        self._fault = self._fault or why
        self._process.kill()

    def _lost(self) -> End:
        return End(lost=self._fault)

    async def _see_out(self) -> None:
        """When it ends, so do its attempts: whatever they were doing, nothing of them is alive."""
        status = await self._process.wait()
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        self._fault = self._fault or f"the pipeline's process ended with {how}"
        self._loop.remove_reader(self._channel)
        self._channel.close()
        if not self._ready.done():
            self._ready.set_exception(_not_loaded(self._fault))
        self._ready.exception()  # seen, if nobody waits any more
        for call in self._calls.values():
            if not call.end.done():
                call.end.set_result(self._lost())


def _is_end(code: object, number: object) -> bool:
    """Whether exactly one is given, in the range of what the kernel reports."""
    given = number if code is None else code
    return (code is None) != (number is None) and type(given) is int and 0 <= given <= 255  # noqa: PLR2004


def _not_loaded(why: str) -> Unprocessable:
    return Unprocessable(
        "pipeline_not_loaded", f"the pipeline could not be loaded: {why}", step="run"
    )
