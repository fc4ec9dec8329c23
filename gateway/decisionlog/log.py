"""The seam: what the gateway asks of a decision log, whichever store holds it.

Every implementation passes ``tests/contract/test_contract_decisionlog.py``. Sequence numbers start
at 0 and have no gaps: they are the indices of the leaves of the Merkle tree. Hashes are lower-case
hexadecimal. Whatever hands out an entry has checked that the gateway itself wrote it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.canonical import Json
from gateway.model import Receipt

Change = Callable[[sqlite3.Connection, int], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened, before it has a place in the log. ``event`` is one of ``events.CODES``."""

    event: str
    body: Mapping[str, Json] = field(default_factory=dict)
    launch_id: str | None = None
    decision_id: str | None = None
    requested_by: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry of the log, its authenticity checked: the bytes as stored, and their meaning."""

    seq: int
    raw: bytes
    leaf_hash: str
    value: Mapping[str, Any]


class DecisionLog(Protocol):
    """Append-only, durable, provable."""

    @property
    def size(self) -> int:
        """The number of durable entries."""
        ...

    async def append(self, entry: Entry, *, change: Change | None = None) -> Receipt:
        """Make ``change`` and then the entry durable, both or neither.

        ``change`` gets the connection and the entry's sequence number; what it raises reaches the
        caller, and nothing was appended. Raises ``ValueError`` for an unknown event, ``Rejected``
        (``entry_too_large``, ``not_canonical``), ``OutcomeUnknown`` or ``Retryable``.
        """
        ...

    async def append_all(
        self, entries: Sequence[Entry], *, change: Change | None = None
    ) -> list[Receipt]:
        """Like ``append`` for several entries in a row; ``change`` gets the first number."""
        ...

    async def entry(self, seq: int) -> LogEntry:
        """Return one entry. Raises ``NotFound`` or ``IntegrityViolation``."""
        ...

    async def receipt(self, seq: int) -> Receipt:
        """Return the receipt of an entry again. Raises like ``entry``."""
        ...

    async def authentic(self, receipt: Receipt) -> LogEntry:
        """Return the entry that ``receipt`` stands for.

        Raises ``IntegrityViolation`` (``log_entry_forged``) unless the gateway itself wrote
        exactly these bytes at this place.
        """
        ...

    async def entries(
        self,
        start: int,
        limit: int,
        *,
        launch_id: str | None = None,
        event_prefix: str | None = None,
    ) -> list[LogEntry]:
        """Return at most ``limit`` (and 1,000) entries from ``start`` on, oldest first."""
        ...

    async def newest(self, limit: int, *, event_prefix: str | None = None) -> list[LogEntry]:
        """Return at most ``limit`` (and 1,000) entries, newest first."""
        ...

    async def find(self, decision_id: str) -> LogEntry | None:
        """Return the first entry of a decision: the one that decided."""
        ...

    async def root(self, size: int | None = None) -> str:
        """Return the root of the tree, now or as it was at ``size`` entries."""
        ...

    async def inclusion_proof(self, seq: int, size: int) -> list[str]:
        """Prove that entry ``seq`` is in the tree of ``size`` (RFC 9162 section 2.1.3)."""
        ...

    async def consistency_proof(self, size1: int, size2: int) -> list[str]:
        """Prove that the tree of ``size2`` only added to that of ``size1`` (section 2.1.4)."""
        ...

    async def checkpoint(self) -> str | None:
        """Return the newest signed checkpoint, if there is one yet."""
        ...
