"""Signed checkpoints: asks the signer's process for them, and keeps each in two places.

A new checkpoint goes to ``checkpoints.log`` beside the database, to be copied where the gateway
cannot write, and then into the database. While checkpoints are refused, or do not come, ``healthy``
says so and the gateway is not ready.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.canonical import encode
from gateway.clock import now, rfc3339
from gateway.decisionlog import note
from gateway.decisionlog.signer_process import SignerProcess
from gateway.decisionlog.sqlite import SqliteDecisionLog
from gateway.errors import GatewayError, Misconfigured, Retryable
from gateway.store import files


class CheckpointSigner:
    """Use it as an async context, or ``start`` and ``stop`` it, while the log is open."""

    def __init__(
        self,
        database_path: Path,
        log: SqliteDecisionLog,
        keys_dir: Path,
        origin: str,
        every_seconds: float,
    ) -> None:
        """Name the log and its keys; there is a checkpoint every so often while there is news."""
        self._witness = database_path.with_name("checkpoints.log")
        self._process = SignerProcess(database_path, keys_dir, origin)
        self._log = log
        self._every = every_seconds
        self._asking = asyncio.Lock()
        self._flights: set[asyncio.Task[str]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._newest = ""
        self._covered = -1  # entries under the newest checkpoint of this object's life
        self._healthy = (False, "no checkpoint has been signed yet")

    @property
    def healthy(self) -> tuple[bool, str]:
        """Whether the last request was signed, and if not why not."""
        return self._healthy

    @property
    def public_key(self) -> str:
        """The text that verifies checkpoints; empty until started."""
        return self._process.public_key

    async def start(self) -> None:
        """Start the process and have the log signed as it is.

        A refusal to sign is not raised, it is in ``healthy``. Raises ``Misconfigured`` when keys
        or memory of the signer cannot be used.
        """
        try:
            await self.checkpoint_now()
        except Misconfigured:
            raise
        except GatewayError:
            pass
        self._ticking = asyncio.create_task(self._tick(), name="log-checkpoints")

    async def stop(self) -> None:
        """Have signed what is new, then end the process."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
            self._ticking = None
        with contextlib.suppress(GatewayError):
            if self._healthy[0]:
                await self.checkpoint_now()
        async with self._asking:
            self._healthy = (False, "the signer was stopped")
            await self._process.end()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def checkpoint_now(self) -> str:
        """Return a signed checkpoint over every entry that is durable now.

        Raises ``IntegrityViolation`` when the signer refuses this log, ``Misconfigured`` or
        ``Retryable`` when it cannot work.
        """
        # A task of its own: a caller that gives up must not leave an answer lying in the pipe.
        flight = asyncio.create_task(self._checkpoint())
        self._flights.add(flight)
        flight.add_done_callback(self._flights.discard)
        return await asyncio.shield(flight)

    async def _checkpoint(self) -> str:
        async with self._asking:
            if self._healthy[0] and self._covered >= self._log.size:
                return self._newest
            try:
                text = await self._process.sign()
                await self._keep(text)
            except GatewayError as error:
                self._healthy = (False, f"{error.code}: {error.public_message}")
                raise
            self._healthy = (True, "")
            return text

    async def _keep(self, text: str) -> None:
        size = note.verify(text, self.public_key).size
        if text != await self._log.checkpoint():
            line = encode({"checkpoint": text, "timestamp": rfc3339(now())})
            try:
                await asyncio.to_thread(files.append_line, self._witness, line, mode=0o644)
            except OSError as error:
                raise Retryable(
                    "checkpoint_not_kept", f"cannot write {self._witness}", diagnostics=str(error)
                ) from error
            await self._log.store_checkpoint(text)
        self._newest, self._covered = text, size

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            if not self._process.running and self._healthy[0]:
                self._healthy = (False, "the signer's process has ended; it is started again")
            if not self._healthy[0] or self._covered < self._log.size:
                with contextlib.suppress(GatewayError):  # it is in ``healthy``
                    await self.checkpoint_now()
