"""The log's tables. What is in them is only ever added to, and triggers hold everybody to it.

Someone who owns the database can drop a trigger: that is what the MACs, the tree and the signer
are for. The triggers stop mistakes, and a second writer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from gateway.decisionlog.merkle import Frontier, Node
from gateway.errors import IntegrityViolation

_ENTRIES = """CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, event TEXT NOT NULL,
    launch_id TEXT, decision_id TEXT, mac BLOB NOT NULL, bytes BLOB NOT NULL) STRICT"""

_NODES = """CREATE TABLE IF NOT EXISTS nodes (
    level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (level, idx)) STRICT, WITHOUT ROWID"""

_CHECKPOINTS = """CREATE TABLE IF NOT EXISTS checkpoints (
    size INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT"""

_SAME_ROW = {  # a REPLACE would otherwise delete without a DELETE
    "entries": "NEW.seq <> (SELECT coalesce(max(seq), -1) + 1 FROM entries)",
    "nodes": "EXISTS (SELECT 1 FROM nodes WHERE level = NEW.level AND idx = NEW.idx)",
    "checkpoints": "EXISTS (SELECT 1 FROM checkpoints WHERE size = NEW.size)",
}

SCHEMA = (
    _ENTRIES,
    """CREATE INDEX IF NOT EXISTS entries_by_launch ON entries (launch_id, seq)
        WHERE launch_id IS NOT NULL""",
    """CREATE INDEX IF NOT EXISTS entries_by_decision ON entries (decision_id, seq)
        WHERE decision_id IS NOT NULL""",
    _NODES,
    _CHECKPOINTS,
    *(
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table}"
        f" BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
        for table in _SAME_ROW
        for verb in ("update", "delete")
    ),
    *(
        f"CREATE TRIGGER IF NOT EXISTS {table}_in_order BEFORE INSERT ON {table} WHEN {condition}"
        f" BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
        for table, condition in _SAME_ROW.items()
    ),
)


def add_nodes(connection: sqlite3.Connection, nodes: Iterable[Node]) -> None:
    """Store nodes that have become complete."""
    connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", nodes)


def node(connection: sqlite3.Connection, level: int, index: int) -> bytes:
    """Return a stored node. Raises ``IntegrityViolation`` (``log_damaged``) when it is absent."""
    query = "SELECT hash FROM nodes WHERE level = ? AND idx = ?"
    found = connection.execute(query, (level, index)).fetchone()
    if found is None:
        raise IntegrityViolation(
            "log_damaged",
            "the decision log has lost a part of its tree",
            diagnostics=f"node {level}/{index}",
        )
    return bytes(found[0])


def size(connection: sqlite3.Connection) -> int:
    """Return the number of entries."""
    (count,) = connection.execute("SELECT coalesce(max(seq), -1) + 1 FROM entries").fetchone()
    return int(count)


def frontier(connection: sqlite3.Connection, at: int) -> Frontier:
    """Return the stored tree as it was at ``at`` entries."""
    return Frontier.read(lambda level, index: node(connection, level, index), at)


def newest_checkpoint(connection: sqlite3.Connection) -> str | None:
    """Return the text of the newest stored checkpoint."""
    found = connection.execute("SELECT text FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    return None if found is None else str(found[0])


def add_checkpoint(connection: sqlite3.Connection, size: int, text: str) -> None:
    """Store a checkpoint, unless there is one of its size."""
    connection.execute(
        "INSERT INTO checkpoints SELECT :size, :text"
        " WHERE NOT EXISTS (SELECT 1 FROM checkpoints WHERE size = :size)",
        {"size": size, "text": text},
    )
