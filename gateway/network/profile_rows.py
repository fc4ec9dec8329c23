"""Which network profiles there are, who uses them, and who caused them: rows of our own database.

Functions take the connection of an open transaction, as in ``store/launches.py``. A use is written
before its policy is created, so a policy that no row explains is not ours. A profile is ``leaving``
from the moment at which nobody may count on its policy any more until the policy is gone; whoever
uses it meanwhile makes it stay, and has to look for the policy anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.clock import parse_rfc3339, rfc3339
from gateway.errors import IntegrityViolation, TooMany

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS network_profiles (
        name TEXT PRIMARY KEY, canonical TEXT NOT NULL, caused_by TEXT NOT NULL,
        created_at TEXT NOT NULL, unused_since TEXT, leaving INTEGER NOT NULL DEFAULT 0) STRICT""",
    """CREATE TABLE IF NOT EXISTS network_uses (
        profile TEXT NOT NULL, launch_id TEXT NOT NULL,
        PRIMARY KEY (profile, launch_id)) STRICT""",
    "CREATE INDEX IF NOT EXISTS network_uses_by_launch ON network_uses (launch_id)",
    """CREATE TABLE IF NOT EXISTS network_new_profiles (
        caused_by TEXT NOT NULL, created_at TEXT NOT NULL, profile TEXT NOT NULL) STRICT""",
    """CREATE INDEX IF NOT EXISTS network_new_profiles_by_cause
        ON network_new_profiles (caused_by, created_at)""",
)

