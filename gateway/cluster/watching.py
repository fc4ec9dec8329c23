"""One watch on all pods of a namespace, shared by everything that waits for a pod.

Nobody polls. What the watch holds is what the API server said last; after a break it lists again,
and whoever waits for a pod that went meanwhile is told so.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from gateway.cluster.client import ClusterClient, Object, WatchExpired
from gateway.errors import GatewayError

_log = structlog.get_logger()
_BETWEEN = 0.2  # seconds between two watches
_LONGEST_PAUSE = 5.0  # seconds between two tries
_PAGE = "500"
_REMEMBERED = 10_000  # pods that went

Hear = Callable[[Object, bool], None]
"""Called with a pod as it is now, and whether it is gone from the server."""


class PodWatch:
    """What the API server says of the pods of one namespace."""

    def __init__(self, client: ClusterClient, namespace: str) -> None:
        """``client`` may list and watch pods there."""
        self._client = client
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._pods: dict[str, Object] = {}
        self._hearers: dict[str, Hear] = {}
        self._went: dict[str, None] = {}  # uids, the newest last
        self._listed = asyncio.Event()
        self._away: str = "the cluster has not been asked yet"
        self._task: asyncio.Task[None] | None = None

    @property
    def pods(self) -> Mapping[str, Object]:
        """All pods of the namespace, by name, as they were last seen."""
        return self._pods

    @property
    def away(self) -> str:
        """Why nothing is heard of the cluster now; empty while all is well."""
        return self._away

    async def start(self) -> None:
        """List, and watch from there on. Raises ``GatewayError`` when the first list fails."""
        version = await self._list()
        self._task = asyncio.create_task(self._follow(version), name="pod watch")

    async def close(self) -> None:
        """Stop watching."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def hear(self, name: str, hearer: Hear) -> None:
        """Call ``hearer`` with a pod's state whenever it changes, and at once when it is known."""
        self._hearers[name] = hearer
        if found := self._pods.get(name):
            hearer(found, False)

    def forget(self, name: str) -> None:
        """Stop calling."""
        self._hearers.pop(name, None)

    def told(self, pod: Object) -> bool:
        """Take what an answer held, before the watch says it; False when that pod went already."""
        if pod["metadata"]["uid"] in self._went:
            return False
        if pod["metadata"]["name"] not in self._pods:
            self._take(pod)
        return True

    async def _follow(self, version: str) -> None:
        pause = 0.0
        while True:
            try:
                if pause:
                    await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 -- no secret
                    version = await self._list()
                async for kind, found in self._client.watch(self._path, version):
                    version = found["metadata"]["resourceVersion"]
                    self._away, pause = "", 0.0
                    if kind == "DELETED":
                        self._drop(found)
                    elif kind != "BOOKMARK":
                        self._take(found)
                await asyncio.sleep(_BETWEEN)  # a server that ends watches at once is not pressed
            except WatchExpired:
                pause = 0.05
            except GatewayError as error:
                self._away = error.public_message
                pause = min(_LONGEST_PAUSE, max(0.2, 2 * pause))
                _log.warning("pod_watch_broken", code=error.code, detail=str(error), again_in=pause)
            except Exception:  # noqa: BLE001 -- whatever it was, it must not end the watch
                self._away, pause = "the watch on pods failed", _LONGEST_PAUSE
                _log.exception("pod_watch_failed")

    async def _list(self) -> str:
        """Read all pods; tell of those that changed and of those that went. Return the version."""
        seen: set[str] = set()
        before = {name: pod["metadata"]["uid"] for name, pod in self._pods.items()}
        query = {"limit": _PAGE}
        while True:
            page = await self._client.get(self._path, **query)
            for pod in page["items"]:
                seen.add(pod["metadata"]["name"])
                self._take(pod)
            meta = page["metadata"]
            if not meta.get("continue"):
                break
            query["continue"] = meta["continue"]
        for name in before.keys() - seen:  # one that was made meanwhile is not in the list, and is
            if self._pods[name]["metadata"]["uid"] == before[name]:
                self._drop(self._pods[name])
        self._away = ""
        return str(meta["resourceVersion"])

    def _take(self, pod: Object) -> None:
        meta = pod["metadata"]
        meta.pop("managedFields", None)  # half of its size, and nobody's business here
        self._pods[meta["name"]] = pod
        if hearer := self._hearers.get(meta["name"]):
            hearer(pod, False)

    def _drop(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        self._went[pod["metadata"]["uid"]] = None
        if len(self._went) > _REMEMBERED:
            del self._went[next(iter(self._went))]
        known = self._pods.pop(name, None)
        if known is not None and known["metadata"]["uid"] != pod["metadata"]["uid"]:
            self._pods[name] = known
            return
        if hearer := self._hearers.get(name):
            hearer(pod, True)


async def answered(error: GatewayError, pause: float) -> float:
    """Wait after ``error`` and return the next pause: for those who have to ask again."""
    _log.info("cluster_away", detail=str(error), again_in=pause)
    await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 -- no secret
    return min(_LONGEST_PAUSE, 2 * pause)
