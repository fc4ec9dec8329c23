"""What every decision log promises, whichever store holds it: run on each implementation."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.canonical import decode
from gateway.decisionlog.log import DecisionLog, Entry
from gateway.decisionlog.sqlite import SqliteDecisionLog
from gateway.decisionlog.verifier import verify_consistency, verify_inclusion
from gateway.errors import Conflict, IntegrityViolation, NotFound, Rejected
from gateway.keys import KeyRing
from gateway.store.database import Database

Reopen = Callable[[], Awaitable[DecisionLog]]


class OnSqlite:
    """Opens, and opens again, a log in SQLite."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._database: Database | None = None

    async def open(self) -> DecisionLog:
        """Return the log as a newly started gateway has it."""
        await self.close()
        path = self._directory / "sluice.db"
        self._database = await Database.open(path, within_seconds=5)
        return await SqliteDecisionLog.open(
            self._database,
            KeyRing.open(self._directory / "keys"),
            origin="sluice.test/log",
            labels={"id": "gw-1"},
        )

    async def close(self) -> None:
        """Stop that gateway."""
        if self._database is not None:
            await self._database.close()


@pytest.fixture(params=[OnSqlite])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Reopen]:
    """Yield what opens the log, again at each call."""
    place = request.param(tmp_path)
    yield place.open
    await place.close()


@pytest.fixture
async def log(reopen: Reopen) -> DecisionLog:
    """Return an empty log."""
    return await reopen()


async def test_a_receipt_is_for_an_entry_that_lasts(reopen: Reopen) -> None:
    """Number, id, event and leaf hash are those of the stored bytes, also after a restart."""
    log = await reopen()
    receipt = await log.append(Entry("decision.allow", {"x": 1}, "launch-1", "decision-1"))
    now = await log.authentic(receipt)
    log = await reopen()
    entry = await log.authentic(receipt)
    assert entry == now
    assert await log.receipt(0) == receipt
    assert entry.seq == receipt.seq == 0
    assert entry.leaf_hash == receipt.leaf_hash == hashlib.sha256(b"\0" + entry.raw).hexdigest()
    assert entry.value == decode(entry.raw)
    assert entry.value["id"] == receipt.entry_id
    assert entry.value["event"] == receipt.event == "decision.allow"
    assert entry.value["body"] == {"x": 1}
    assert entry.value["launch_id"] == "launch-1"
    assert entry.value["decision_id"] == "decision-1"
    assert entry.value["labels"] == {"id": "gw-1"}


async def test_numbers_are_in_order_and_without_gaps(log: DecisionLog) -> None:
    """However many append at once, each in its own order."""

    async def writer(name: str) -> list[int]:
        return [(await log.append(Entry("task.started", {"by": name}))).seq for _ in range(50)]

    mine, yours = await asyncio.gather(writer("a"), writer("b"))
    assert mine == sorted(mine)
    assert yours == sorted(yours)
    assert sorted(mine + yours) == list(range(100))
    assert log.size == 100
    entries = await log.entries(0, 1000)
    assert [entry.value["seq"] for entry in entries] == list(range(100))
    assert [entry.seq for entry in entries if entry.value["body"]["by"] == "a"] == mine


async def test_a_change_and_its_entry_are_one(log: DecisionLog) -> None:
    """The change gets the number; when it raises, nothing was appended and its error returns."""
    seen: list[int] = []

    def refuse(_: sqlite3.Connection, seq: int) -> None:
        seen.append(seq)
        raise Conflict("wrong_state", "not now")

    await log.append(Entry("gateway.started"), change=lambda _, seq: seen.append(seq))
    with pytest.raises(Conflict):
        await log.append(Entry("launch.received"), change=refuse)
    assert seen == [0, 1]
    assert log.size == 1
    assert (await log.append(Entry("gateway.stopped"))).seq == 1


async def test_several_entries_are_appended_together(log: DecisionLog) -> None:
    """In their order, with nothing between them; the change gets the first number."""
    seen: list[int] = []
    await log.append(Entry("gateway.started"))
    receipts = await log.append_all(
        [Entry("launch.received"), Entry("decision.allow"), Entry("launch.queued")],
        change=lambda _, seq: seen.append(seq),
    )
    assert [(receipt.seq, receipt.event) for receipt in receipts] == [
        (1, "launch.received"),
        (2, "decision.allow"),
        (3, "launch.queued"),
    ]
    assert seen == [1]


async def test_of_several_entries_all_or_none(log: DecisionLog) -> None:
    """One that is refused takes the others along."""
    too_large = Entry("decision.deny", {"x": ["y" * 4000] * 70})
    with pytest.raises(Rejected) as caught:
        await log.append_all([Entry("launch.received"), too_large])
    assert caught.value.code == "entry_too_large"
    assert log.size == 0
    with pytest.raises(ValueError, match="at least one"):
        await log.append_all([])


