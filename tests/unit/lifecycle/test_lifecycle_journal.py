"""The journal of cuts: what it keeps, and what a crash may do to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import Misconfigured
from gateway.lifecycle.journal import CutOrder, Journal
from gateway.model import Member, Principal
from gateway.runs.executor import Cut

ADA = Principal(
    Member("https://i", "ada", "human", ("analysts",)),
    "agent",
    client_id="copilot",
    actors=(Member("https://i", "copilot", "agent"),),
    token_id="jti-of-the-token",
)
ORDER = CutOrder("o1", "2026-11-22T00:00:00.000Z", ADA, "pipeline", "p", "why", ("a", "b"))


async def test_what_was_ordered_is_read_again(tmp_path: Path) -> None:
    """Another process knows who cut what and why, how it went, and what the log lacks."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    await journal.ordered(ORDER)
    await journal.done("o1", {"a": Cut(3, 0.25, 1, "refused"), "b": Cut(0, 0.1)})
    await journal.logged("o1", ["b"])
    (found,) = await Journal(path).open()
    assert found.order.to_json() == ORDER.to_json()
    assert found.order.by.chain == ADA.chain
    assert found.done == {"a": Cut(3, 0.25, 1, "refused"), "b": Cut(0, 0.1)}
    assert found.left == {"a"}


async def test_what_the_log_has_is_not_open(tmp_path: Path) -> None:
    """An order is closed when the log has it for each of its launches."""
    journal = Journal(tmp_path / "journal.jsonl")
    assert await journal.open() == []
    await journal.ordered(ORDER)
    await journal.logged("o1", ["a"])
    await journal.logged("o1", ["b"])
    assert await journal.open() == []


async def test_a_line_that_a_crash_cut_short_hides_no_other(tmp_path: Path) -> None:
    """Torn and foreign lines are passed over; whole ones before and after them count."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    await journal.ordered(ORDER)
    with path.open("ab") as file:
        file.write(b'[]\n"x"\n\xff\n{"event":"cut.done","id":"o1","launches":{"a":{}}}\n')
        file.write(b'{"event":"cut.logged","id":"o1","laun')
    await journal.ordered(replace(ORDER, id="o2"))
    assert [case.order.id for case in await journal.open()] == ["o1", "o2"]


async def test_the_journal_is_its_owners_and_holds_no_token(tmp_path: Path) -> None:
    """It can be read by the gateway alone, and what identifies the token stays out."""
    path = tmp_path / "journal.jsonl"
    await Journal(path).ordered(ORDER)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "jti-of-the-token" not in path.read_text()


async def test_an_unreadable_journal_is_named(tmp_path: Path) -> None:
    """What may be open cannot be known: the operator has to look."""
    with pytest.raises(Misconfigured, match="journal") as caught:
        await Journal(tmp_path).open()
    assert caught.value.code == "journal_unreadable"
