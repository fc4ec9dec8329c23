"""An issuer's key set, kept current over HTTP without ever being in the way.

Promises: at most one request at a time and one per back-off period, whatever tokens come in; a
lookup waits for the network only when the keys at hand are missing, past ``max_age`` or without
its ``kid``; an issuer that cannot be reached is believed on its last keys for 24 hours and not a
second longer.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiohttp import ClientSession
from jwt import PyJWK

from gateway.errors import Retryable
from gateway.identity.fetch import FetchFailed, fetch_keys, trusted_url
from gateway.identity.keys import KeySet


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old keys may be, and how often to ask; all in seconds."""

    refresh_after: float = 480.0  # older: refreshed in the background while still in use
    max_age: float = 600.0  # older: used only where the issuer cannot be asked
    hard_cap: float = 86_400.0  # older: not used
    unknown_kid_interval: float = 30.0  # between requests made for the sake of an unknown kid
    first_retry: float = 1.0  # after one failure; doubled with each further one
    longest_retry: float = 60.0
    timeout: float = 3.0  # for one request, body included


class RemoteKeys:
    """A ``KeySource`` at a URL. There is no timer: an idle gateway asks nobody.

    The session is the caller's. ``clock`` gives seconds that never run backwards. Raises
    ``Misconfigured`` for a URL that is not https, except on loopback.
    """

    def __init__(
        self,
        url: str,
        session: ClientSession,
        *,
        clock: Callable[[], float] = time.monotonic,
        freshness: Freshness | None = None,
    ) -> None:
        self._url = trusted_url(url)
        self._session = session
        self._clock = clock
        self._freshness = freshness or Freshness()
        self._keys = KeySet()
        self._fetched_at = -math.inf
        self._failures = 0
        self._ask_again_at = -math.inf  # after a failure
        self._unknown_again_at = -math.inf  # after any request
        self._flight: asyncio.Task[None] | None = None

    async def key(self, kid: str, algorithm: str) -> PyJWK | None:
        """See ``KeySource``. Waits at most one request's time, usually not at all."""
        await self._refresh_if_due()
        if self._age() >= self._freshness.hard_cap:
            raise Retryable(
                "keys_unavailable",
                "the issuer's keys cannot be fetched at the moment; try again shortly",
                step="authenticate",
                diagnostics=f"{self._url}: {self._failures} failures in a row",
                retry_after=math.ceil(max(1.0, self._ask_again_at - self._clock())),
            )
        if kid not in self._keys.keys and self._clock() >= self._unknown_again_at:
            await self._refresh()
        return self._keys.find(kid, algorithm)

    async def close(self) -> None:
        """Stop a request under way. Look nothing up afterwards."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait({self._flight})

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    async def _refresh_if_due(self) -> None:
        age = self._age()
        missing = age >= self._freshness.hard_cap
        # Once a request has failed, nobody waits for the next while older keys may still serve.
        if missing or (age >= self._freshness.max_age and not self._failures):
            await self._refresh()
        elif age >= self._freshness.refresh_after:
            self._start()

    async def _refresh(self) -> None:
        flight = self._start()
        if flight is not None:
            # Not awaited itself: whoever gives up waiting must not end it for the others.
            await asyncio.wait({flight})

    def _start(self) -> asyncio.Task[None] | None:
        """Return the request under way, begun now if none was; None while backing off."""
        if self._flight is None or self._flight.done():
            if self._clock() < self._ask_again_at:
                return None
            self._flight = asyncio.create_task(self._fetch(), name=f"keys of {self._url}")
        return self._flight

    async def _fetch(self) -> None:
        log = structlog.get_logger().bind(url=str(self._url))
        try:
            keys = await fetch_keys(self._session, self._url, self._freshness.timeout)
        except FetchFailed as failure:
            wait = self._freshness.first_retry * 2 ** min(self._failures, 16)
            self._failures += 1
            self._ask_again_at = self._clock() + min(wait, self._freshness.longest_retry)
            log.warning("key_set_unavailable", reason=str(failure), failures=self._failures)
        else:
            self._keys, self._fetched_at = keys, self._clock()
            self._failures, self._ask_again_at = 0, -math.inf
            for reason in keys.skipped:
                log.warning("key_skipped", reason=reason)
        self._unknown_again_at = self._clock() + self._freshness.unknown_kid_interval
