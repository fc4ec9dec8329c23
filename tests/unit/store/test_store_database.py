"""Group commit: durable, isolated from each other, and whole whatever the caller does."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import (
    Conflict,
    GatewayError,
    IntegrityViolation,
    Misconfigured,
    OutcomeUnknown,
    Retryable,
)
from gateway.store.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """Yield a database with one table of names."""
    opened = await Database.open(tmp_path / "state" / "sluice.db", within_seconds=5)
    await opened.schema(
        [
            "CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY)",
            "CREATE TABLE IF NOT EXISTS friends (name TEXT REFERENCES names (name))",
        ]
    )
    yield opened
    await opened.close()


def insert(connection: sqlite3.Connection, name: str) -> int:
    """Insert a name and return how many there are."""
    connection.execute("INSERT INTO names VALUES (?)", (name,))
    (count,) = connection.execute("SELECT count(*) FROM names").fetchone()
    return int(count)


async def names(database: Database) -> list[str]:
    """Return all names, as a reader sees them."""
    query = "SELECT name FROM names ORDER BY name"
    return await database.read(lambda c: [name for (name,) in c.execute(query)])


async def together(database: Database, *works: Any) -> list[Any]:
    """Run works in one batch: the writer's thread is held until all of them wait."""
    gate = threading.Event()
    held = asyncio.create_task(database.write(lambda _: gate.wait(5)))
    await asyncio.sleep(0.02)
    waiting = [asyncio.create_task(database.write(work)) for work in works]
    await asyncio.sleep(0)
    gate.set()
    await held
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_write_is_durable_when_it_returns(database: Database) -> None:
    """Another connection sees it at once, and the file says synchronous WAL."""
    assert await database.write(lambda c: insert(c, "ada")) == 1
    other = sqlite3.connect(database.path)
    assert other.execute("SELECT name FROM names").fetchall() == [("ada",)]
    other.close()
    pragmas = "journal_mode", "synchronous", "foreign_keys"
    settings = await database.write(
        lambda c: [c.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    )
    assert settings == ["wal", 2, 1]


async def test_files_are_private(database: Database) -> None:
    """Nobody else reads the state: database, write-ahead log, index and lock."""
    await database.write(lambda c: insert(c, "ada"))
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in database.path.parent.iterdir()
    }
    assert modes == {
        "sluice.db": 0o600,
        "sluice.db-wal": 0o600,
        "sluice.db-shm": 0o600,
        "sluice.db.lock": 0o600,
    }


async def test_works_that_wait_together_share_one_commit(database: Database) -> None:
    """The batch hook runs once for all of them."""
    batches: list[int] = []
    database.before_commit.append(lambda c: batches.append(c.total_changes))
    await together(database, *(lambda c, i=i: insert(c, f"n{i}") for i in range(50)))
    assert len(batches) == 2  # the work that held the thread, and then all the others
    assert len(await names(database)) == 50


async def test_a_work_that_raises_is_undone_alone(database: Database) -> None:
    """Its error reaches its caller as it is; the others of the batch commit."""

    def refuse(connection: sqlite3.Connection) -> None:
        insert(connection, "mallory")
        raise Conflict("state", "not now")

    first, refused, second = await together(
        database, lambda c: insert(c, "ada"), refuse, lambda c: insert(c, "bob")
    )
    assert (first, second) == (1, 2)
    assert isinstance(refused, Conflict)
    assert await names(database) == ["ada", "bob"]


async def test_a_constraint_is_the_callers_own_error(database: Database) -> None:
    """``sqlite3.IntegrityError`` is what a work may want to handle."""
    await database.write(lambda c: insert(c, "ada"))
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(lambda c: insert(c, "ada"))


async def test_a_work_may_raise_stop_iteration(database: Database) -> None:
    """``next`` on an empty result must not leave the whole batch unanswered."""

    def first(connection: sqlite3.Connection) -> object:
        return next(connection.execute("SELECT name FROM names"))

    stopped, inserted = await together(database, first, lambda c: insert(c, "ada"))
    assert isinstance(stopped, RuntimeError)
    assert inserted == 1
    await database.write(lambda c: c.execute("DELETE FROM names").fetchall())
    with pytest.raises(RuntimeError, match="StopIteration"):
        await database.read(first)


