"""Wakes those who watch a launch, and hands them what is too fleeting for the log.

The hub holds no truth: a watcher that is woken reads the log from where it stood. Only progress
(percentages, status messages) travels through here, and a slow watcher loses it rather than
slowing a run.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_FLEETING = 256


class EventHub:
    """Fan-out by launch id, within one process."""

    def __init__(self) -> None:
        """Start with nobody watching."""
        self._watchers: defaultdict[str, set[Watcher]] = defaultdict(set)
        self.closed = False

    def close(self) -> None:
        """Let every watcher go: the gateway stops."""
        self.closed = True
        for launch_id in self._watchers:
            self.wake(launch_id)

    @contextmanager
    def watch(self, launch_id: str) -> Iterator[Watcher]:
        """Register before reading the log, so that nothing falls between."""
        watcher = Watcher()
        self._watchers[launch_id].add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[launch_id].discard(watcher)
            if not self._watchers[launch_id]:
                del self._watchers[launch_id]

    def wake(self, launch_id: str) -> None:
        """Say that the log has something new about a launch."""
        for watcher in self._watchers.get(launch_id, ()):
            watcher.wake()

    def tell(self, launch_id: str, progress: Mapping[str, Any]) -> None:
        """Pass progress on to whoever watches now."""
        for watcher in self._watchers.get(launch_id, ()):
            watcher.tell(progress)


class Watcher:
    """One reader's place: a flag that the log has news, and a bounded list of progress."""

    def __init__(self) -> None:
        """Start awake, so that the first read happens at once."""
        self._event = asyncio.Event()
        self._event.set()
        self._fleeting: list[Mapping[str, Any]] = []

    def wake(self) -> None:
        """Let ``wait`` return."""
        self._event.set()

    def tell(self, progress: Mapping[str, Any]) -> None:
        """Keep progress until the reader comes; the oldest goes when there is too much."""
        self._fleeting = [*self._fleeting[-_FLEETING:], progress]
        self._event.set()

    async def wait(self, seconds: float) -> list[Mapping[str, Any]]:
        """Return progress since the last call, after news or after ``seconds``."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return []
        self._event.clear()
        told, self._fleeting = self._fleeting, []
        return told
