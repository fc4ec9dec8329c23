"""The gateway's end of one driver process: start it, talk to it, be rid of it.

The driver gets a socket and an empty environment. It is ours and does no harm, and is yet not
believed further than ``protocol`` parses it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Self

from gateway.errors import IntegrityViolation, Retryable
from gateway.runs.protocol import MAX_LINE, Message, decode, encode


class DriverLink:
    """One driver process, from ``start`` to ``close``."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Use ``start``."""
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, errors: Path) -> Self:
        """Start a driver; a traceback of it, if it ever writes one, goes to the file ``errors``.

        Raises ``Retryable`` (code ``driver_not_started``) when the machine has no process to give.
        """
        ours, theirs = socket.socketpair()
        log = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "gateway.runs.driver", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
                env={},
                cwd="/",
            )
        except OSError as error:
            ours.close()
            raise Retryable(
                "driver_not_started",
                "the run's scheduler process could not be started",
                step="run",
                diagnostics=str(error),
            ) from error
        finally:
            theirs.close()
            os.close(log)
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE)
        return cls(process, reader, writer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def pid(self) -> int:
        """The process id, for operators."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Send one message. To a driver that is gone it is lost: ``receive`` then tells."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    async def send_large(self, message: Message) -> None:
        """Send one message that takes long to write down."""
        line = await asyncio.to_thread(encode, message)
        if not self._writer.is_closing():
            self._writer.write(line)

    async def receive(self) -> Message | None:
        """Return the next message, or None when the driver is gone.

        Raises ``IntegrityViolation`` for anything that is not a message.
        """
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        except ValueError as error:
            raise IntegrityViolation(
                "driver_protocol", "the run's scheduler process said too much", step="run"
            ) from error
        return decode(line) if line.endswith(b"\n") else None

    async def close(self) -> None:
        """End the process, whatever it is doing, and wait for its end."""
        self._writer.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return
