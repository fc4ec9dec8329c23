"""One pod while somebody waits for it: what was heard of it, and when patience with it ends.

Nothing here asks the API server or waits by itself; ``running.py`` does both.
"""

from __future__ import annotations

import asyncio

from gateway.cluster.client import Object
from gateway.cluster.ending import has_begun, trouble
from gateway.cluster.pods import PodOrder
from gateway.settings import ClusterSettings


class Followed:
    """A pod that somebody waits for: what was heard of it, and what is to become of it."""

    def __init__(self) -> None:
        """Nothing was heard yet; ``uid`` is None until the server has it for sure."""
        self.uid: str | None = None
        self.latest: Object | None = None
        self.changed = asyncio.Event()
        self.gone = False
        self.stopped: str | None = None  # why, when it was ended from here
        self.left = False  # nobody waits any more; it lives on
        self.seen_out = asyncio.Event()

    def hear(self, pod: Object, gone: bool) -> None:
        """Take what the watch says; of another pod of the same name it says nothing."""
        if self.uid is None or pod["metadata"]["uid"] == self.uid:
            self.latest, self.gone = pod, gone
        elif self.latest is not None:
            self.gone = True  # another one took the name: this one is not there any more
        self.changed.set()


class PodPatience:
    """How long one pod is waited for. Times are of the event loop, in seconds."""

    def __init__(self, settings: ClusterSettings, order: PodOrder) -> None:
        """Take the bounds from both: the shorter one of the time before it begins."""
        self._pull_seconds = settings.pull_seconds
        self._pending_seconds = min(settings.pending_seconds, order.pending_seconds)
        self._seconds = order.seconds
        self._since: float | None = None
        self._no_image_since: float | None = None
        self._begun: float | None = None

    def until(self, pod: Object, now: float) -> float | None:
        """Return when patience with a pod in this state ends; None is never."""
        if has_begun(pod):
            self._begun = self._begun or now
            return None if self._seconds is None else self._begun + self._seconds
        self._since = self._since or now
        until = self._since + self._pending_seconds
        self._no_image_since = (self._no_image_since or now) if trouble(pod).image else None
        if self._no_image_since is not None:
            until = min(until, self._no_image_since + self._pull_seconds)
        return until

    def why(self, pod: Object, now: float) -> str:
        """Return why it ended, in words."""
        if self._begun is not None:
            return f"it ran longer than {self._seconds:g} s"
        waited = round(now - (self._since or now))
        return f"it had not begun after {waited} s: {trouble(pod).reason}"
