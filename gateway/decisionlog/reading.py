"""Read entries back, each checked against the writer's MAC; and check the log's head.

The columns by which entries are searched are checked against the bytes as well, so that an entry
cannot be passed off as another launch's.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Mapping

from gateway.decisionlog import note, record, tables
from gateway.decisionlog.log import LogEntry
from gateway.decisionlog.merkle import Frontier
from gateway.decisionlog.verifier.proofs import leaf_hash
from gateway.errors import IntegrityViolation, Misconfigured

_SELECT = "SELECT seq, bytes, mac, id, event, launch_id, decision_id FROM entries"
_EVENT = "substr(event, 1, length(:prefix)) = :prefix"

ONE = f"{_SELECT} WHERE seq = :seq"
OF_DECISION = f"{_SELECT} WHERE decision_id = :decision_id ORDER BY seq LIMIT 1"
FROM_START = f"{_SELECT} WHERE seq >= :start AND {_EVENT} ORDER BY seq LIMIT :limit"
OF_LAUNCH = (
    f"{_SELECT} WHERE launch_id = :launch_id AND seq >= :start AND {_EVENT}"
    " ORDER BY seq LIMIT :limit"
)
NEWEST = f"{_SELECT} WHERE {_EVENT} ORDER BY seq DESC LIMIT :limit"


def select(
    connection: sqlite3.Connection, key: bytes, query: str, values: Mapping[str, str | int]
) -> list[LogEntry]:
    """Return what a query above finds. Raises ``IntegrityViolation`` (``log_entry_forged``)."""
    return [_authentic(key, *row) for row in connection.execute(query, values)]


def _authentic(key: bytes, seq: int, raw: bytes, mac: bytes, *columns: str | None) -> LogEntry:
    if not hmac.compare_digest(mac, record.authentication(key, seq, raw)):
        raise forged(seq)
    value = json.loads(raw)
    if columns != tuple(value[name] for name in ("id", "event", "launch_id", "decision_id")):
        raise forged(seq)
    return LogEntry(seq, raw, leaf_hash(raw).hex(), value)


def forged(seq: int) -> IntegrityViolation:
    """Say that an entry is not the gateway's own."""
    return IntegrityViolation(
        "log_entry_forged",
        f"entry {seq} of the decision log is not what the gateway wrote: nothing may act on it",
    )


def checked_tree(connection: sqlite3.Connection, key: bytes) -> Frontier:
    """Return the stored tree, once its newest leaf is that of the newest entry.

    Raises ``IntegrityViolation`` (``log_damaged``, ``log_entry_forged``).
    """
    tree = tables.frontier(connection, tables.size(connection))
    if tree.size:
        (last,) = select(connection, key, ONE, {"seq": tree.size - 1})
        if tables.node(connection, 0, last.seq).hex() != last.leaf_hash:
            raise IntegrityViolation(
                "log_damaged", f"entry {last.seq} of the decision log is not the one in its tree"
            )
    return tree


def check_checkpoint(connection: sqlite3.Connection, origin: str) -> None:
    """Compare the log with its newest checkpoint.

    Raises ``IntegrityViolation`` (``log_truncated``, ``log_forked``), or ``Misconfigured``
    (``log_renamed``).
    """
    text = tables.newest_checkpoint(connection)
    if text is None:
        return
    signed, size = note.parse(text), tables.size(connection)
    if signed.origin != origin:
        raise Misconfigured(
            "log_renamed",
            f"this log has signed checkpoints as {signed.origin!r}, it cannot become {origin!r}",
            field="log.origin",
        )
    if size < signed.size:
        raise IntegrityViolation(
            "log_truncated",
            f"{signed.size} entries of the decision log were signed, and only {size} are here",
        )
    if tables.frontier(connection, signed.size).root() != signed.root:
        raise IntegrityViolation(
            "log_forked", "the decision log is not the one that its newest checkpoint signed"
        )
