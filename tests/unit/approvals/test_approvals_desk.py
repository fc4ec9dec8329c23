"""What waits for people is bound to one digest, expires, and is used once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from gateway.approvals import desk
from gateway.errors import Conflict, NotFound

NEEDS = ({"rule": "a", "groups": ["stewards"]}, {"rule": "b", "groups": ["security", "owners"]})
UNTIL = "2026-01-02T00:00:00.000Z"


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """Return a database with one open request."""
    with closing(sqlite3.connect(":memory:")) as found:
        for statement in desk.SCHEMA:
            found.execute(statement)
        desk.open_request(found, "l", "digest", NEEDS, UNTIL)
        yield found


def code(call: object, *arguments: object) -> str:
    """Return the code of the conflict that a call raises."""
    with pytest.raises(Conflict) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.code


def test_a_request_is_closed_once(connection: sqlite3.Connection) -> None:
    """Two answers at the same moment: the second finds the request finished."""
    desk.close(connection, "l", "used")
    assert code(desk.close, connection, "l", "used") == "approval_finished"
    assert code(desk.close, connection, "l", "rejected") == "approval_finished"
    assert desk.get(connection, "l").state == "used"


def test_only_this_plan_before_its_expiry(connection: sqlite3.Connection) -> None:
    """Another digest, a finished request or a late answer is refused."""
    request = desk.get(connection, "l")
    desk.check_usable(request, "digest", "2026-01-01T00:00:00.000Z")
    assert code(desk.check_usable, request, "other", "2026") == "plan_digest_stale"
    assert code(desk.check_usable, request, "digest", UNTIL) == "approval_expired"
    desk.close(connection, "l", "void")
    finished = desk.get(connection, "l")
    assert code(desk.check_usable, finished, "digest", "2026") == "approval_finished"


def test_every_rule_needs_somebody(connection: sqlite3.Connection) -> None:
    """A person covers the rules whose groups they are in, and no others."""
    assert desk.get(connection, "l").covered_by(["stewards"]) == ("a",)
    first = desk.vote(connection, "l", "chloe", "i#chloe", ["a"], 1)
    assert first.missing == ("b",)
    assert code(desk.vote, connection, "l", "chloe", "i#other", ["b"], 2) == "already_approved"
    assert desk.vote(connection, "l", "dora", "i#dora", ["b"], 3).missing == ()


def test_waiting_lists_what_is_open(connection: sqlite3.Connection) -> None:
    """The first to expire comes first; what is finished is not listed."""
    desk.open_request(connection, "m", "other", NEEDS, "2026-01-01T00:00:00.000Z")
    assert [item.launch_id for item in desk.waiting(connection)] == ["m", "l"]
    desk.close(connection, "m", "expired")
    assert [item.launch_id for item in desk.waiting(connection)] == ["l"]
    with pytest.raises(NotFound):
        desk.get(connection, "absent")
