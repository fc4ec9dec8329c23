"""Launches, their graphs, tasks and idempotency keys: the rows behind the decision log.

Every function that changes something takes the connection of an open transaction and is meant to
be the ``change`` of an append, so that a row and its log entry commit together or not at all. This
module never opens a transaction and never decides anything but whether a transition is legal.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.canonical import sha256
from gateway.errors import Conflict, IntegrityViolation, NotFound
from gateway.model import Member, Principal, TaskGraph
from gateway.states import TRANSITIONS, LaunchState

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS launches (
        id TEXT PRIMARY KEY, state TEXT NOT NULL, pipeline TEXT NOT NULL,
        subject TEXT NOT NULL, principal_key TEXT NOT NULL,
        created_at TEXT NOT NULL, updated_at TEXT NOT NULL, record TEXT NOT NULL) STRICT""",
    "CREATE INDEX IF NOT EXISTS launches_by_subject ON launches (subject, created_at)",
    "CREATE INDEX IF NOT EXISTS launches_by_state ON launches (state)",
    "CREATE TABLE IF NOT EXISTS graphs (digest TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS sealed (launch_id TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT",
    """CREATE TABLE IF NOT EXISTS tasks (
        launch_id TEXT NOT NULL, key TEXT NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL,
        explanation TEXT NOT NULL, outputs TEXT NOT NULL, updated_at TEXT NOT NULL,
        PRIMARY KEY (launch_id, key)) STRICT""",
    """CREATE TABLE IF NOT EXISTS idempotency (
        scope TEXT PRIMARY KEY, body_mac TEXT NOT NULL, launch_id TEXT NOT NULL,
        expires_at TEXT NOT NULL) STRICT""",
    """CREATE TABLE IF NOT EXISTS approved (
        pipeline TEXT NOT NULL, code_digest TEXT NOT NULL, content_digest TEXT NOT NULL,
        seq INTEGER PRIMARY KEY) STRICT""",
)

_REMEMBERED = 20  # approved code digests of one pipeline
_COLUMNS = "id, state, pipeline, created_at, updated_at, record"


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """One launch as stored. ``parameters`` are masked; times are RFC 3339."""

    id: str
    state: LaunchState
    pipeline: str
    parameters: Mapping[str, str]
    reason: str
    surface: str
    principal: Principal
    created_at: str
    updated_at: str
    decision: Mapping[str, Any] | None = None
    plan: Mapping[str, Any] | None = None
    graph_ref: str | None = None  # SHA-256 of the stored graph's bytes
    decision_seq: int | None = None
    approval_seqs: tuple[int, ...] = ()
    outcome: str = ""
    outputs: tuple[str, ...] = ()
    workspace: str = ""  # the folder that the run writes into, from the moment it is bound
    enforcement: str = "none"
    tasks: Mapping[str, int] = field(default_factory=dict)  # counts by state, once ended
    classes: tuple[str, ...] = ()  # data classes that any of its tasks carries


def principal_from_json(value: Mapping[str, Any]) -> Principal:
    """Read what ``Principal.to_json`` wrote into our own store."""

    def member(item: Mapping[str, Any]) -> Member:
        return Member(item["issuer"], item["subject"], item["kind"], tuple(item["groups"]))

    return Principal(
        subject=member(value["subject"]),
        kind=value["kind"],
        client_id=value["client_id"],
        actors=tuple(member(item) for item in value["actors"]),
    )


def insert(connection: sqlite3.Connection, record: LaunchRecord) -> None:
    """Store a new launch."""
    connection.execute(
        "INSERT INTO launches VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.id,
            record.state,
            record.pipeline,
            record.principal.subject.account,
            record.principal.key,
            record.created_at,
            record.updated_at,
            _dump(record),
        ),
    )


def transition(
    connection: sqlite3.Connection,
    launch_id: str,
    target: LaunchState,
    at: str,
    **changes: Any,  # noqa: ANN401 -- fields of LaunchRecord, checked by its constructor
) -> LaunchRecord:
    """Move a launch to ``target`` along ``TRANSITIONS`` and set fields of its record.

    Raises ``Conflict`` (code ``launch_state``) when the table does not allow the move: the
    surrounding transaction then changes nothing.
    """
    record = get(connection, launch_id)
    if target not in TRANSITIONS[record.state]:
        raise Conflict(
            "launch_state",
            f"the launch is {record.state}; it cannot become {target}",
            field="state",
        )
    return _update(connection, record, state=target, updated_at=at, **changes)


def amend(connection: sqlite3.Connection, launch_id: str, at: str, **changes: Any) -> LaunchRecord:  # noqa: ANN401 -- as above
    """Set fields of a launch's record without changing its state."""
    return _update(connection, get(connection, launch_id), updated_at=at, **changes)


