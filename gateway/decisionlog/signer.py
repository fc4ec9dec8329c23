"""Signed checkpoints: asks the signer's process for them, and keeps every one in two places.

Each new checkpoint goes to ``checkpoints.log`` beside the database, to be copied where the gateway
cannot write, and then into the database. The process lives as long as this object: it is started
again, ever more slowly, when it dies. As long as checkpoints are refused or absent, ``healthy``
says so, and the gateway is not ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.canonical import decode, encode
from gateway.clock import now, rfc3339
from gateway.decisionlog import note
from gateway.decisionlog.signing import Answer
from gateway.decisionlog.sqlite import SqliteDecisionLog
from gateway.errors import GatewayError, IntegrityViolation, Misconfigured, Retryable
from gateway.store import files

ANSWER_SECONDS = 300.0  # the first answer after a start reads the whole log: seconds per million
STOP_SECONDS = 5.0
FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0


class CheckpointSigner:
    """Use as an async context, or ``start`` and ``stop`` it, while database and log are open."""

    def __init__(
        self,
        database_path: Path,
        log: SqliteDecisionLog,
        keys_dir: Path,
        origin: str,
        every_seconds: float,
    ) -> None:
        """Name the log and its keys; a checkpoint is made every so often while there is news."""
        self._arguments = (str(database_path), str(keys_dir), origin)
        self._witness = database_path.with_name("checkpoints.log")
        self._log = log
        self._every = every_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()
        self._ticking: asyncio.Task[None] | None = None
        self._delay = FIRST_DELAY_SECONDS
        self._not_before = 0.0  # on the loop's clock
        self._signed = -1  # entries under the newest checkpoint of this process
        self._newest = ""
        self._public_key = ""
        self._healthy = (False, "no checkpoint has been signed yet")

    @property
    def healthy(self) -> tuple[bool, str]:
        """Whether the newest checkpoint was signed, and if not why not."""
        return self._healthy

    @property
    def public_key(self) -> str:
        """The text that verifies checkpoints; known once started."""
        return self._public_key

    async def start(self) -> None:
        """Start the process and sign the log as it is.

        A refusal to sign is not raised here: it is in ``healthy``. Raises ``Misconfigured`` when
        keys or memory are unusable.
        """
        try:
            await self.checkpoint_now()
        except Misconfigured:
            await self._end_process()
            raise
        except GatewayError:
            pass
        self._ticking = asyncio.create_task(self._tick(), name="log-checkpoints")

    async def stop(self) -> None:
        """Sign what is new, then end the process."""
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
            self._ticking = None
        if self._healthy[0]:
            with contextlib.suppress(GatewayError):
                await self.checkpoint_now()
        await self._end_process()

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
        ``Retryable`` (``signer_unavailable``) when it cannot work.
        """
        async with self._asking:
            if self._healthy[0] and self._signed == self._log.size:
                return self._newest
            try:
                text = await self._ask()
                await self._keep(text)
            except GatewayError as error:
                self._healthy = (False, f"{error.code}: {error.public_message}")
                raise
            self._healthy = (True, "")
            return text

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            died = self._process is None or self._process.returncode is not None
            if died or not self._healthy[0] or self._signed != self._log.size:
                if died:
                    self._healthy = (False, "the signer's process has ended; it is started again")
                with contextlib.suppress(GatewayError):  # it is in ``healthy``
                    await self.checkpoint_now()

    async def _keep(self, text: str) -> None:
        size = note.verify(text, self._public_key).size
        if size > self._signed:
            line = encode({"checkpoint": text, "timestamp": rfc3339(now())}) + b"\n"
            try:
                await asyncio.to_thread(files.append, self._witness, line, mode=0o644)
            except OSError as error:
                raise Retryable(
                    "checkpoint_not_kept", f"cannot write {self._witness}", diagnostics=str(error)
                ) from error
            await self._log.store_checkpoint(text)
        self._signed, self._newest = size, text

    # --- the process -----------------------------------------------------------------------------

    async def _ask(self) -> str:
        if self._process is None or self._process.returncode is not None:
            await self._start_process()
        answer = await self._exchange(encode({"op": "sign"}) + b"\n")
        self._delay = FIRST_DELAY_SECONDS
        return answer

    async def _start_process(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before:
            raise _unavailable("it ended, and will be started again shortly")
        await self._end_process()
        self._not_before = loop.time() + self._delay
        self._delay = min(2 * self._delay, LONGEST_DELAY_SECONDS)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "gateway.decisionlog.signing", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={},
            start_new_session=True,  # Ctrl-C stops the gateway, which then stops its signer
        )
        self._public_key = await self._exchange(b"")

    async def _exchange(self, request: bytes) -> str:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise _unavailable("it is not running")
        try:
            process.stdin.write(request)
            line = await asyncio.wait_for(process.stdout.readline(), ANSWER_SECONDS)
            answer = Answer(**decode(line.removesuffix(b"\n")))
        except (OSError, TimeoutError, GatewayError, ValueError, TypeError) as error:
            await self._end_process()
            raise _unavailable("it gave no answer", str(error)) from error
        except asyncio.CancelledError:
            await self._end_process()  # its answer would be taken for that to the next request
            raise
        if answer.violation:
            raise IntegrityViolation(answer.code, answer.problem)
        if answer.code:
            ...
        return answer.text

    async def _end_process(self) -> None:
        ...
