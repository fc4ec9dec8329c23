"""How long an API server that is away is waited for: a budget of seconds for one piece of work."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.cluster.client import ClusterAway, ClusterRefused
from gateway.errors import Misconfigured, Step

T = TypeVar("T")

_FIRST, _LONGEST = 0.1, 5.0  # seconds between two attempts, doubled each time
_FORBIDDEN = 403


class Patience:
    """Repeats calls that nobody answered until its seconds are used up.

    Only for calls that may be made twice: what was asked for may have happened. A refusal is not
    repeated; those that the caller does not expect become ``Misconfigured`` here.
    """

    def __init__(self, seconds: float, step: Step = "bind") -> None:
        """Begin to count now. With 0 seconds every call is made once."""
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._step: Step = step

    async def call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer.

        Raises ``ClusterAway``, with the step, when the time is over, and ``ClusterRefused``.
        """
        pause = _FIRST
        while True:
            try:
                return await ask()
            except ClusterAway as error:
                wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 -- spreads load, is no secret
                if asyncio.get_running_loop().time() + wait > self._deadline:
                    error.step = self._step
                    raise
            await asyncio.sleep(wait)
            pause = min(2 * pause, _LONGEST)


def refused(what: str, error: ClusterRefused, step: Step = "bind") -> Misconfigured:
    """Return the error that tells an operator what the cluster said, and about what."""
    way = "; install the rights with kubectl apply -k deploy/cluster"
    return Misconfigured(
        "cluster_forbids" if error.http_status == _FORBIDDEN else "cluster_refuses",
        f"the cluster refuses {what}: {error.message}"
        + (way if error.http_status == _FORBIDDEN else ""),
        step=step,
        diagnostics=f"{error.http_status} {error.reason}",
    )