@pytest.mark.parametrize(
    "end",
    [
        lambda c: c.execute("COMMIT"),
        lambda c: c.execute("ROLLBACK"),
        lambda c: c.commit(),
        lambda c: c.executescript("DELETE FROM names"),
    ],
)
async def test_a_work_cannot_end_the_transaction(database: Database, end: Any) -> None:
    """The others of its batch live in it: the work fails, alone and whole."""

    def work(connection: sqlite3.Connection) -> None:
        insert(connection, "mallory")
        end(connection)

    before, ended, after = await together(
        database, lambda c: insert(c, "ada"), work, lambda c: insert(c, "bob")
    )
    assert (before, after) == (1, 2)
    assert isinstance(ended, sqlite3.DatabaseError)
    assert await names(database) == ["ada", "bob"]


async def test_a_failing_commit_fails_the_batch_and_nothing_else(database: Database) -> None:
    """Everybody in it is told that nothing was recorded; the next batch works."""
    rolled_back: list[None] = []
    database.after_rollback.append(lambda: rolled_back.append(None))

    def defer(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA defer_foreign_keys=ON")
        connection.execute("INSERT INTO friends VALUES ('nobody')")

    outcomes = await together(database, lambda c: insert(c, "ada"), defer)
    assert [type(outcome) for outcome in outcomes] == [Retryable, Retryable]
    assert {outcome.code for outcome in outcomes} == {"store_unavailable"}
    assert len({id(outcome) for outcome in outcomes}) == 2
    assert rolled_back == [None]
    assert await names(database) == []
    assert await database.write(lambda c: insert(c, "bob")) == 1


async def test_a_full_database_fails_the_batch(database: Database) -> None:
    """SQLite undoes the whole transaction by itself then: nobody may hear of success."""

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count=8")
        connection.execute("INSERT INTO names VALUES (?)", ("x" * 100_000,))

    outcomes = await together(database, lambda c: insert(c, "ada"), fill)
    assert [type(outcome) for outcome in outcomes] == [Retryable, Retryable]
    assert {"disk is full" in outcome.diagnostics for outcome in outcomes} == {True}
    assert await names(database) == []
    await database.write(lambda c: c.execute("PRAGMA max_page_count=100000").fetchone())
    assert await database.write(lambda c: insert(c, "bob")) == 1


async def test_a_failing_hook_fails_the_batch(database: Database) -> None:
    """What must be written with every batch is written, or nothing is."""

    def fail(_: sqlite3.Connection) -> None:
        raise RuntimeError("no nodes")

    database.before_commit.append(fail)
    with pytest.raises(Retryable, match="no nodes"):
        await database.write(lambda c: insert(c, "ada"))
    database.before_commit.clear()
    assert await names(database) == []


async def test_after_commit_comes_before_the_callers_answer(database: Database) -> None:
    """Whoever is told that a write is durable also sees what it changed in memory."""
    seen: list[str] = []
    database.after_commit.append(lambda: seen.append("commit"))
    await database.write(lambda c: insert(c, "ada"))
    assert seen == ["commit"]


async def test_no_answer_in_time_is_outcome_unknown(tmp_path: Path) -> None:
    """The caller is told so, and the work still commits."""
    path = tmp_path / "slow.db"
    patient = await Database.open(path, within_seconds=60)
    await patient.schema(["CREATE TABLE IF NOT EXISTS names (name TEXT)"])
    await patient.close()
    hasty = await Database.open(path, within_seconds=0.05)
    told = threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        assert told.wait(60)
        insert(connection, "ada")

    with pytest.raises(OutcomeUnknown) as caught:
        await hasty.write(slow)
    told.set()
    assert (caught.value.code, caught.value.step) == ("outcome_unknown", "record")
    assert caught.value.retryable
    await hasty.close()
    patient = await Database.open(path, within_seconds=60)
    assert await names(patient) == ["ada"]
    await patient.close()


async def test_a_works_own_timeout_is_not_ours(database: Database) -> None:
    """``TimeoutError`` from a work means that it failed, and was undone."""

    def late(_: sqlite3.Connection) -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await database.write(late)


async def test_a_cancelled_caller_loses_and_tears_nothing(database: Database) -> None:
    """Its work runs whole, the others are answered."""
    gate = threading.Event()
    held = asyncio.create_task(database.write(lambda _: gate.wait(5)))
    await asyncio.sleep(0.02)
    cancelled = asyncio.create_task(database.write(lambda c: insert(c, "ada")))
    other = asyncio.create_task(database.write(lambda c: insert(c, "bob")))
    await asyncio.sleep(0)
    cancelled.cancel()
    gate.set()
    assert await other == 2
    assert await held
    assert cancelled.cancelled()
    assert await names(database) == ["ada", "bob"]


async def test_too_many_waiting_works_are_turned_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stuck disk must not fill memory: the caller hears that nothing was recorded."""
    monkeypatch.setattr("gateway.store.database.MAX_WAITING", 2)
    gate = threading.Event()
    held = asyncio.create_task(database.write(lambda _: gate.wait(5)))
    await asyncio.sleep(0.02)
    waiting = [asyncio.create_task(database.write(lambda _: None)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Retryable) as caught:
        await database.write(lambda c: insert(c, "ada"))
    assert caught.value.code == "store_busy"
    gate.set()
    await asyncio.gather(held, *waiting)


async def test_close_drains_the_queue(tmp_path: Path) -> None:
    """Whoever was waiting is answered; whoever comes later is turned away; the WAL is gone."""
    database = await Database.open(tmp_path / "sluice.db", within_seconds=5)
    await database.schema(["CREATE TABLE IF NOT EXISTS names (name TEXT)"])
    gate = threading.Event()
    held = asyncio.create_task(database.write(lambda _: gate.wait(5)))
    await asyncio.sleep(0.02)
    waiting = [
        asyncio.create_task(database.write(lambda c, i=i: insert(c, f"n{i}"))) for i in range(20)
    ]
    await asyncio.sleep(0)
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0.02)
    gate.set()
    await asyncio.gather(held, closing)
    assert sorted(await asyncio.gather(*waiting)) == list(range(1, 21))
    for use in (database.write, database.read):
        with pytest.raises(Retryable) as caught:
            await use(lambda _: None)
        assert caught.value.code == "store_closed"
    await database.close()
    assert not (tmp_path / "sluice.db-wal").exists()


async def test_readers_cannot_write(database: Database) -> None:
    """A query that tries is refused."""
    with pytest.raises((sqlite3.Error, GatewayError)):
        await database.read(lambda c: c.execute("INSERT INTO names VALUES ('mallory')"))
    assert await names(database) == []


async def test_a_read_is_one_snapshot(database: Database) -> None:
    """What commits meanwhile is not seen half-way through a query."""
    started, go_on = threading.Event(), threading.Event()

    def twice(connection: sqlite3.Connection) -> tuple[int, int]:
        count = "SELECT count(*) FROM names"
        (before,) = connection.execute(count).fetchone()
        started.set()
        go_on.wait(5)
        (after,) = connection.execute(count).fetchone()
        return before, after

    reading = asyncio.create_task(database.read(twice))
    await asyncio.to_thread(started.wait, 5)
    await database.write(lambda c: insert(c, "ada"))
    go_on.set()
    assert await reading == (0, 0)


async def test_many_readers_do_not_wait_for_the_writer(database: Database) -> None:
    """Reading goes on while a write is under way."""
    gate = threading.Event()
    held = asyncio.create_task(database.write(lambda _: gate.wait(5)))
    await asyncio.gather(*(names(database) for _ in range(20)))
    assert not held.done()
    gate.set()
    await held


async def test_a_second_gateway_is_refused(database: Database) -> None:
    """Two writers would each continue the log from their own memory."""
    with pytest.raises(Misconfigured) as caught:
        await Database.open(database.path, within_seconds=5)
    assert caught.value.code == "store_locked"
    await database.close()
    again = await Database.open(database.path, within_seconds=5)
    await again.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """It is damaged, not overwritten; and its lock is free again."""
    path = tmp_path / "sluice.db"
    path.write_bytes(b"precious " * 1000)
    for _ in range(2):
        with pytest.raises(IntegrityViolation) as caught:
            await Database.open(path, within_seconds=5)
        assert caught.value.code == "store_damaged"
    assert path.read_bytes() == b"precious " * 1000


async def test_a_busy_database_is_retryable(database: Database) -> None:
    """A foreign lock that does not go away in time fails the write, and not the writer."""
    foreign = sqlite3.connect(database.path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    database._files.writer.execute("PRAGMA busy_timeout=50")
    with pytest.raises(Retryable) as caught:
        await database.write(lambda c: insert(c, "ada"))
    assert caught.value.code == "store_unavailable"
    foreign.execute("ROLLBACK")
    foreign.close()
    assert await database.write(lambda c: insert(c, "ada")) == 1
