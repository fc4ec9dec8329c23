"""Who counts on a ConfigMap of ours, so that none goes between its delivery and its pod.

Kept in memory: one process delivers and collects, and what a former one had delivered is delivered
again before anything is made of it. Nothing is awaited between looking whether somebody counts on
a ConfigMap and saying that it goes; so whoever comes later waits, and finds out what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta


class Holds:
    """The names that were asked for of late, and those that are being deleted."""

    def __init__(self, keep_seconds: float, clock: Callable[[], datetime]) -> None:
        """What was asked for is kept so long, which has to cover the way from there to a pod."""
        self._keep = timedelta(seconds=keep_seconds)
        self._clock = clock
        self._asked: dict[str, datetime] = {}  # a line for each version of code
        self._going: dict[str, asyncio.Event] = {}

    def until(self) -> datetime:
        """Return the moment since when nobody must have asked for what is deleted now."""
        return self._clock() - self._keep

    def asked(self, name: str) -> None:
        """Say that somebody counts on a ConfigMap from now on."""
        self._asked[name] = self._clock()

    async def take(self, name: str) -> None:
        """Say so before looking for it; returns when it is not being deleted."""
        self.asked(name)
        while going := self._going.get(name):
            await going.wait()

    def free(self, name: str, until: datetime) -> bool:
        """Whether nobody asked for it after ``until``."""
        return self._asked.get(name, until) <= until

    @contextmanager
    def going(self, name: str, until: datetime) -> Iterator[bool]:
        """Yield whether it is free and may be deleted: whoever takes it waits for the block's end.

        One deletion of a name at a time.
        """
        if not self.free(name, until):
            yield False
            return
        over = self._going[name] = asyncio.Event()
        try:
            yield True
        finally:
            del self._going[name]
            over.set()
