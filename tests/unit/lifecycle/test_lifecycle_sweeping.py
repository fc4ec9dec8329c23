"""Sweeps go on, whatever became of one of them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from structlog.testing import capture_logs

from gateway.errors import Retryable
from gateway.lifecycle.sweeping import sweeping


async def test_a_sweep_that_failed_is_no_end() -> None:
    """Whether its fault was foreseen or not, it is logged as what it is, and the next one comes."""
    done = asyncio.Event()
    faults = [Retryable("away", "nobody answers"), RuntimeError("unforeseen")]

    async def sweep() -> None:
        if faults:
            raise faults.pop(0)
        done.set()

    with capture_logs() as logs:
        task = asyncio.create_task(sweeping(sweep, 0.001, "tidying"))
        await asyncio.wait_for(done.wait(), 30)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert [line["event"] for line in logs] == ["tidying_failed", "tidying_broken"]
