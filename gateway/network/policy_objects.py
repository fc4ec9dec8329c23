"""The policies of one namespace as objects of an API server: read, compared, created, deleted.

Never changes a policy. One that is not what it should be is replaced, this very object (its
``uid``) and no other; between the two the namespace's baseline denies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from gateway.cluster.client import ClusterAway, ClusterClient, ClusterRefused, Object, WatchExpired
from gateway.cluster.marks import FIELD_MANAGER
from gateway.cluster.patience import Patience, refused
from gateway.errors import IntegrityViolation, Misconfigured, Retryable
from gateway.network.cilium import Manifest, called, differences

_AGAIN = 0.2  # seconds until a watch that ended early is begun anew
_POLICIES = "ciliumnetworkpolicies"
# What else could allow something to a pod, or lead its traffic elsewhere.
_OTHERS = (
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    ("cilium.io/v2", "ciliumenvoyconfigs", "CiliumEnvoyConfig"),
    ("cilium.io/v2", "ciliumlocalredirectpolicies", "CiliumLocalRedirectPolicy"),
)


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything in the namespace that decides about networks.

    ``others`` are ``Kind/name`` of what is no CiliumNetworkPolicy; ``unseen`` says in sentences
    which kinds could not be listed.
    """

    policies: Mapping[str, Object]
    others: tuple[str, ...]
    unseen: tuple[str, ...]


class PolicyObjects:
    """The CiliumNetworkPolicies of a namespace, as the owner of one client sees them.

    Raises ``Misconfigured`` for what the API server refuses, in its own words, and ``ClusterAway``
    when a ``Patience`` has run out.
    """

    def __init__(self, client: ClusterClient, namespace: str) -> None:
        """The client's user may read, create and delete policies there."""
        self._client = client
        self._namespace = namespace
        self._path = f"/apis/cilium.io/v2/namespaces/{namespace}/{_POLICIES}"

    async def read(self, name: str, patience: Patience) -> Object | None:
        """Return a policy, or nothing when there is none of that name.

        Raises ``Misconfigured`` (``cluster_forbids``, ``cluster_refuses``) and ``ClusterAway``.
        """
        try:
            return await patience.call(partial(self._client.get, f"{self._path}/{name}"))
        except ClusterRefused as error:
            if error.missing:
                return None
            raise refused(f"to show the policy {name}", error) from error

    async def create(self, manifest: Manifest, patience: Patience) -> Object:
        """Create a policy and return it as it was read back.

        It is asked for by a strict dry run first, so that whatever would bend it on its way is
        noticed before it exists. Raises ``IntegrityViolation`` when it is not what was asked for.
        """
        name = called(manifest)
        path = f"{self._path}/{name}"
        apply = partial(self._client.apply, path, manifest, FIELD_MANAGER)
        try:
            compare(manifest, await patience.call(partial(apply, dry_run=True)))
            made = await patience.call(apply)
        except ClusterRefused as error:
            raise refused(f"the policy {name}", error) from error
        if made["metadata"].get("generation") != 1:
            raise _differs(name, "it was there already, and another one")
        found = await self.read(name, patience)
        if found is None:
            raise _differs(name, "it was deleted as soon as it was there")
        compare(manifest, found)
        return found

    async def delete(self, found: Object, patience: Patience) -> None:
        """Delete this very object; one that is gone is no error.

        Raises ``Misconfigured`` (``cluster_forbids``, ``cluster_refuses``), or ``ClusterAway`` when
        nobody answered; then it may be gone all the same.
        """
        name, uid = found["metadata"]["name"], found["metadata"]["uid"]
        try:
            await patience.call(partial(self._client.delete, f"{self._path}/{name}", uid=uid))
        except ClusterRefused as error:
            raise refused(f"to delete the policy {name}", error) from error

    async def policies(self, patience: Patience) -> dict[str, Object]:
        """Return all CiliumNetworkPolicies of the namespace by name.

        Raises ``Misconfigured`` (``cluster_forbids``, ``cluster_refuses``) and ``ClusterAway``.
        """
        try:
            found = await patience.call(partial(self._client.get, self._path))
        except ClusterRefused as error:
            raise refused(f"to list {_POLICIES} of {self._namespace}", error) from error
        return {item["metadata"]["name"]: item for item in found["items"]}

    async def listing(self, patience: Patience) -> Listing:
        """Return all that decides about networks in the namespace."""
        policies = await self.policies(patience)
        others: list[str] = []
        unseen: list[str] = []
        for group, plural, kind in _OTHERS:
            path = f"/apis/{group}/namespaces/{self._namespace}/{plural}"
            try:
                found = await patience.call(partial(self._client.get, path))
            except ClusterRefused as error:
                if not error.missing:  # a kind that this cluster does not have
                    unseen.append(f"cannot list {plural}: {error.message}")
                continue
            others += [f"{kind}/{item['metadata']['name']}" for item in found["items"]]
        return Listing(policies, tuple(others), tuple(unseen))

    async def valid(self, found: Object, seconds: float, patience: Patience, *, told: bool) -> None:
        """Return when Cilium says that a policy is valid.

        ``told`` is whether this cluster says such things at all; without, nothing is waited for,
        but a "no" counts. Raises ``Misconfigured`` (``policy_invalid``) with Cilium's reason, and
        ``Retryable`` (``policy_unconfirmed``) when nothing is said within ``seconds``.
        """
        if is_valid(found) or not told:
            return
        name = found["metadata"]["name"]
        try:
            async with asyncio.timeout(seconds) as bound:
                await self._until_valid(found, patience)
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise Retryable(
                "policy_unconfirmed",
                f"Cilium has not said within {seconds:g} s whether the policy {name} is valid; "
                "look at the Cilium operator, then try again",
                step="bind",
            ) from error

    async def _until_valid(self, found: Object, patience: Patience) -> None:
        """Follow a policy's status; a watch that ends begins anew with what holds then."""
        name = found["metadata"]["name"]
        current: Object | None = found
        while current is not None:
            if is_valid(current):
                return
            version = str(current["metadata"]["resourceVersion"])
            try:
                async with aclosing(self._watch(version)) as events:
                    async for kind, item in events:
                        if kind == "BOOKMARK" or item["metadata"]["name"] != name:
                            continue
                        if kind == "DELETED":
                            break
                        if is_valid(item):
                            return
            except (WatchExpired, ClusterAway):
                await asyncio.sleep(_AGAIN)
            except ClusterRefused as error:
                raise refused(f"to watch the policies of {self._namespace}", error) from error
            current = await self.read(name, patience)
        raise _differs(name, "it was deleted while Cilium looked at it")

    def _watch(self, version: str) -> AsyncGenerator[tuple[str, Object], None]:
        watch = self._client.watch(self._path, version)
        return cast("AsyncGenerator[tuple[str, Object], None]", watch)  # so that it can be closed


