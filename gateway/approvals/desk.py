"""What waits for people, and who has agreed: the rows behind step 6.

An approval request is bound to one plan digest, expires, and is consumed once. Functions take the
connection of an open transaction, as in ``store/launches.py``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway.errors import Conflict, NotFound

State = Literal["open", "used", "rejected", "expired", "cancelled", "void"]

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS approvals (
        launch_id TEXT PRIMARY KEY, plan_digest TEXT NOT NULL, needs TEXT NOT NULL,
        expires_at TEXT NOT NULL, state TEXT NOT NULL) STRICT""",
    "CREATE INDEX IF NOT EXISTS approvals_by_state ON approvals (state, expires_at)",
    """CREATE TABLE IF NOT EXISTS approval_votes (
        launch_id TEXT NOT NULL, person TEXT NOT NULL, account TEXT NOT NULL,
        rules TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (launch_id, person)) STRICT""",
)


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """One plan that waits. ``needs`` are ``ApprovalNeed.to_json`` forms; times are RFC 3339."""

    launch_id: str
    plan_digest: str
    needs: tuple[Mapping[str, Any], ...]
    expires_at: str
    state: State
    agreed: Mapping[str, tuple[str, ...]]  # person -> rules covered

    def covered_by(self, groups: Collection[str]) -> tuple[str, ...]:
        """Return the rules whose approver groups meet ``groups``."""
        return tuple(need["rule"] for need in self.needs if set(need["groups"]) & set(groups))

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the rules that nobody has agreed to yet."""
        done = {rule for rules in self.agreed.values() for rule in rules}
        return tuple(need["rule"] for need in self.needs if need["rule"] not in done)


def open_request(
    connection: sqlite3.Connection,
    launch_id: str,
    plan_digest: str,
    needs: Sequence[Mapping[str, Any]],
    expires_at: str,
) -> None:
    """Store what waits."""
    connection.execute(
        "INSERT INTO approvals VALUES (?, ?, ?, ?, 'open')",
        (launch_id, plan_digest, json.dumps(list(needs)), expires_at),
    )


def get(connection: sqlite3.Connection, launch_id: str) -> ApprovalRequest:
    """Return the approval request of a launch. Raises ``NotFound``."""
    row = connection.execute(
        "SELECT launch_id, plan_digest, needs, expires_at, state FROM approvals"
        " WHERE launch_id = ?",
        (launch_id,),
    ).fetchone()
    if row is None:
        raise NotFound("approval_not_found", "nothing waits for approval there", step="approve")
    return _load(connection, row)


def waiting(connection: sqlite3.Connection) -> list[ApprovalRequest]:
    """Return every open request, the one that expires first before the others."""
    rows = connection.execute(
        "SELECT launch_id, plan_digest, needs, expires_at, state FROM approvals"
        " WHERE state = 'open' ORDER BY expires_at, launch_id"
    ).fetchall()
    return [_load(connection, row) for row in rows]


def check_usable(request: ApprovalRequest, plan_digest: str, now: str) -> None:
    """Raise ``Conflict`` unless the request is open, unexpired and for exactly this plan."""
    if request.state != "open":
        raise Conflict(
            "approval_finished", f"this approval request is {request.state}", step="approve"
        )
    if now >= request.expires_at:
        raise Conflict(
            "approval_expired", "this approval request has expired; launch again", step="approve"
        )
    if plan_digest != request.plan_digest:
        raise Conflict(
            "plan_digest_stale",
            "the plan digest is not the one that waits; read the launch again, then decide",
            step="approve",
            field="plan_digest",
        )


def vote(
    connection: sqlite3.Connection,
    launch_id: str,
    person: str,
    account: str,
    rules: Sequence[str],
    seq: int,
) -> ApprovalRequest:
    """Record that one person agrees to some rules. Raises ``Conflict`` for a second vote."""
    try:
        connection.execute(
            "INSERT INTO approval_votes VALUES (?, ?, ?, ?, ?)",
            (launch_id, person, account, json.dumps(list(rules)), seq),
        )
    except sqlite3.IntegrityError as error:
        raise Conflict(
            "already_approved",
            "you have approved this plan already; another person has to agree too",
            step="approve",
        ) from error
    return get(connection, launch_id)


def close(connection: sqlite3.Connection, launch_id: str, state: State) -> None:
    """End an open request. Raises ``Conflict`` when it was ended before: it is used once."""
    changed = connection.execute(
        "UPDATE approvals SET state = ? WHERE launch_id = ? AND state = 'open'", (state, launch_id)
    ).rowcount
    if changed != 1:
        raise Conflict("approval_finished", "this approval request is finished", step="approve")


def _load(connection: sqlite3.Connection, row: Sequence[Any]) -> ApprovalRequest:
    votes = connection.execute(
        "SELECT person, rules FROM approval_votes WHERE launch_id = ?", (row[0],)
    )
    return ApprovalRequest(
        launch_id=row[0],
        plan_digest=row[1],
        needs=tuple(json.loads(row[2])),
        expires_at=row[3],
        state=row[4],
        agreed={person: tuple(json.loads(rules)) for person, rules in votes},
    )
