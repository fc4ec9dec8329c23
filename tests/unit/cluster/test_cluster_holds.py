"""Who counts on a ConfigMap keeps it; who comes while it goes waits until it has gone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gateway.cluster.holds import Holds

NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Clock:
    """A time that is told."""

    moment = NOW

    def __call__(self) -> datetime:
        """Return it."""
        return self.moment


async def test_what_was_asked_for_is_kept_for_the_period() -> None:
    """It is free at the period's end and not a moment before; what nobody asked for is free."""
    clock = Clock()
    holds = Holds(600, clock)
    await holds.take("code")
    clock.moment = NOW + timedelta(seconds=599)
    assert not holds.free("code", holds.until())
    assert holds.free("other", holds.until())
    clock.moment = NOW + timedelta(seconds=600)
    assert holds.free("code", holds.until())


async def test_whoever_takes_what_goes_waits() -> None:
    """And holds it from the moment at which he asked, so that the next deletion spares it."""
    holds = Holds(600, Clock())
    until = NOW - timedelta(seconds=600)
    with holds.going("code", until) as free:
        assert free
        taking = [asyncio.create_task(holds.take("code")) for _ in range(2)]
        await asyncio.wait_for(holds.take("other"), 1)
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in taking)
    await asyncio.wait_for(asyncio.gather(*taking), 1)
    with holds.going("code", until) as free:
        assert not free
        await asyncio.wait_for(holds.take("code"), 1)


async def test_a_deletion_that_failed_lets_everybody_go_on() -> None:
    """Nobody waits for one that ended in an error."""
    holds = Holds(600, Clock())
    with pytest.raises(OSError, match="broken"), holds.going("code", NOW):
        raise OSError("broken")
    await asyncio.wait_for(holds.take("code"), 1)
