"""Runs pods to their end: made once, adopted when they are there already, surely stopped.

A pod counts as running until the API server says that it has ended or that it is gone. So a
caller that got an end may start the next attempt, and two pods of one task never run at once.
Whether a request that was not answered was obeyed is asked until it is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog

from gateway.cluster.client import ClusterAway, ClusterClient, ClusterRefused, Object
from gateway.cluster.ending import PodEnd, end_of, has_ended, refused
from gateway.cluster.following import Followed, PodPatience
from gateway.cluster.pods import CONTAINER, Manifest, PodOrder, is_same
from gateway.cluster.sealing import is_sealed, opened_report, pod_key
from gateway.cluster.severing import WAS_CUT, Severance, Severed
from gateway.cluster.watching import PodWatch, answered
from gateway.errors import GatewayError, IntegrityViolation, Misconfigured
from gateway.settings import ClusterSettings

_log = structlog.get_logger()
_FIRST_PAUSE = 0.1
_LAST_WITHIN = 3.0  # seconds
_OBEYED_WITHIN = 10.0  # seconds; the API server drops a request soon after its client has gone
_NOT_MINE = "a pod of that name is there, and is not the one that was approved"


class LeftRunning(Exception):
    """The pod was left to itself; it is adopted by whoever orders it again."""


class Pods:
    """All pods that this gateway waits for."""

    def __init__(
        self,
        client: ClusterClient,
        watch: PodWatch,
        settings: ClusterSettings,
        installation_key: bytes,
    ) -> None:
        """``client`` may make pods; ``watch`` sees them; reports are sealed under the key."""
        self._key = installation_key
        self._client = client
        self._watch = watch
        self._settings = settings
        self._pods_path = f"/api/v1/namespaces/{settings.namespace}/pods"
        self._secrets_path = f"/api/v1/namespaces/{settings.namespace}/secrets"
        self._followed: dict[str, Followed] = {}
        self._discarding: set[asyncio.Task[None]] = set()
        self._severance = Severance(client, watch, settings)
        self._closing = False

    @property
    def seen(self) -> Mapping[str, Object]:
        """All pods of the namespace, ours and others."""
        return self._watch.pods

    def waits_for(self, name: str) -> bool:
        """Whether somebody here waits for the pod."""
        return name in self._followed

    async def run(self, order: PodOrder) -> PodEnd:
        """Make the pod, or take up the one that is there, and return when it has ended.

        Raises ``LeftRunning`` after ``leave``. Everything that goes wrong is an end with a reason.
        """
        if order.name in self._followed:
            raise IntegrityViolation("pod_twice", f"the pod {order.name} is waited for already")
        pod = self._followed[order.name] = Followed()
        try:
            made = await self._make(order, pod)
            if made is not None:
                return made
            return await self._see_out(order, pod)
        finally:
            self._watch.forget(order.name)
            del self._followed[order.name]
            pod.seen_out.set()

    async def stop(self, name: str, why: str) -> None:
        """End a pod that is waited for; ``run`` returns ``why`` when it is gone."""
        pod = self._followed.get(name)
        if pod is None or pod.stopped is not None:
            return
        pod.stopped = why
        pod.changed.set()
        if pod.uid is not None:
            await self._delete(name, pod.uid, pod)

    def leave(self, launch_id: str = "") -> None:
        """Wait no more for the pods of a launch, or for any, and let them live."""
        for name, pod in self._followed.items():
            if name.startswith(launch_id.replace("-", "")):
                pod.left = True
                pod.changed.set()

    def discard(self, name: str) -> None:
        """Delete a pod whose end is on record; returns at once.

        One that came so late that nobody waited for it any more may still be running: without its
        grace it would be gone from the server before it has ended.
        """
        if found := self._watch.pods.get(name):
            grace = 0 if has_ended(found) else None
            gone = self._delete(name, found["metadata"]["uid"], None, grace=grace)
            task = asyncio.create_task(gone)
            self._discarding.add(task)
            task.add_done_callback(self._discarding.discard)

    async def clear(self, names: Iterable[str]) -> None:
        """End pods that nobody waits for, and return when none of them is left."""
        await asyncio.gather(*(self._clear(name) for name in names))

    def forbid(self, prefix: str) -> None:
        """Make no pod any more whose name begins so: a launch's id without dashes."""
        self._severance.forbid(prefix)

    async def cut(self, prefix: str) -> Severed:
        """Take the network away from the pods of a launch, and forbid that any other comes."""
        return await self._severance.cut(prefix)

    async def read_log(self, name: str, limit: int) -> bytes:
        """Return what a pod's process wrote, up to ``limit`` bytes. Raises ``GatewayError``."""
        return await self._client.data(
            f"{self._pods_path}/{name}/log", limit, container=CONTAINER, limitBytes=str(limit)
        )

    async def log(self, name: str, limit: int) -> bytes:
        """Return what a pod's process wrote, up to ``limit`` bytes, or why nobody knows."""
        try:
            return await self.read_log(name, limit)
        except GatewayError as error:
            return f"(the cluster does not give the log: {error.public_message})\n".encode()

    async def close(self) -> None:
        """Leave all pods, and finish deleting what was to be deleted, for a moment."""
        self.leave()
        if self._discarding:
            await asyncio.wait(self._discarding, timeout=_LAST_WITHIN)
        self._closing = True
        for task in self._discarding:
            task.cancel()

    # --- making ---------------------------------------------------------------------------------

    async def _make(self, order: PodOrder, pod: Followed) -> PodEnd | None:
        """Make the pod and what it needs; return an end when there is none to wait for."""
        manifest = order.manifest()
        with self._severance.making(order.name):
            try:
                found = await self._insist(order.name, manifest, pod)
            except ClusterRefused as error:
                return PodEnd(failure=refused(error.reason, error.message))
            if found is None:
                return PodEnd(failure=pod.stopped or "")
            pod.uid = found["metadata"]["uid"]
            if not self._watch.told(found):
                pod.latest, pod.gone = found, True
            self._watch.hear(order.name, pod.hear)
            if self._severance.forbids(order.name):
                pod.stopped = pod.stopped or WAS_CUT
                with suppress(GatewayError):  # whoever cuts tries again, and says so
                    await self._severance.relabel(order.name, pod.uid)
            elif not is_same(manifest, found):
                _log.error("pod_foreign", pod=order.name)
                pod.stopped = _NOT_MINE  # nothing of this attempt may live when the next one begins
        if pod.stopped is not None:
            await self._delete(order.name, pod.uid, pod)
        elif order.by_secret:
            await self._give(order, pod, pod.uid)
        return None

    async def _insist(self, name: str, manifest: Manifest, pod: Followed) -> Object | None:
        """Return the pod when the server has it for sure; None when it was stopped before.

        A request without an answer may have been obeyed: from then on the pod counts as there,
        until nobody has found it for a while after the last request.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.patience_seconds
        pause, unsure = _FIRST_PAUSE, False
        while True:
            if pod.left:
                raise LeftRunning
            if self._severance.forbids(name):
                pod.stopped = pod.stopped or WAS_CUT
            if pod.stopped is not None:
                return await self._late(name, pod) if unsure else None
            try:
                return await self._made(name, manifest)
            except ClusterRefused:
                if unsure and (found := await self._late(name, pod)):
                    return found
                raise
            except (ClusterAway, Misconfigured) as error:  # also a former gateway's may be there
                unsure = True
                if loop.time() > deadline:
                    pod.stopped = f"its pod could not be made: {error.public_message}"
                else:
                    pause = await answered(error, pause)

    async def _made(self, name: str, manifest: Manifest) -> Object:
        """Create the pod, or return the one of that name.

        Whatever the refusal, one may be there: quotas, for instance, are asked before names are.
        """
        try:
            return await self._client.create(self._pods_path, manifest)
        except ClusterRefused as error:
            refusal = error
        try:
            found = await self._client.get(f"{self._pods_path}/{name}")
        except ClusterRefused as error:
            if not error.missing:  # whoever may not look knows nothing
                raise ClusterAway("pod_unseen", error.public_message) from error
            if refusal.exists:  # it went in between
                raise ClusterAway("pod_went", "the pod of that name is just going") from error
            raise refusal from None
        _log.info("pod_adopted", pod=name)
        return found

    async def _late(self, name: str, pod: Followed) -> Object | None:
        """Return a pod whose creation was not answered, should it come after all.

        Asking for it once more would be surer, and would make a pod of a launch that was cut.
        """
        loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
        until = loop.time() + _OBEYED_WITHIN
        while True:
            try:
                return await self._client.get(f"{self._pods_path}/{name}")
            except GatewayError as error:
                if pod.left:
                    raise LeftRunning from error
                if not (isinstance(error, ClusterRefused) and error.missing):
                    pause = await answered(error, pause)  # whoever may not look knows nothing
                elif loop.time() > until:
                    return None
                else:
                    await asyncio.sleep(pause)

    async def _give(self, order: PodOrder, pod: Followed, uid: str) -> None:
        """Make the Secret that the pod waits for; the pod owns it."""
        pause = _FIRST_PAUSE
        while True:
            try:
                key = pod_key(self._key, uid)
                await self._client.create(self._secrets_path, order.secret(uid, key))
            except ClusterRefused as error:
                if not error.exists:
                    await self.stop(order.name, refused(error.reason, error.message))
            except (ClusterAway, Misconfigured) as error:
                if pod.left:
                    raise LeftRunning from error
                pause = await answered(error, pause)
                continue
            return

    # --- waiting --------------------------------------------------------------------------------

    async def _see_out(self, order: PodOrder, pod: Followed) -> PodEnd:
        """Return when the pod has ended, ending it where it never begins, or takes too long."""
        loop, patience = asyncio.get_running_loop(), PodPatience(self._settings, order)
        while True:
            pod.changed.clear()
            latest = pod.latest or {}
            if pod.gone or has_ended(latest):
                return self._end(pod, latest)
            if pod.left:
                raise LeftRunning
            until = None if pod.stopped is not None else patience.until(latest, loop.time())
            if until is not None and until <= loop.time():
                await self.stop(order.name, patience.why(latest, loop.time()))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await pod.changed.wait()

    def _end(self, pod: Followed, latest: Object) -> PodEnd:
        end = end_of(latest)
        if is_sealed(end.message) and pod.uid is not None:
            key = pod_key(self._key, pod.uid)
            end = replace(end, message=opened_report(end.message, key), key=key)
        if pod.stopped == _NOT_MINE:
            return PodEnd(failure=_NOT_MINE)
        if pod.stopped is not None:
            return replace(end, failure=pod.stopped)
        return end

    # --- ending ---------------------------------------------------------------------------------

    async def _delete(
        self, name: str, uid: str, pod: Followed | None, grace: int | None = None
    ) -> None:
        """Ask for the end of this very pod, until the server has taken the request.

        Or until it is left or the gateway stops: whoever comes next finds the pod, and what was to
        become of it.
        """
        pause = _FIRST_PAUSE
        seconds = self._settings.stop_seconds if grace is None else grace
        while not self._closing:
            try:
                await self._client.delete(f"{self._pods_path}/{name}", grace=seconds, uid=uid)
            except GatewayError as error:
                if not isinstance(error, ClusterAway):
                    _log.error("pod_not_deleted", pod=name, detail=str(error))
                pause = await answered(error, pause)
            else:
                return
            if pod is not None and pod.left:
                return

    async def _clear(self, name: str) -> None:
        if other := self._followed.get(name):
            await self.stop(name, "it was ended")
            await other.seen_out.wait()
            return
        pod = self._followed[name] = Followed()
        try:
            found: Any = self._watch.pods.get(name)
            if found is None:
                return
            pod.uid = found["metadata"]["uid"]
            self._watch.hear(name, pod.hear)
            ended = has_ended(found)
            await self._delete(name, pod.uid, pod, grace=0 if ended else None)
            while not (pod.gone or pod.left or has_ended(pod.latest or {})):
                pod.changed.clear()
                await pod.changed.wait()
        finally:
            self._watch.forget(name)
            del self._followed[name]
            pod.seen_out.set()