def get(connection: sqlite3.Connection, launch_id: str) -> LaunchRecord:
    """Return one launch. Raises ``NotFound``."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM launches WHERE id = ?",  # noqa: S608 -- a constant
        (launch_id,),
    ).fetchone()
    if row is None:
        raise NotFound("launch_not_found", "there is no such launch", field="launch_id")
    return _load(row)


def recent(
    connection: sqlite3.Connection, *, subject: str | None = None, limit: int = 50
) -> list[LaunchRecord]:
    """Return launches, newest first; only those of one subject account when it is given."""
    where, arguments = ("WHERE subject = ?", (subject,)) if subject else ("", ())
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM launches {where} ORDER BY created_at DESC, id DESC LIMIT ?",  # noqa: S608 -- constants
        (*arguments, limit),
    ).fetchall()
    return [_load(row) for row in rows]


def in_states(connection: sqlite3.Connection, states: Sequence[LaunchState]) -> list[LaunchRecord]:
    """Return every launch in one of ``states``, oldest first."""
    marks = ",".join("?" * len(states))
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM launches WHERE state IN ({marks}) ORDER BY created_at, id",  # noqa: S608 -- constants
        tuple(states),
    ).fetchall()
    return [_load(row) for row in rows]


def count_by_state(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many launches there are in each state that any is in."""
    return dict(connection.execute("SELECT state, count(*) FROM launches GROUP BY state"))


# --- graphs and sealed parameters ---------------------------------------------------------------


def put_graph(connection: sqlite3.Connection, launch_id: str, data: bytes, seal: bytes) -> None:
    """Store a graph's bytes once, by their SHA-256, and the launch's masked parameters, sealed."""
    connection.execute("INSERT OR IGNORE INTO graphs VALUES (?, ?)", (sha256(data), data))
    connection.execute("INSERT OR REPLACE INTO sealed VALUES (?, ?)", (launch_id, seal))


def get_graph(connection: sqlite3.Connection, ref: str) -> TaskGraph:
    """Return the graph whose bytes hash to ``ref``, without sealed parameters.

    Raises ``NotFound``, or ``IntegrityViolation`` when the stored bytes are not those.
    """
    row = connection.execute("SELECT bytes FROM graphs WHERE digest = ?", (ref,)).fetchone()
    if row is None:
        raise NotFound("graph_not_found", "there is no such graph", field="graph_ref")
    if sha256(row[0]) != ref:
        raise IntegrityViolation("graph_changed", "the stored graph is not what was decided")
    return TaskGraph.from_json(json.loads(row[0]))


def get_sealed(connection: sqlite3.Connection, launch_id: str) -> bytes | None:
    """Return the encrypted masked parameters of a launch, while they are kept."""
    row = connection.execute(
        "SELECT bytes FROM sealed WHERE launch_id = ?", (launch_id,)
    ).fetchone()
    return bytes(row[0]) if row else None


def forget_sealed(connection: sqlite3.Connection, launch_id: str) -> None:
    """Erase the masked parameters: done in the transaction that ends the launch."""
    connection.execute("DELETE FROM sealed WHERE launch_id = ?", (launch_id,))


# --- tasks --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskRow:
    """The newest attempt of one task."""

    key: str
    attempt: int
    state: str
    explanation: str
    outputs: tuple[str, ...]
    updated_at: str


def put_task(connection: sqlite3.Connection, launch_id: str, row: TaskRow) -> None:
    """Store the newest state of a task."""
    connection.execute(
        "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            launch_id,
            row.key,
            row.attempt,
            row.state,
            row.explanation,
            json.dumps(row.outputs),
            row.updated_at,
        ),
    )


def tasks(connection: sqlite3.Connection, launch_id: str) -> dict[str, TaskRow]:
    """Return the newest state of each task of a launch, by node key."""
    rows = connection.execute(
        "SELECT key, attempt, state, explanation, outputs, updated_at FROM tasks"
        " WHERE launch_id = ?",
        (launch_id,),
    )
    return {r[0]: TaskRow(r[0], r[1], r[2], r[3], tuple(json.loads(r[4])), r[5]) for r in rows}


# --- idempotency --------------------------------------------------------------------------------


