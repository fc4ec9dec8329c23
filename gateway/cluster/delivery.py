"""Brings the entry point and pipelines' code to the cluster, once for each content.

Both are ConfigMaps that cannot be changed, named by what they hold; whoever finds one there reads
it back and compares. Code is checked again, byte for byte, by the entry point in the pod.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gateway.canonical import sha256
from gateway.cluster.client import ClusterClient, ClusterRefused, Object
from gateway.cluster.packing import code_archive, guest_archive
from gateway.cluster.pods import PodShape
from gateway.errors import IntegrityViolation, Misconfigured
from gateway.settings import ClusterSettings

_DIGITS = 32
_REMEMBERED = 8
_CANARY_SECONDS = 2


class Deliveries:
    """What a run's pods are given beside their task. Shared by all runs."""

    def __init__(self, client: ClusterClient, settings: ClusterSettings) -> None:
        """``client`` may create and read ConfigMaps."""
        self._client = client
        self._settings = settings
        self._path = f"/api/v1/namespaces/{settings.namespace}/configmaps"
        self._packed: dict[str, bytes] = {}  # the last few, by what they were packed from

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
            self._bring("guest", "guest.pyz", guest_archive),
            self._bring("code", "code.zip", partial(code_archive, tree), str(tree))
            if tree
            else _nothing(),
            self._canary(),
        )
        return PodShape(
            namespace=settings.namespace,
            service_account=settings.service_account,
            image=image or settings.image,
            guest=str(guest),
            code=code,
            cpu=cpu,
            memory=memory,
            longest_seconds=settings.longest_seconds,
            canary=canary,
        )

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
        except (OSError, TimeoutError):
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

    async def _bring(
        self, kind: str, file: str, pack: Callable[[], bytes], source: str = ""
    ) -> str:
        """Return the name of a ConfigMap that holds exactly what ``pack`` makes."""
        known = self._packed.get(source)
        data: bytes = await asyncio.to_thread(pack) if known is None else known
        self._packed[source] = data
        if len(self._packed) > _REMEMBERED:
            del self._packed[next(iter(self._packed))]
        name = f"sluice-{kind}-{sha256(data)[:_DIGITS]}"
        content = {file: base64.b64encode(data).decode()}
        found = await self._there(name) or await self._create(name, content)
        if found.get("binaryData") != content or found.get("data"):
            raise IntegrityViolation(
                "delivery_changed",
                f"the ConfigMap {name} does not hold what its name says; delete it",
                step="run",
            )
        return name

    async def _there(self, name: str) -> Object | None:
        try:
            return await self._client.get(f"{self._path}/{name}")
        except ClusterRefused as error:
            if error.missing:
                return None
            raise

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
        return await self._client.get(f"{self._path}/{name}")


async def _nothing() -> None:
    return None
