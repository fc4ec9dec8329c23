"""Deletes the ConfigMaps of code that nobody needs any more.

Entry points stay, one small ConfigMap for each version of Sluice: who may delete one can put
another in its place, and every task begins with it. Of code the entry point checks each byte.

One goes when it has our name, was made and last asked for longer than ``cluster.keep_code_seconds``
ago (and ``patience_seconds``, for which a pod may be tried), belongs to no launch that may still
begin or go on, and is mounted by no pod of the namespace, whoever made that. It is asked in this
order: a pod that came after the list of pods is of a launch that was counted, or of a delivery that
is younger. What was deleted is created again by whoever delivers it next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from gateway.clock import parse_rfc3339
from gateway.cluster.client import ClusterAway, ClusterClient, ClusterRefused
from gateway.cluster.delivery import Deliveries
from gateway.cluster.marks import is_code_name

_log = structlog.get_logger()
_OBEYED_WITHIN = 10.0  # seconds; the API server drops a request soon after its client has gone

Trees = Callable[[], Awaitable[Collection[Path]]]


class PayloadCollector:
    """Collects in one namespace, as the user who delivers there."""

    def __init__(self, client: ClusterClient, namespace: str, deliveries: Deliveries) -> None:
        """``client`` may list pods and ConfigMaps, and delete ConfigMaps."""
        self._client = client
        self._deliveries = deliveries
        self._holds = deliveries.holds
        self._maps = f"/api/v1/namespaces/{namespace}/configmaps"
        self._pods = f"/api/v1/namespaces/{namespace}/pods"

    async def collect(self, needed: Trees) -> list[str]:
        """Delete what nobody needs and return the names.

        ``needed`` gives the code trees of all launches that have not ended. Raises
        ``GatewayError``; what is left is found by the next call.
        """
        until = self._holds.until()
        unused = await self._old(until)
        if unused:
            alive = await self._deliveries.names(await needed())
            unused = {name: uid for name, uid in unused.items() if name not in alive}
        if unused:
            mounted = await self._mounted()
            unused = {name: uid for name, uid in unused.items() if name not in mounted}
        return [
            name for name, uid in sorted(unused.items()) if await self._delete(name, uid, until)
        ]

    async def _old(self, until: datetime) -> dict[str, str]:
        """Return name and uid of ours that nobody asked for since ``until``."""
        found = {}
        async for item in self._client.listed(self._maps, metadata_only=True):
            meta = item["metadata"]
            made = parse_rfc3339(meta["creationTimestamp"])
            going = "deletionTimestamp" in meta
            if is_code_name(meta["name"]) and made <= until and not going:
                found[meta["name"]] = meta["uid"]
        return {name: uid for name, uid in found.items() if self._holds.free(name, until)}

    async def _mounted(self) -> set[str]:
        """Return the names of all ConfigMaps that pods of the namespace mount.

        Asked anew and not read off the watch, which may have heard nothing for a while.
        """
        found: set[str] = set()
        async for pod in self._client.listed(self._pods):
            found.update(mounted(pod))
        return found

    async def _delete(self, name: str, uid: str, until: datetime) -> bool:
        with self._holds.going(name, until) as free:
            if free:
                try:
                    await self._client.delete(f"{self._maps}/{name}", uid=uid)
                except ClusterRefused as error:
                    _log.warning("payload_not_collected", config_map=name, detail=str(error))
                    return False
                except ClusterAway:
                    await asyncio.sleep(_OBEYED_WITHIN)  # then whoever waits sees what became of it
                    raise
            return free


def mounted(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the ConfigMaps that a pod has as volumes, or as parts of volumes."""
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            if name := (source.get("configMap") or {}).get("name"):
                yield str(name)
