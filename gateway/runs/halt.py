"""The one way in which a run ends early: a reason, given once, that unwinds whatever waits.

A run is never ended by cancelling its coroutines: half of an append to the log would be left. It
is asked to stop, and looks where it waits for something that may be given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

_T = TypeVar("_T")


class CancelledByRequest(Exception):
    """Somebody asked for the end of the run."""


class GatewayStopping(Exception):
    """The gateway stops: the run gets no end now and is recovered later."""


class StoppedError(Exception):
    """Unwinds; why is in ``Halt.why``."""


class Halt:
    """Whether one run is to stop, and why."""

    def __init__(self) -> None:
        """Needs a running event loop."""
        self._why: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def stop(self, why: Exception) -> None:
        """Stop the run because of ``why``; the first reason counts."""
        if not self._why.done():
            self._why.set_result(why)

    @property
    def why(self) -> Exception | None:
        """The reason, or None as long as the run goes on."""
        return self._why.result() if self._why.done() else None

    async def unless_stopped(self, doing: Awaitable[_T]) -> _T:
        """Return what ``doing`` returns. Raises ``StoppedError`` where the stop comes first.

        ``doing`` is then cancelled, and has ended: use it for what may be given up half done.
        """
        task = asyncio.ensure_future(doing)
        try:
            either: list[asyncio.Future[Any]] = [task, self._why]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        if self._why.done():
            if not task.cancelled():
                task.exception()  # seen; the stop comes first
            raise StoppedError
        return task.result()
