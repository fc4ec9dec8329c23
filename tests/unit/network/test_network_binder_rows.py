"""The rows behind network profiles: who uses which, who caused them, and which may go."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.errors import IntegrityViolation, TooMany
from gateway.network import profile_rows
from gateway.network.profile_rows import Used

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def rows() -> Iterator[sqlite3.Connection]:
    """An empty database with our tables."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for statement in profile_rows.SCHEMA:
            connection.execute(statement)
        yield connection


def use(rows: sqlite3.Connection, launch: str, *names: str, **given: Any) -> Used:
    """Use profiles whose forms are their names."""
    chosen: dict[str, Any] = {"principal": "ada", "now": NOON, "per_day": 3, **given}
    return profile_rows.use(
        rows, launch, forms={name: f"form of {name}" for name in names}, **chosen
    )


def test_network_rows_new_is_said_once(rows: sqlite3.Connection) -> None:
    """A profile is new to the first who uses it, and known to everybody after."""
    assert use(rows, "one", "b", "a") == Used(frozenset({"a", "b"}), frozenset({"a", "b"}))
    assert use(rows, "two", "b", "c") == Used(frozenset({"c"}), frozenset({"a", "b", "c"}))
    assert use(rows, "one", "a").new == frozenset()


def test_network_rows_another_form_is_a_collision(rows: sqlite3.Connection) -> None:
    """One name, two forms: nothing is written."""
    use(rows, "one", "a")
    with pytest.raises(IntegrityViolation) as error:
        profile_rows.use(
            rows, "two", "ada", {"a": "other", "b": "b"}, now=NOON, per_day=3
        )  # fmt: skip
    assert error.value.code == "profile_collision"
    assert set(profile_rows.known(rows)) == {"a"}


def test_network_rows_count_new_ones_only(rows: sqlite3.Connection) -> None:
    """The cap counts what is new, per principal, in 24 hours that move; and says when to return."""
    use(rows, "one", "a", "b")
    use(rows, "two", "c", now=NOON + HOUR)
    later = NOON + 2 * HOUR
    with pytest.raises(TooMany) as error:
        use(rows, "three", "a", "d", now=later)
    assert error.value.retry_after == 22 * 3600
    with pytest.raises(TooMany) as error:
        use(rows, "three", "d", "e", "f", now=later)
    assert error.value.retry_after == 23 * 3600
    assert "d" not in profile_rows.known(rows)
    use(rows, "three", "a", "b", "c", now=later)
    use(rows, "four", "d", principal="grace", now=later)
    use(rows, "five", "e", "f", now=NOON + 24 * HOUR)


def test_network_rows_more_than_a_day_allows(rows: sqlite3.Connection) -> None:
    """A launch that needs more new profiles than any day allows is told to wait a whole day."""
    with pytest.raises(TooMany) as error:
        use(rows, "one", "a", "b", "c", "d")
    assert error.value.retry_after == 24 * 3600


def test_network_rows_unused_since_the_last_use(rows: sqlite3.Connection) -> None:
    """The clock of a profile starts when its last user leaves, and stops when one comes."""
    use(rows, "one", "a", "b")
    use(rows, "two", "b")
    profile_rows.release(rows, "one", NOON)
    assert profile_rows.unused(rows, NOON) == ["a"]
    profile_rows.release(rows, "two", NOON + HOUR)
    assert profile_rows.unused(rows, NOON) == ["a"]
    assert profile_rows.unused(rows, NOON + HOUR) == ["a", "b"]
    profile_rows.release(rows, "one", NOON + 2 * HOUR)
    assert profile_rows.unused(rows, NOON) == ["a"], "a second release moved the clock"
    use(rows, "three", "a")
    assert profile_rows.unused(rows, NOON + HOUR) == ["b"]


def test_network_rows_retain(rows: sqlite3.Connection) -> None:
    """Uses of launches that are no more go; those of the others stay."""
    use(rows, "one", "a")
    use(rows, "two", "b")
    profile_rows.retain(rows, {"two", "never"}, NOON)
    assert profile_rows.unused(rows, NOON) == ["a"]
    profile_rows.retain(rows, (), NOON)
    assert profile_rows.unused(rows, NOON) == ["a", "b"]


def test_network_rows_leave_only_when_unused(rows: sqlite3.Connection) -> None:
    """Nobody marks what is in use, or what was used a moment ago; what is marked is new again."""
    use(rows, "one", "a")
    assert not profile_rows.leave(rows, "a", NOON + HOUR)
    profile_rows.release(rows, "one", NOON)
    assert not profile_rows.leave(rows, "a", NOON - HOUR)
    assert profile_rows.leave(rows, "a", NOON)
    assert not profile_rows.stays(rows, "a")
    assert profile_rows.leave(rows, "a", NOON), "a crashed collection could not be taken up"
    assert use(rows, "two", "a").new == frozenset({"a"})
    assert profile_rows.stays(rows, "a")
    profile_rows.gone(rows, "a")
    assert set(profile_rows.known(rows)) == {"a"}


def test_network_rows_gone(rows: sqlite3.Connection) -> None:
    """A profile whose policy was deleted is forgotten."""
    use(rows, "one", "a")
    profile_rows.release(rows, "one", NOON)
    profile_rows.leave(rows, "a", NOON)
    profile_rows.gone(rows, "a")
    assert profile_rows.known(rows) == {}


def test_network_rows_adopt(rows: sqlite3.Connection) -> None:
    """What was found is unused from now on; what is known already stays as it is."""
    use(rows, "one", "a")
    profile_rows.adopt(rows, {"a": "other", "b": "form of b"}, NOON)
    assert profile_rows.known(rows)["a"].canonical == "form of a"
    assert profile_rows.unused(rows, NOON) == ["b"]
    assert use(rows, "two", "b").new == frozenset()
