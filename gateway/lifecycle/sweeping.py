"""Does something again and again for as long as the gateway lives, whatever becomes of one time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gateway.errors import GatewayError

_log = structlog.get_logger()


async def attempted(sweep: Callable[[], Awaitable[object]], what: str) -> None:
    """Do it once; what went wrong is logged as ``WHAT_failed``, a bug as ``WHAT_broken``."""
    try:
        await sweep()
    except GatewayError as error:
        _log.warning(f"{what}_failed", code=error.code, detail=str(error))
    except Exception:  # noqa: BLE001 -- whatever it was, the next time has to come
        _log.exception(f"{what}_broken")


async def sweeping(sweep: Callable[[], Awaitable[object]], every: float, what: str) -> None:
    """Do it every so many seconds, until cancelled."""
    while True:
        await asyncio.sleep(every)
        await attempted(sweep, what)
