"""How a run is asked to stop: once, for a reason, without tearing what must be whole."""

from __future__ import annotations

import asyncio

import pytest

from gateway.runs.halt import Halt, StoppedError


async def test_goes_on() -> None:
    """As long as nobody stops the run, what is awaited comes back."""
    assert await Halt().unless_stopped(asyncio.sleep(0, "value")) == "value"


async def test_exception_passes() -> None:
    """What goes wrong in what is awaited comes out as it is."""

    async def fail() -> None:
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        await Halt().unless_stopped(fail())


async def test_stop_unwinds() -> None:
    """A stop ends what is awaited, which has ended when the stop is seen."""
    halt, ended = Halt(), asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    asyncio.get_running_loop().call_later(0.01, halt.stop, ValueError("why"))
    with pytest.raises(StoppedError):
        await halt.unless_stopped(wait())
    assert ended.is_set()
    assert str(halt.why) == "why"


async def test_first_reason_counts() -> None:
    """What follows a stop does not change why the run was stopped."""
    halt = Halt()
    halt.stop(ValueError("first"))
    halt.stop(ValueError("second"))
    assert str(halt.why) == "first"


async def test_stop_before() -> None:
    """A run that was stopped begins nothing new that may be given up."""
    halt = Halt()
    halt.stop(ValueError("why"))
    with pytest.raises(StoppedError):
        await halt.unless_stopped(asyncio.sleep(60))
