"""The seam of step 7, and its embedded default, which enforces nothing and says so.

A binder makes the profiles of a plan real before the first task exists, and fails closed: when
``bind`` raises, nothing runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.canonical import Json
from gateway.errors import Misconfigured
from gateway.model import Receipt
from gateway.network.profiles import Profile
from gateway.network.sites import EMBEDDED, Site
from gateway.settings import Environment

Entries = Mapping[str, Mapping[str, Json]]  # the catalogue, as `Destination.to_json` gives it


@dataclass(frozen=True, slots=True)
class BindOrder:
    """What is to be put in force, for which launch, on whose account and on whose word.

    ``principal`` is ``Principal.key``, by which new profiles are counted. ``receipt`` is that of
    the decision: there is no order without one.
    """

    launch_id: str
    principal: str
    profiles: tuple[Profile, ...]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Binding:
    """The profiles of a run by name, sorted, in force as far as ``enforcement`` says."""

    profiles: tuple[str, ...]
    enforcement: str


class NetworkBinder(Protocol):
    """Bind profiles for a decision that is in the log."""

    @property
    def enforcement(self) -> str:
        """``none``, or who enforces; policy sees it as ``input.request.enforcement``."""
        ...

    @property
    def warning(self) -> str:
        """What everybody who launches must know about that; empty when nothing is missing."""
        ...

    @property
    def site(self) -> Site:
        """Where profiles are in force; it enters their names."""
        ...

    async def catalogue(self, entries: Entries, names: Collection[str]) -> Entries:
        """Return the entries, those Services among ``names`` with what they are now (``service``).

        Asked when planning and again when binding: a Service that has changed in between gives
        another profile. Raises ``Unprocessable`` for a Service that cannot become a rule.
        """
        ...

    async def bind(self, order: BindOrder) -> Binding:
        """Return when every profile is in force. Raises ``GatewayError`` and then nothing runs.

        Binding again, after a crash for instance, is no error. Every launch that was bound, or
        could not be, is given back by ``release`` when it has ended.
        """
        ...

    async def release(self, launch_id: str) -> None:
        """Say that a launch needs its profiles no longer. An unknown launch is no error."""
        ...

    async def close(self) -> None:
        """Give back what the binder holds. What is in force stays in force."""
        ...


class UnsafeUnenforcedBinder:
    """Names the profiles and enforces none of them: for one machine, without a cluster.

    Tasks that declare no destination have no network at all all the same (the executor's sandbox);
    tasks that declare one have the host's. Refuses to exist in production.
    """

    enforcement = "none"
    warning = (
        "UNSAFE: no network policy is enforced on tasks with egress; "
        "they have this host's network. Tasks without egress have none."
    )

    def __init__(self, environment: Environment, site: Site = EMBEDDED) -> None:
        """Raise ``Misconfigured`` in production."""
        if environment == "production":
            raise Misconfigured(
                "unsafe_binder_in_production",
                "the local executor enforces no network policy and is refused in production",
                step="bind",
            )
        self.site = site

    async def catalogue(self, entries: Entries, names: Collection[str]) -> Entries:  # noqa: ARG002 -- the seam's signature
        """Return the entries as they are: there is no cluster to ask."""
        return entries

    async def bind(self, order: BindOrder) -> Binding:
        """Return the profile names, with the warning in the operator's log."""
        names = tuple(sorted({item.name for item in order.profiles}))
        structlog.get_logger().warning(
            "network_not_enforced", profiles=list(names), decision_seq=order.receipt.seq
        )
        return Binding(names, self.enforcement)

    async def release(self, launch_id: str) -> None:
        """Do nothing: nothing was held."""

    async def close(self) -> None:
        """Do nothing: nothing is open."""