def claim_key(
    connection: sqlite3.Connection, scope: str, body_mac: str, launch_id: str, now: str, until: str
) -> str:
    """Bind an idempotency key to a launch, or return the launch that it is bound to already.

    Raises ``Conflict`` (code ``idempotency_key_reused``) when the key came with another body.
    """
    connection.execute("DELETE FROM idempotency WHERE expires_at <= ?", (now,))
    row = connection.execute(
        "SELECT body_mac, launch_id FROM idempotency WHERE scope = ?", (scope,)
    ).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO idempotency VALUES (?, ?, ?, ?)", (scope, body_mac, launch_id, until)
        )
        return launch_id
    return _bound(row, body_mac)


def claimed(connection: sqlite3.Connection, scope: str, body_mac: str, now: str) -> str | None:
    """Return the launch that an idempotency key is bound to, if any. Raises as ``claim_key``."""
    row = connection.execute(
        "SELECT body_mac, launch_id FROM idempotency WHERE scope = ? AND expires_at > ?",
        (scope, now),
    ).fetchone()
    return None if row is None else _bound(row, body_mac)


def _bound(row: tuple[str, str], body_mac: str) -> str:
    """Return the launch of a key's row, if the key came with this body."""
    known_mac, launch_id = row
    if known_mac != body_mac:
        raise Conflict(
            "idempotency_key_reused",
            "this Idempotency-Key came with another request before; use a new key",
            step="admit",
            field="Idempotency-Key",
        )
    return launch_id


# --- history, as policy sees it -----------------------------------------------------------------


def put_approved(
    connection: sqlite3.Connection, pipeline: str, code_digest: str, content_digest: str, seq: int
) -> None:
    """Remember that people agreed to this content."""
    connection.execute(
        "INSERT INTO approved VALUES (?, ?, ?, ?)", (pipeline, code_digest, content_digest, seq)
    )


def history(
    connection: sqlite3.Connection,
    subject: str,
    pipeline: str,
    hour_ago: str,
    day_ago: str,
    besides: str = "",
) -> tuple[dict[str, int], list[int]]:
    """Return exact counts of one subject's launches, and where approvals of the pipeline stand.

    ``besides`` is the launch that is asked about: it does not count. The second value are sequence
    numbers of the newest approval of each code digest; the log has to confirm them.
    """
    active = (LaunchState.QUEUED, LaunchState.BINDING, LaunchState.RUNNING)

    def count(sql: str, *arguments: str) -> int:
        row = connection.execute(
            f"SELECT count(*) FROM launches WHERE subject = ? AND id != ? AND {sql}",  # noqa: S608 -- constants
            (subject, besides, *arguments),
        ).fetchone()
        return int(row[0])

    approved = connection.execute(
        "SELECT max(seq) FROM approved WHERE pipeline = ? GROUP BY code_digest"
        " ORDER BY 1 DESC LIMIT ?",
        (pipeline, _REMEMBERED),
    ).fetchall()
    counts = {
        "launches_last_hour": count("created_at > ?", hour_ago),
        "launches_today": count("created_at > ?", day_ago),
        "running": count("state IN (?, ?, ?)", *active),
    }
    return counts, [int(row[0]) for row in approved]


# --- rows <-> records ---------------------------------------------------------------------------


def _update(
    connection: sqlite3.Connection,
    record: LaunchRecord,
    **changes: Any,  # noqa: ANN401 -- as above
) -> LaunchRecord:
    values = {name: getattr(record, name) for name in LaunchRecord.__slots__} | changes
    updated = LaunchRecord(**values)
    connection.execute(
        "UPDATE launches SET state = ?, updated_at = ?, record = ? WHERE id = ?",
        (updated.state, updated.updated_at, _dump(updated), updated.id),
    )
    return updated


def _dump(record: LaunchRecord) -> str:
    return json.dumps(
        {
            "parameters": dict(record.parameters),
            "reason": record.reason,
            "surface": record.surface,
            "principal": record.principal.to_json(),
            "decision": record.decision,
            "plan": record.plan,
            "graph_ref": record.graph_ref,
            "decision_seq": record.decision_seq,
            "approval_seqs": list(record.approval_seqs),
            "outcome": record.outcome,
            "outputs": list(record.outputs),
            "workspace": record.workspace,
            "enforcement": record.enforcement,
            "tasks": dict(record.tasks),
            "classes": list(record.classes),
        }
    )


def _load(row: Sequence[Any]) -> LaunchRecord:
    launch_id, state, pipeline, created_at, updated_at, text = row
    value = json.loads(text)
    value["principal"] = principal_from_json(value["principal"])
    value["approval_seqs"] = tuple(value["approval_seqs"])
    value["outputs"] = tuple(value["outputs"])
    value["classes"] = tuple(value["classes"])
    return LaunchRecord(
        id=launch_id,
        state=LaunchState(state),
        pipeline=pipeline,
        created_at=created_at,
        updated_at=updated_at,
        **value,
    )