_DAY = timedelta(days=1)
_UNUSED = (
    "UPDATE network_profiles SET unused_since = ? WHERE unused_since IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM network_uses WHERE profile = name)"
)


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One profile: all of its canonical form, and whether its policy is about to be deleted."""

    name: str
    canonical: str
    leaving: bool


@dataclass(frozen=True, slots=True)
class Used:
    """Names of profiles: those that are new, or were about to leave; and all that there are."""

    new: frozenset[str]
    known: frozenset[str]


def use(
    connection: sqlite3.Connection,
    launch_id: str,
    principal: str,
    forms: Mapping[str, str],
    *,
    now: datetime,
    per_day: int,
) -> Used:
    """Record that a launch uses profiles. From here on nobody collects them.

    ``forms`` are the canonical forms by name. Raises ``TooMany`` (``profiles_per_day``) when the
    principal would cause more than ``per_day`` new ones in 24 hours, ``IntegrityViolation``
    (``profile_collision``) when a name is known with another form.
    """
    new = tuple(name for name, text in sorted(forms.items()) if _is_new(connection, name, text))
    _count(connection, principal, new, now, per_day)
    moment = rfc3339(now)
    for name in new:
        connection.execute(
            "INSERT INTO network_profiles VALUES (?, ?, ?, ?, NULL, 0) ON CONFLICT (name) DO"
            " UPDATE SET caused_by = excluded.caused_by, created_at = excluded.created_at",
            (name, forms[name], principal, moment),
        )
    for name in forms:
        connection.execute(
            "INSERT OR IGNORE INTO network_uses VALUES (?, ?)",
            (name, launch_id),
        )
        connection.execute(
            "UPDATE network_profiles SET unused_since = NULL, leaving = 0 WHERE name = ?", (name,)
        )
    known = connection.execute("SELECT name FROM network_profiles").fetchall()
    return Used(frozenset(new), frozenset(row[0] for row in known))


def release(connection: sqlite3.Connection, launch_id: str, now: datetime) -> None:
    """Forget what a launch used."""
    connection.execute("DELETE FROM network_uses WHERE launch_id = ?", (launch_id,))
    connection.execute(_UNUSED, (rfc3339(now),))


def retain(connection: sqlite3.Connection, launch_ids: Collection[str], now: datetime) -> None:
    """Forget what all other launches used."""
    users = connection.execute("SELECT DISTINCT launch_id FROM network_uses").fetchall()
    gone = [row for row in users if row[0] not in launch_ids]
    connection.executemany("DELETE FROM network_uses WHERE launch_id = ?", gone)
    connection.execute(_UNUSED, (rfc3339(now),))


def adopt(connection: sqlite3.Connection, forms: Mapping[str, str], now: datetime) -> None:
    """Know profiles whose policies were found and that nobody here uses."""
    moment = rfc3339(now)
    connection.executemany(
        "INSERT OR IGNORE INTO network_profiles VALUES (?, ?, '', ?, ?, 0)",
        [(name, text, moment, moment) for name, text in forms.items()],
    )


def known(connection: sqlite3.Connection) -> dict[str, ProfileRow]:
    """Return all profiles by name."""
    rows = connection.execute("SELECT name, canonical, leaving FROM network_profiles")
    return {name: ProfileRow(name, canonical, bool(leaving)) for name, canonical, leaving in rows}


def stays(connection: sqlite3.Connection, name: str) -> bool:
    """Say whether a profile is known and not about to leave."""
    query = "SELECT 1 FROM network_profiles WHERE name = ? AND leaving = 0"
    return connection.execute(query, (name,)).fetchone() is not None


def unused(connection: sqlite3.Connection, until: datetime) -> list[str]:
    """Return the profiles that nobody has used since ``until``, or that began to leave."""
    rows = connection.execute(
        "SELECT name FROM network_profiles WHERE unused_since <= ? ORDER BY name", (rfc3339(until),)
    )
    return [row[0] for row in rows]


def leave(connection: sqlite3.Connection, name: str, until: datetime) -> bool:
    """Mark an unused profile as leaving; say whether it was still unused."""
    marked = connection.execute(
        "UPDATE network_profiles SET leaving = 1 WHERE name = ? AND unused_since <= ?"
        " AND NOT EXISTS (SELECT 1 FROM network_uses WHERE profile = name)",
        (name, rfc3339(until)),
    )
    return marked.rowcount == 1


def gone(connection: sqlite3.Connection, name: str) -> None:
    """Forget a profile whose policy is deleted, unless somebody has begun to use it again."""
    connection.execute("DELETE FROM network_profiles WHERE name = ? AND leaving = 1", (name,))


def _is_new(connection: sqlite3.Connection, name: str, text: str) -> bool:
    row = connection.execute(
        "SELECT canonical, leaving FROM network_profiles WHERE name = ?", (name,)
    ).fetchone()
    if row is not None and row[0] != text:
        raise IntegrityViolation(
            "profile_collision",
            f"{name} is the name of another set of rules already; tell whoever operates Sluice",
            step="bind",
        )
    return row is None or bool(row[1])


def _count(
    connection: sqlite3.Connection,
    principal: str,
    new: Iterable[str],
    now: datetime,
    per_day: int,
) -> None:
    """Count new profiles against the principal, and forget what no longer counts."""
    connection.execute(
        "DELETE FROM network_new_profiles WHERE created_at <= ?", (rfc3339(now - _DAY),)
    )
    times = [
        row[0]
        for row in connection.execute(
            "SELECT created_at FROM network_new_profiles WHERE caused_by = ? ORDER BY created_at",
            (principal,),
        )
    ]
    rows = [(principal, rfc3339(now), name) for name in new]
    if rows and len(times) + len(rows) > per_day:
        frees = min(len(times), len(times) + len(rows) - per_day)
        wait = parse_rfc3339(times[frees - 1]) + _DAY - now if frees else _DAY
        raise TooMany(
            "profiles_per_day",
            f"this launch needs {len(rows)} sets of destinations that no launch had before, and "
            f"{len(times)} of the {per_day} that you may cause in a day are used; use sets that "
            "other launches have, or come back later",
            step="bind",
            retry_after=max(1, int(wait.total_seconds())),
        )
    connection.executemany("INSERT INTO network_new_profiles VALUES (?, ?, ?)", rows)
