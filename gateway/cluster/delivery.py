"""Brings the entry point and pipelines' code to the cluster, once for each content.

Both are ConfigMaps that cannot be changed, named by what they hold; whoever finds one there reads
it back and compares. Code is checked again, byte for byte, by the entry point in the pod.

That one was delivered is never remembered: ``collector`` deletes what nobody needs, so each
delivery looks anew, and says so first. What it then found or made stays until its pods exist.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Literal

import structlog

from gateway.canonical import sha256
from gateway.clock import now
from gateway.cluster.client import ClusterAway, ClusterClient, ClusterRefused, Object
from gateway.cluster.holds import Holds
from gateway.cluster.marks import payload_name
from gateway.cluster.packing import code_archive, guest_archive
from gateway.cluster.pods import PodShape
from gateway.errors import GatewayError, IntegrityViolation, Misconfigured
from gateway.settings import ClusterSettings

_log = structlog.get_logger()
_REMEMBERED = 8
_CANARY_SECONDS = 2
_NONE = ""  # the name of what cannot be packed
_FILES = {"guest": "guest.pyz", "code": "code.zip"}

Kind = Literal["guest", "code"]


class Deliveries:
    """What a run's pods are given beside their task. Shared by all runs."""

    def __init__(
        self,
        client: ClusterClient,
        settings: ClusterSettings,
        *,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """``client`` may create and read ConfigMaps."""
        self._client = client
        self._settings = settings
        self._path = f"/api/v1/namespaces/{settings.namespace}/configmaps"
        self._guest: bytes | None = None  # packed once: a process has one entry point
        self._packed: dict[Path, bytes] = {}  # the last few trees
        self._names: dict[Path, str] = {}  # of trees, whose bytes are fixed by their own names
        self.holds = Holds(settings.keep_code_seconds + settings.patience_seconds, clock)

    async def shape(self, image: str, tree: Path | None, *, cpu: str, memory: str) -> PodShape:
        """Return what pods of an image have in common, when all of it is in the cluster.

        ``image`` empty is the installation's own; ``tree`` is the folder of a code tree that the
        image lacks. Raises ``Misconfigured``, ``Unprocessable``, ``IntegrityViolation``, or what
        the client raises.
        """
        settings = self._settings
        if not (image or settings.image):
            raise Misconfigured(
                "no_image",
                "the pipeline names no image and the installation has none; set cluster.image",
                field="cluster.image",
                step="run",
            )
        guest, code, canary = await asyncio.gather(
            self._bring("guest", await self._guest_packed()),
            self._bring_code(tree),
            self._canary(),
        )
        for name in filter(None, (guest, code)):
            self.holds.asked(name)  # the others may have taken a while
        return PodShape(
            namespace=settings.namespace,
            service_account=settings.service_account,
            image=image or settings.image,
            guest=guest,
            code=code,
            cpu=cpu,
            memory=memory,
            longest_seconds=settings.longest_seconds,
            canary=canary,
        )

    async def names(self, trees: Collection[Path]) -> frozenset[str]:
        """Return the ConfigMaps of kept code trees, there or not.

        A tree that is not kept here, or cannot be packed, has none.
        """
        for tree in set(trees) - self._names.keys():
            name = await asyncio.to_thread(_named, tree)
            self._names.setdefault(tree, name)  # what was delivered meanwhile is surer
        return frozenset({self._names[tree] for tree in trees} - {_NONE})

    async def _canary(self) -> tuple[str, dict[str, str | int]] | None:
        """Return the canary's image and payload, when one is set and alive just now.

        A dead one proves nothing and must not stop anything.
        """
        if not self._settings.canary:
            return None
        host, _, port = self._settings.canary.rpartition(":")
        try:
            async with asyncio.timeout(_CANARY_SECONDS):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError) as error:
            why = str(error) or "no answer"
            _log.warning("canary_silent", canary=self._settings.canary, detail=why)
            return None
        writer.close()
        payload: dict[str, str | int] = {
            "v": 1,
            "mode": "canary",
            "host": host.strip("[]"),
            "port": int(port),
            "seconds": _CANARY_SECONDS,
        }
        return self._settings.image, payload

    async def _guest_packed(self) -> bytes:
        if self._guest is None:
            self._guest = await asyncio.to_thread(guest_archive)
        return self._guest

    async def _bring_code(self, tree: Path | None) -> str | None:
        if tree is None:
            return None
        known = self._packed.get(tree)
        data: bytes = await asyncio.to_thread(code_archive, tree) if known is None else known
        self._packed[tree] = data
        if len(self._packed) > _REMEMBERED:
            del self._packed[next(iter(self._packed))]
        self._names[tree] = payload_name("code", sha256(data))
        return await self._bring("code", data)

    async def _bring(self, kind: Kind, data: bytes) -> str:
        """Return the name of a ConfigMap that holds exactly ``data``."""
        name = payload_name(kind, sha256(data))
        content = {_FILES[kind]: base64.b64encode(data).decode()}
        await self.holds.take(name)
        found = await self._there(name) or await self._create(name, content)
        if found.get("binaryData") != content or found.get("data"):
            raise IntegrityViolation(
                "delivery_changed",
                f"the ConfigMap {name} does not hold what its name says; delete it",
                step="run",
            )
        return name

    async def _there(self, name: str) -> Object | None:
        """Return a ConfigMap that stays. Raises ``ClusterAway`` for one that is being deleted."""
        try:
            found = await self._client.get(f"{self._path}/{name}")
        except ClusterRefused as error:
            if error.missing:
                return None
            raise
        if found["metadata"].get("deletionTimestamp"):
            raise _went(name)
        return found

    async def _create(self, name: str, content: dict[str, str]) -> Object:
        manifest: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "immutable": True,
            "metadata": {"name": name, "namespace": self._settings.namespace},
            "binaryData": content,
        }
        try:
            return await self._client.create(self._path, manifest)
        except ClusterRefused as error:
            if not error.exists:  # else another run was faster
                raise
        if found := await self._there(name):
            return found
        raise _went(name)


def _named(tree: Path) -> str:
    """Return the name of a tree's ConfigMap."""
    try:
        return payload_name("code", sha256(code_archive(tree))) if tree.is_dir() else _NONE
    except GatewayError:  # whoever delivers it is told
        return _NONE


def _went(name: str) -> ClusterAway:
    return ClusterAway("delivery_went", f"the ConfigMap {name} is just going; try again")