async def test_unknown_events_and_odd_values_are_refused(log: DecisionLog) -> None:
    """Nothing that readers do not know, and nothing outside the canonical subset."""
    with pytest.raises(ValueError, match="no such event"):
        await log.append(Entry("launch.teleported"))
    with pytest.raises(Rejected) as caught:
        await log.append(Entry("launch.received", {"x": 1.5}))  # type: ignore[dict-item]
    assert caught.value.code == "not_canonical"
    assert log.size == 0


async def test_a_receipt_that_is_not_ours_is_not_authentic(log: DecisionLog) -> None:
    """A number, an id, an event or a hash that differs: nothing may act on it."""
    receipt = await log.append(Entry("decision.deny"))
    await log.append(Entry("decision.allow"))
    for change in (
        {"seq": 1},
        {"seq": 7},
        {"entry_id": "0" * 36},
        {"leaf_hash": "0" * 64},
        {"event": "decision.allow"},
    ):
        with pytest.raises(IntegrityViolation) as caught:
            await log.authentic(dataclasses.replace(receipt, **change))
        assert caught.value.code == "log_entry_forged"


async def test_entries_are_paged_and_filtered(log: DecisionLog) -> None:
    """By start, limit, launch and event, oldest first; newest the other way round."""
    for number in range(12):
        await log.append(
            Entry(
                "decision.allow" if number % 3 == 0 else "task.started",
                launch_id=f"launch-{number % 2}",
            )
        )

    async def found(*page: int, **filters: str) -> list[int]:
        return [entry.seq for entry in await log.entries(*page, **filters)]

    assert await found(0, 5) == [0, 1, 2, 3, 4]
    assert await found(10, 5) == [10, 11]
    assert await found(12, 5) == []
    assert await found(3, 3, launch_id="launch-1") == [3, 5, 7]
    assert await found(0, 9, event_prefix="decision.") == [0, 3, 6, 9]
    assert await found(1, 9, launch_id="launch-0", event_prefix="decision.") == [6]
    assert await found(0, 9, launch_id="launch-2") == []
    assert await found(0, 9, event_prefix="decision.%") == []
    assert [entry.seq for entry in await log.newest(2)] == [11, 10]
    newest = await log.newest(3, event_prefix="decision.")
    assert [entry.seq for entry in newest] == [9, 6, 3]


async def test_a_decision_is_found_by_its_id(log: DecisionLog) -> None:
    """The entry that decided, and not those that follow from it."""
    await log.append(Entry("launch.received"))
    await log.append(Entry("decision.allow", decision_id="d-1"))
    await log.append(Entry("launch.queued", decision_id="d-1"))
    found = await log.find("d-1")
    assert found is not None
    assert found.seq == 1
    assert await log.find("d-2") is None


async def test_what_is_not_there_is_not_found(log: DecisionLog) -> None:
    """Neither an entry nor a proof beyond the end."""
    await log.append(Entry("gateway.started"))
    for missing in (log.entry(1), log.receipt(1)):
        with pytest.raises(NotFound):
            await missing
    for beyond in (
        log.root(2),
        log.root(-1),
        log.inclusion_proof(1, 1),
        log.inclusion_proof(-1, 1),
        log.inclusion_proof(0, 2),
        log.consistency_proof(1, 2),
        log.consistency_proof(-1, 1),
    ):
        with pytest.raises(Rejected) as caught:
            await beyond
        assert caught.value.code == "log_range"


async def test_every_proof_verifies(reopen: Reopen) -> None:
    """Of each entry at each size, of each size in each later one; also after a restart."""
    log = await reopen()
    receipts = [await log.append(Entry("task.started", {"n": number})) for number in range(20)]
    log = await reopen()
    roots = [await log.root(size) for size in range(21)]
    assert roots[0] == hashlib.sha256(b"").hexdigest()
    assert await log.root() == roots[20]
    for size in (1, 2, 3, 7, 8, 19, 20):
        for receipt in receipts[:size]:
            proof = await log.inclusion_proof(receipt.seq, size)
            assert verify_inclusion(receipt.leaf_hash, receipt.seq, size, proof, roots[size])
        for first in range(size + 1):
            proof = await log.consistency_proof(first, size)
            assert verify_consistency(first, size, roots[first], roots[size], proof)


async def test_there_is_no_checkpoint_before_the_signer_made_one(log: DecisionLog) -> None:
    """An unsigned log says so."""
    await log.append(Entry("gateway.started"))
    assert await log.checkpoint() is None


async def test_text_in_an_entry_is_data(log: DecisionLog) -> None:
    """It starts no line of its own, in whichever field it came."""
    receipt = await log.append(
        Entry("authentication.refused", {"user\n": "x\n{}\u2028\x1b[2J"}, launch_id="a\nb")
    )
    entry = await log.authentic(receipt)
    assert len(entry.raw.decode().splitlines()) == 1
    assert "\\n" not in entry.raw.decode()
    assert entry.value["body"] == {"user\\u000a": "x\\u000a{}\\u2028\\u001b[2J"}
