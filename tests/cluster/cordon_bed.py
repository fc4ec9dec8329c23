"""Nodes that take no pod for a while, so that a test can write on one before anybody plays it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bed.api import Api


class Cordon:
    """Round all nodes."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._nodes = [each["metadata"]["name"] for each in api.get("/api/v1/nodes")["items"]]

    async def shut(self) -> None:
        """Let no node take a pod."""
        await asyncio.to_thread(self._put, {"unschedulable": True})

    async def open(self) -> None:
        """Let all nodes take pods."""
        await asyncio.to_thread(self._put, {"unschedulable": None})

    def _put(self, spec: dict[str, bool | None]) -> None:
        for name in self._nodes:
            self._api.merge(f"/api/v1/nodes/{name}", {"spec": spec})


@asynccontextmanager
async def cordon(api: Api) -> AsyncIterator[Cordon]:
    """Yield a cordon, which is open now and at the end."""
    made = Cordon(api)
    try:
        yield made
    finally:
        await made.open()
