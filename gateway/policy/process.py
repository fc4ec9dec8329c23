"""The gateway's end of one worker process: start it, talk to it, kill it.

One conversation at a time; whoever calls holds the lock. A conversation that did not end properly
leaves a worker whose next words cannot be trusted, so the caller kills it. Never imports
``worker``: regopy belongs into the process that can be killed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

MAX_ANSWER = 64 * 1024 * 1024  # bytes
MEMORY_EXHAUSTED = 77  # exit status

_WORKER = Path(__file__).resolve().with_name("worker.py")


class WorkerGone(Exception):
    """The worker ended, or said something that is no answer; the text is for operators."""


class WorkerProcess:
    """A running worker."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Use ``start``."""
        self._process = process
        self._reader = reader
        self._writer = writer

    @property
    def pid(self) -> int:
        """The process id, for operators and tests."""
        return self._process.pid

    @classmethod
    async def start(cls, memory_mb: int) -> WorkerProcess:
        """Start a worker with no environment and nowhere to print."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = _spawn(theirs, memory_mb)
        try:
            reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        except BaseException:
            ours.close()
            process.kill()
            process.wait()  # at once: it has been killed
            raise
        return cls(process, reader, writer)

    async def talk(self, body: bytes) -> dict[str, Any]:
        """Send one message and return its answer. Raises ``WorkerGone``."""
        try:
            self._writer.write(len(body).to_bytes(4, "big") + body)
            await self._writer.drain()
            size = int.from_bytes(await self._reader.readexactly(4), "big")
            if size > MAX_ANSWER:
                raise WorkerGone(f"an answer of {size} bytes")
            answer = await self._reader.readexactly(size)
        except (OSError, EOFError) as error:
            raise WorkerGone(await self._end()) from error
        parsed: dict[str, Any] = await asyncio.to_thread(json.loads, answer)
        return parsed

    async def kill(self) -> None:
        """End the process and wait for it. Harmless when it has ended.

        A caller who is cancelled meanwhile leaves nothing behind: both ends are closing, and a
        thread waits for the process whatever becomes of the caller.
        """
        self._writer.close()
        await self._ended()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _end(self) -> str:
        status = await self._ended()
        if status == MEMORY_EXHAUSTED:
            return "the policy worker needed more memory than it may have"
        return f"the policy worker ended with status {status}"

    async def _ended(self) -> int:
        self._process.kill()
        waiting = asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        return await asyncio.shield(waiting)


def build_message(
    modules: Mapping[str, str], data: object, rules: Iterable[str], save: Path | None = None
) -> bytes:
    """Return the message that compiles a policy for the given rules (``data.sluice...``)."""
    body = {
        "op": "build",
        "modules": dict(modules),
        "data": data,
        "entrypoints": [entrypoint(rule) for rule in rules],
        "save": str(save) if save else None,
    }
    return json.dumps(body, allow_nan=False).encode()


def entrypoint(rule: str) -> str:
    """Return the name by which the worker knows a rule: ``sluice/task/deny``."""
    return rule.removeprefix("data.").replace(".", "/")


def _spawn(channel: socket.socket, memory_mb: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", str(_WORKER), str(memory_mb), str(MEMORY_EXHAUSTED)],
        stdin=channel.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
    )
