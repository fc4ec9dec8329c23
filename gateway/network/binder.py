"""The seam of step 7, and its embedded default, which enforces nothing and says so.

A binder makes the profiles of a plan real before the first task exists, and fails closed: when
``bind`` raises, nothing runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.errors import Misconfigured
from gateway.model import Receipt
from gateway.settings import Environment


@dataclass(frozen=True, slots=True)
class Binding:
    """The profiles of a run, in force as far as ``enforcement`` says."""

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

    async def bind(self, profiles: Sequence[str], receipt: Receipt) -> Binding:
        """Return when every profile is in force. Raises ``GatewayError`` and then nothing runs."""
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

    def __init__(self, environment: Environment) -> None:
        """Raise ``Misconfigured`` in production."""
        if environment == "production":
            raise Misconfigured(
                "unsafe_binder_in_production",
                "the local executor enforces no network policy and is refused in production",
                step="bind",
            )

    async def bind(self, profiles: Sequence[str], receipt: Receipt) -> Binding:
        """Return the profile names, with the warning in the operator's log."""
        structlog.get_logger().warning(
            "network_not_enforced", profiles=list(profiles), decision_seq=receipt.seq
        )
        return Binding(tuple(profiles), self.enforcement)