def compare(manifest: Manifest, found: Object) -> None:
    """Raise ``IntegrityViolation`` (``policy_differs``) unless the cluster has what is wanted."""
    if where := faults(manifest, found):
        raise _differs(called(manifest), f"it differs in {', '.join(where)}")


def faults(manifest: Manifest, found: Object) -> tuple[str, ...]:
    """Return where an object is not the wanted one. One that is being deleted is not."""
    ending = ("metadata.deletionTimestamp",) if "deletionTimestamp" in found["metadata"] else ()
    return differences(manifest, found) + ending


def verdict(found: Object) -> Mapping[str, Any] | None:
    """Return Cilium's condition ``Valid`` of a policy, where there is one."""
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next((item for item in conditions if item.get("type") == "Valid"), None)


def is_valid(found: Object) -> bool:
    """Say whether Cilium has said yes. Raises ``Misconfigured`` when it has said no."""
    condition = verdict(found)
    if condition is None or condition.get("status") not in ("True", "False"):
        return False
    if condition["status"] == "False":
        name = found["metadata"]["name"]
        raise Misconfigured(
            "policy_invalid",
            f"Cilium refuses the policy {name}: {condition.get('message') or 'without a reason'}",
            step="bind",
        )
    return True


def _differs(name: str, how: str) -> IntegrityViolation:
    return IntegrityViolation(
        "policy_differs",
        f"the policy {name} in the cluster is not the one that was approved: {how}; "
        "see who writes policies there, delete it and launch again",
        step="bind",
    )
