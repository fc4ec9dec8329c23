"""Where a launch stands, and the only table of what may follow what.

``docs/launch-states.md`` shows the same table to people; a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class LaunchState(StrEnum):
    """Where a launch stands. ``TRANSITIONS`` is the only table of what may follow what."""

    RECEIVED = "received"
    DENIED = "denied"
    AWAITING_APPROVAL = "awaiting_approval"
    REJECTED = "rejected"
    EXPIRED = "expired"
    QUEUED = "queued"
    BINDING = "binding"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return not TRANSITIONS[self]


_S = LaunchState
TRANSITIONS: Mapping[LaunchState, frozenset[LaunchState]] = {
    _S.RECEIVED: frozenset({_S.DENIED, _S.AWAITING_APPROVAL, _S.QUEUED}),
    _S.AWAITING_APPROVAL: frozenset({_S.QUEUED, _S.REJECTED, _S.EXPIRED, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.BINDING, _S.CANCELLING}),
    _S.BINDING: frozenset({_S.RUNNING, _S.CANCELLING}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLING}),
    _S.CANCELLING: frozenset({_S.CANCELLED}),
    _S.DENIED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}
