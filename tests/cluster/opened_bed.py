"""Guards that somebody has taken away, who can: what stands in the cluster then is theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bed.api import ApiError
from bed.installation import GUARDS, Installation

BINDINGS = f"{GUARDS}/validatingadmissionpolicybindings"


@asynccontextmanager
async def opened(
    guarded: Installation, forbidden: Callable[[], Any], *names: str
) -> AsyncIterator[None]:
    """Do without some guards for the block, in force as far as ``forbidden`` shows it.

    ``forbidden`` asks for something, as a dry run, that these guards refuse.
    """
    kept = [guarded.admin.get(f"{BINDINGS}/{name}") for name in names]
    for name in names:
        guarded.admin.delete(f"{BINDINGS}/{name}")
    try:
        await _until_refused(forbidden, refused=False)
        yield
    finally:
        for each in kept:
            meta = {key: each["metadata"].get(key) for key in ("name", "labels")}
            guarded.admin.create(BINDINGS, {**each, "metadata": meta})
        await _until_refused(forbidden, refused=True)


async def _until_refused(forbidden: Callable[[], Any], *, refused: bool) -> None:
    """Wait for the API server, which looks for changed guards once a second."""
    async with asyncio.timeout(30):
        while True:
            try:
                await asyncio.to_thread(forbidden)
            except ApiError as error:
                if refused and "denied request: sluice: " in error.message:
                    return
            else:
                if not refused:
                    return
            await asyncio.sleep(0.1)
