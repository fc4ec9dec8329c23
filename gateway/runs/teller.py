"""Tells a run's events to whoever keeps the log, and stops the run when that fails.

Nothing acts without an entry: who gets ``StoppedError`` from ``tell`` does nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import structlog

from gateway.errors import Retryable
from gateway.runs.events import RunEvent, TaskProgress
from gateway.runs.executor import Progress
from gateway.runs.halt import Halt, StoppedError

Observe = Callable[[RunEvent], Awaitable[None]]

LOG_UNAVAILABLE = "log_unavailable"

_log = structlog.get_logger(__name__)


class Teller:
    """The voice of one run."""

    def __init__(self, launch_id: str, observe: Observe, halt: Halt) -> None:
        """``observe`` returns when the event is durable."""
        self.launch_id = launch_id
        self._observe = observe
        self._halt = halt
        self._news: dict[tuple[str, int], TaskProgress] = {}
        self._telling: asyncio.Task[None] | None = None

    async def tell(self, event: RunEvent) -> None:
        """Return when the event is durable. Raises ``StoppedError`` when it is not."""
        try:
            await self._observe(event)
        except Exception as error:
            _log.error("run_event_lost", launch_id=self.launch_id, exc_info=error)
            self._halt.stop(
                Retryable(
                    LOG_UNAVAILABLE,
                    "the decision log could not be written, so the run was stopped",
                    step="observe",
                )
            )
            raise StoppedError from error

    def progress(self, key: str, attempt: int, said: Progress) -> None:
        """Pass progress on when there is time; what was not passed on yet is overwritten."""
        news = self._news.get((key, attempt)) or TaskProgress(self.launch_id, key, attempt)
        self._news[key, attempt] = replace(
            news,
            percent=news.percent if said.percent is None else said.percent,
            message=news.message if said.message is None else said.message,
            tracking_url=news.tracking_url if said.tracking_url is None else said.tracking_url,
        )
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_news())

    def forget(self, key: str, attempt: int) -> None:
        """Drop progress of an attempt that has ended."""
        self._news.pop((key, attempt), None)

    async def close(self) -> None:
        """Return when nothing is being told."""
        self._news.clear()
        if self._telling:
            await self._telling

    async def _tell_news(self) -> None:
        with suppress(StoppedError):
            while self._news:
                await self.tell(self._news.pop(next(iter(self._news))))
