"""Takes the network away from the pods of a launch, and lets no other pod of it come.

A pod's label becomes the one to which everything is denied; nothing else of it changes, and nobody
can take that back. Whatever is on its way to become a pod when its launch is cut is refused, or
loses its network before anybody hears that it is there.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from gateway.cluster.client import ClusterAway, ClusterClient, ClusterRefused
from gateway.cluster.ending import has_ended
from gateway.cluster.marks import CUT, PROFILE_LABEL
from gateway.cluster.watching import PodWatch
from gateway.errors import GatewayError
from gateway.settings import ClusterSettings

_log = structlog.get_logger()
# An empty entry clears the record of who wrote which field (Kubernetes: "Clearing managedFields"),
# which a cut pod has no use for: keeping it is a third of what the server does for the change.
_BODY = {"metadata": {"labels": {PROFILE_LABEL: CUT}, "managedFields": [{}]}}
_CONFLICT = 409
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds between two tries
WAS_CUT = "the launch was cut"


@dataclass(frozen=True, slots=True)
class Severed:
    """How many pods lost their network, how many have it still, and why those have."""

    pods: int
    left: int
    why: str = ""


class Severance:
    """Which launches were cut, and which of their pods. A prefix is a launch id without dashes."""

    def __init__(self, client: ClusterClient, watch: PodWatch, settings: ClusterSettings) -> None:
        """``client`` may change the labels of pods; ``watch`` sees them."""
        self._client = client
        self._watch = watch
        self._path = f"/api/v1/namespaces/{settings.namespace}/pods"
        self._patience = settings.patience_seconds
        self._forbidden: set[str] = set()
        self._lost: defaultdict[str, set[str]] = defaultdict(set)  # prefix -> uids
        self._gone: set[str] = set()  # uids that the watch may still show
        self._making: dict[str, asyncio.Future[None]] = {}  # by name of the pod

    def forbid(self, prefix: str) -> None:
        """Let no pod of this launch be made any more, for as long as this process lives."""
        self._forbidden.add(prefix)

    def forbids(self, name: str) -> bool:
        """Whether a pod of this name may not be made."""
        return _prefix(name) in self._forbidden

    @contextmanager
    def making(self, name: str) -> Iterator[None]:
        """Say that a pod may come to be inside this block: a cut waits for the end of it."""
        settled = self._making[name] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._making[name]
            settled.set_result(None)

    async def cut(self, prefix: str) -> Severed:
        """Forbid new pods, and return when none of those that live has its network.

        What the API server refuses, or does not answer for as long as the cluster's patience
        lasts, is left and counted.
        """
        self.forbid(prefix)
        loop = asyncio.get_running_loop()
        deadline, before = loop.time() + self._patience, set(self._lost[prefix])
        failed: dict[str, str] = {}
        unmade = 0
        while True:
            if wanted := self._alive(prefix, failed):
                tried = (self._until(name, uid, deadline) for uid, name in wanted.items())
                whys = await asyncio.gather(*tried)
                failed.update((uid, why) for uid, why in zip(wanted, whys, strict=True) if why)
            elif coming := [f for name, f in self._making.items() if _prefix(name) == prefix]:
                await asyncio.wait(coming, timeout=max(0, deadline - loop.time()))
                if loop.time() >= deadline:
                    unmade = sum(not item.done() for item in coming)
                    break
            else:
                break
        why = next(iter(failed.values()), "pods may still be on their way" if unmade else "")
        return Severed(len(self._lost[prefix] - before), len(failed) + unmade, why)

    async def relabel(self, name: str, uid: str) -> None:
        """Take the network from one pod; one that is gone has none.

        Raises ``ClusterAway``, ``ClusterRefused``.
        """
        try:
            await self._client.merge(f"{self._path}/{name}", _BODY)
        except ClusterRefused as error:
            if not error.missing:
                raise
            self._gone.add(uid)
        else:
            self._lost[_prefix(name)].add(uid)

    def _alive(self, prefix: str, failed: dict[str, str]) -> dict[str, str]:
        """Return uid and name of each pod that has its network, as far as is known."""
        known = self._lost[prefix] | self._gone | failed.keys()
        return {
            pod["metadata"]["uid"]: name
            for name, pod in self._watch.pods.items()
            if _prefix(name) == prefix
            and not has_ended(pod)
            and (pod["metadata"].get("labels") or {}).get(PROFILE_LABEL) != CUT
            and pod["metadata"]["uid"] not in known
        }

    async def _until(self, name: str, uid: str, deadline: float) -> str:
        """Relabel a pod, again and again until ``deadline``; return why it could not be done."""
        loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
        while True:
            try:
                await self.relabel(name, uid)
            except GatewayError as error:
                if not _passing(error) or loop.time() + pause > deadline:
                    _log.error("pod_not_cut", pod=name, detail=str(error))
                    return error.public_message
            else:
                return ""
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)


def _prefix(name: str) -> str:
    return name.partition("-")[0]


def _passing(error: GatewayError) -> bool:
    """Whether the same request may be answered otherwise in a moment."""
    conflict = isinstance(error, ClusterRefused) and error.http_status == _CONFLICT
    return conflict or isinstance(error, ClusterAway)
