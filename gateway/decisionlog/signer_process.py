"""The gateway's end of the signer's process: starts it, asks it, ends it.

The process gets its three arguments and nothing else: no environment, no terminal. It ends by
itself when the gateway's end of its pipe closes, however the gateway ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.canonical import encode
from gateway.decisionlog.signing import REQUEST, Answer
from gateway.errors import GatewayError, IntegrityViolation, Misconfigured, Retryable

ANSWER_SECONDS = 300.0  # the first answer after a start has read the whole log
STOP_SECONDS = 5.0
FIRST_DELAY_SECONDS = 0.2  # between a failure and the next start; doubled until an answer comes
LONGEST_DELAY_SECONDS = 30.0


class SignerProcess:
    """One process at a time, started when it is asked. One caller at a time."""

    def __init__(self, database_path: Path, keys_dir: Path, origin: str) -> None:
        """Name what the process works on."""
        self.public_key = ""  # known from the first start on
        self._arguments = (str(database_path), str(keys_dir), origin)
        self._process: asyncio.subprocess.Process | None = None
        self._delay = FIRST_DELAY_SECONDS
        self._not_before = 0.0  # on the loop's clock

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def sign(self) -> str:
        """Return a signed checkpoint of the log as it is now.

        Raises ``IntegrityViolation``, ``Misconfigured``, or ``Retryable``.
        """
        if not self.running:
            await self._start()
        text = await self._exchange(encode(REQUEST) + b"\n")
        self._delay = FIRST_DELAY_SECONDS
        return text

    async def end(self) -> None:
        """Close its pipe and wait; kill it when it does not go."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()

    async def _start(self) -> None:
        if asyncio.get_running_loop().time() < self._not_before:
            raise _unavailable("it has ended, and is started again shortly")
        await self.end()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "gateway.decisionlog.signing", *self._arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={},
                start_new_session=True,  # Ctrl-C reaches the gateway, which then ends its signer
            )
        except OSError as error:
            raise _unavailable("it cannot be started", str(error)) from error
        self.public_key = await self._exchange(b"")

    async def _exchange(self, request: bytes) -> str:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise _unavailable("it is not running")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                process.stdin.write(request)
                line = await process.stdout.readline()
            answer = Answer.read(line)
        except (OSError, TimeoutError, ValueError, GatewayError) as error:
            await self.end()
            self._not_before = asyncio.get_running_loop().time() + self._delay
            self._delay = min(2 * self._delay, LONGEST_DELAY_SECONDS)
            raise _unavailable("it gave no answer", repr(error)) from error
        match answer.kind:
            case "text":
                return answer.text
            case "violation":
                raise IntegrityViolation(answer.code, answer.text)
            case "misconfigured":
                await self.end()
                raise Misconfigured(answer.code, answer.text)
            case "unavailable":
                raise Retryable(answer.code, answer.text)


def _unavailable(what: str, diagnostics: str = "") -> Retryable:
    return Retryable(
        "signer_unavailable",
        f"the process that signs the decision log cannot answer: {what}",
        diagnostics=diagnostics,
    )
