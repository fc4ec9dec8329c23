"""The rows behind the log: only legal moves, keys bound once, graphs that are what they hash to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import product

import pytest

from gateway.canonical import encode, sha256
from gateway.errors import Conflict, IntegrityViolation, NotFound
from gateway.model import Member, Principal, TaskGraph, TaskNode
from gateway.states import TRANSITIONS, LaunchState
from gateway.store import launches
from gateway.store.launches import LaunchRecord, TaskRow

NOW, LATER = "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
ADA = Principal(
    subject=Member("https://i", "ada", "human", ("analysts",)),
    kind="agent",
    client_id="copilot",
    actors=(Member("https://i", "copilot", "agent"),),
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """Return a database with these tables."""
    with closing(sqlite3.connect(":memory:")) as found:
        for statement in launches.SCHEMA:
            found.execute(statement)
        yield found


def launch(state: LaunchState, launch_id: str = "l") -> LaunchRecord:
    """Return a launch in a state."""
    return LaunchRecord(launch_id, state, "p", {"a": "1"}, "why", "http", ADA, NOW, NOW)


@pytest.mark.parametrize(("before", "after"), list(product(LaunchState, LaunchState)))
def test_only_the_table_moves_a_launch(
    connection: sqlite3.Connection, before: LaunchState, after: LaunchState
) -> None:
    """Every move that the table does not list is a conflict, and changes nothing."""
    launches.insert(connection, launch(before))
    if after in TRANSITIONS[before]:
        assert launches.transition(connection, "l", after, LATER).state is after
        assert launches.get(connection, "l").updated_at == LATER
    else:
        with pytest.raises(Conflict):
            launches.transition(connection, "l", after, LATER)
        assert launches.get(connection, "l") == launch(before)


def test_a_record_comes_back_as_it_went_in(connection: sqlite3.Connection) -> None:
    """Principal, chain and everything else survive the row."""
    record = launch(LaunchState.QUEUED)
    launches.insert(connection, record)
    assert launches.get(connection, "l") == record


def test_a_key_is_bound_once(connection: sqlite3.Connection) -> None:
    """The first launch keeps the key; another body is a conflict; an expired key is free."""
    claim = launches.claim_key
    assert claim(connection, "s", "body", "one", NOW, LATER) == "one"
    assert claim(connection, "s", "body", "two", NOW, LATER) == "one"
    with pytest.raises(Conflict):
        claim(connection, "s", "other", "two", NOW, LATER)
    assert launches.claimed(connection, "s", "body", LATER) is None
    assert claim(connection, "s", "other", "two", LATER, "2027") == "two"


def test_a_graph_is_what_its_digest_says(connection: sqlite3.Connection) -> None:
    """Bytes that were swapped behind their digest are an integrity violation, not a graph."""
    node = TaskNode("k", "m", "F", "t", "task", {"p": "1"})
    data = encode(TaskGraph("k", {"k": node}, "c", "d").to_json())
    launches.put_graph(connection, "l", data, b"sealed")
    assert launches.get_graph(connection, sha256(data)).nodes == {"k": node}
    connection.execute("UPDATE graphs SET bytes = ?", (data.replace(b'"F"', b'"G"'),))
    with pytest.raises(IntegrityViolation):
        launches.get_graph(connection, sha256(data))
    with pytest.raises(NotFound):
        launches.get_graph(connection, "0" * 64)


def test_sealed_parameters_are_erased(connection: sqlite3.Connection) -> None:
    """What a launch no longer needs is gone from the row."""
    launches.put_graph(connection, "l", b"{}", b"sealed")
    assert launches.get_sealed(connection, "l") == b"sealed"
    launches.forget_sealed(connection, "l")
    assert launches.get_sealed(connection, "l") is None


def test_tasks_keep_their_newest_attempt(connection: sqlite3.Connection) -> None:
    """A retry replaces the attempt before it."""
    launches.put_task(connection, "l", TaskRow("k", 1, "failed", "boom", (), NOW))
    newest = TaskRow("k", 2, "done", "", ("out.txt",), LATER)
    launches.put_task(connection, "l", newest)
    assert launches.tasks(connection, "l") == {"k": newest}


def test_history_counts_what_policy_sees(connection: sqlite3.Connection) -> None:
    """Counts are of one subject; approvals are of one pipeline."""
    launches.insert(connection, launch(LaunchState.RUNNING, "a"))
    launches.insert(connection, launch(LaunchState.SUCCEEDED, "b"))
    launches.put_approved(connection, "p", "code", "content", 7)
    counts, approvals = launches.history(connection, ADA.subject.account, "p", "2025", LATER)
    assert counts == {"launches_last_hour": 2, "launches_today": 0, "running": 1}
    assert approvals == [7]
    asked, _ = launches.history(connection, ADA.subject.account, "p", "2025", LATER, besides="a")
    assert asked["running"] == 0
    assert launches.history(connection, "other", "q", "2025", "2025")[1] == []
