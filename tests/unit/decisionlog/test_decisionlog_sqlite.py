"""What is particular to the log in SQLite: its transactions, its head, and attempts to forge it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from contextlib import closing
from typing import Any

import pytest
from decisionlog_disk import ORIGIN, Disk, SignedLog, forge, read_nodes

from gateway.decisionlog import merkle
from gateway.decisionlog.log import Entry
from gateway.decisionlog.sqlite import SqliteDecisionLog
from gateway.decisionlog.verifier.proofs import leaf_hash
from gateway.errors import Conflict, IntegrityViolation, Misconfigured, Retryable
from gateway.store.database import Database


async def replayed_root(database: Database) -> str:
    """Return the root that the entries have, whatever the stored nodes say."""
    raws = await database.read(
        lambda c: [raw for (raw,) in c.execute("SELECT bytes FROM entries ORDER BY seq")]
    )
    tree = merkle.Frontier()
    for raw in raws:
        tree, _ = tree.append(leaf_hash(raw))
    return tree.root().hex()


async def together(database: Database, *appends: Any) -> list[Any]:
    """Run appends in one batch: the writer's thread is held until all of them wait."""
    gate = threading.Event()
    held = asyncio.create_task(database.write(lambda _: gate.wait(5)))
    await asyncio.sleep(0.02)
    waiting = [asyncio.create_task(append) for append in appends]
    await asyncio.sleep(0)
    gate.set()
    await held
    return await asyncio.gather(*waiting, return_exceptions=True)


def refuse(_: sqlite3.Connection, seq: int) -> None:
    """Refuse, as a change of state does that comes too late."""
    raise Conflict("state", f"not at {seq}")


async def test_an_undone_work_leaves_the_tree_right(
    database: Database, log: SqliteDecisionLog
) -> None:
    """Between two appends of one batch, one is refused: the tree is that of what committed."""
    outcomes = await together(
        database,
        log.append(Entry("gateway.started")),
        log.append(Entry("launch.received"), change=refuse),
        log.append_all([Entry("launch.received"), Entry("decision.allow")]),
        log.append(Entry("launch.received", {"too": ["large" * 800] * 100})),
        log.append(Entry("gateway.stopped")),
    )
    assert outcomes[0].seq == 0
    assert [receipt.seq for receipt in outcomes[2]] == [1, 2]
    assert outcomes[4].seq == 3
    assert (outcomes[1].code, outcomes[3].code) == ("state", "entry_too_large")
    assert log.size == 4
    assert await log.root() == await replayed_root(database)


async def test_a_lost_batch_leaves_the_tree_right(
    database: Database, log: SqliteDecisionLog
) -> None:
    """A commit that fails takes its entries along, in memory as on disk."""
    await database.schema(
        [
            "CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY)",
            "CREATE TABLE IF NOT EXISTS friends (name TEXT REFERENCES names (name))",
        ]
    )

    def fail_the_commit(connection: sqlite3.Connection, _: int) -> None:
        connection.execute("PRAGMA defer_foreign_keys=ON")
        connection.execute("INSERT INTO friends VALUES ('nobody')")

    await log.append(Entry("gateway.started"))
    lost = await together(
        database,
        log.append(Entry("launch.received")),
        log.append(Entry("launch.received"), change=fail_the_commit),
        log.append(Entry("launch.received")),
    )
    assert [type(outcome) for outcome in lost] == [Retryable] * 3
    assert log.size == 1
    assert (await log.append(Entry("gateway.stopped"))).seq == 1
    assert await log.root() == await replayed_root(database)


async def test_size_is_of_what_is_durable(database: Database, log: SqliteDecisionLog) -> None:
    """An entry counts from its commit on, and not while its batch is being made."""
    seen: list[int] = []
    database.before_commit.append(lambda _: seen.append(log.size))
    await log.append(Entry("gateway.started"))
    assert seen == [0]
    assert log.size == 1


async def test_the_log_goes_on_after_a_restart(disk: Disk) -> None:
    """Numbers, tree and old roots."""
    roots = []
    for _ in range(5):
        database, log = await disk.open()
        await log.append_all([Entry("gateway.started"), Entry("gateway.stopped")])
        roots.append(await log.root())
        await database.close()
    database, log = await disk.open()
    assert [await log.root(2 * number) for number in range(1, 6)] == roots
    assert await log.root() == await replayed_root(database)
    await database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET bytes = bytes",
        "UPDATE nodes SET hash = hash",
        "UPDATE checkpoints SET text = text",
        "DELETE FROM entries",
        "DELETE FROM nodes",
        "DELETE FROM checkpoints",
        "INSERT OR REPLACE INTO entries SELECT * FROM entries LIMIT 1",
        "INSERT OR REPLACE INTO nodes SELECT * FROM nodes LIMIT 1",
        "INSERT OR REPLACE INTO checkpoints SELECT * FROM checkpoints LIMIT 1",
    ],
)
def test_rows_are_only_ever_added(signed: SignedLog, statement: str) -> None:
    """Update, delete and replace are refused by the database itself."""
    with (
        closing(sqlite3.connect(signed.disk.database)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(statement)


def test_entries_have_no_gaps(signed: SignedLog) -> None:
    """A number that is not the next one is refused by the database itself."""
    insert = "INSERT INTO entries VALUES (?, 'id', 'event', NULL, NULL, x'00', x'00')"
    with closing(sqlite3.connect(signed.disk.database)) as connection:
        for seq in (5, 12):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(insert, (seq,))


async def test_a_changed_entry_is_not_handed_out(signed: SignedLog) -> None:
    """Whoever asks for it, in whichever way, hears that it is forged."""
    with signed.disk.tampered() as connection:
        (raw,) = connection.execute("SELECT bytes FROM entries WHERE seq = 3").fetchone()
        value = json.loads(raw) | {"event": "decision.allow", "body": {"number": 99}}
        raw = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        connection.execute("UPDATE entries SET bytes = ? WHERE seq = 3", (raw,))
    database, log = await signed.disk.open()
    for reading in (
        log.entry(3),
        log.receipt(3),
        log.entries(0, 10),
        log.entries(0, 10, launch_id="launch-1"),
        log.newest(20),
        log.find("decision-3"),
    ):
        with pytest.raises(IntegrityViolation) as caught:
            await reading
        assert caught.value.code == "log_entry_forged"
    assert (await log.entry(2)).seq == 2
    await database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET id = 'other' WHERE seq = 3",
        "UPDATE entries SET event = 'decision.deny' WHERE seq = 3",
        "UPDATE entries SET launch_id = 'launch-9' WHERE seq = 3",
        "UPDATE entries SET decision_id = NULL WHERE seq = 3",
    ],
)
async def test_an_entry_cannot_be_listed_as_anothers(signed: SignedLog, statement: str) -> None:
    """The columns that entries are searched by are those of its bytes."""
    with signed.disk.tampered() as connection:
        connection.execute(statement)
    database, log = await signed.disk.open()
    with pytest.raises(IntegrityViolation):
        await log.entry(3)
    await database.close()


async def test_a_forged_entry_needs_the_key(signed: SignedLog) -> None:
    """A database password adds an entry and a valid tree, and still no decision to act on."""
    forge(signed.disk)
    database = await Database.open(signed.disk.database, within_seconds=5)
    with pytest.raises(IntegrityViolation) as caught:
        await signed.disk.log(database)
    assert caught.value.code == "log_entry_forged"
    await database.close()


async def test_a_second_writer_is_noticed_while_the_gateway_runs(signed: SignedLog) -> None:
    """Somebody else's entry stops the log: it is neither acted on nor appended to."""
    database, log = await signed.disk.open()
    receipt = await log.append(Entry("gateway.started"))
    forge(signed.disk)
    with pytest.raises(IntegrityViolation) as caught:
        await log.authentic(receipt.__class__(receipt.seq + 1, "id", "00" * 32, "decision.allow"))
    assert caught.value.code == "log_entry_forged"
    with pytest.raises(IntegrityViolation) as caught:
        await log.append(Entry("gateway.stopped"))
    assert caught.value.code == "log_forked"
    assert caught.value.step == "record"
    await database.close()


async def test_a_copied_entry_is_not_authentic_elsewhere(signed: SignedLog) -> None:
    """A genuine decision, repeated at the end of the log, has the MAC of another place."""
    with signed.disk.tampered() as connection:
        connection.execute(
            "INSERT INTO entries SELECT 11, 'copy', event, launch_id, decision_id, mac, bytes"
            " FROM entries WHERE seq = 3"
        )
        tree = merkle.Frontier.read(read_nodes(connection), 11)
        (raw,) = connection.execute("SELECT bytes FROM entries WHERE seq = 3").fetchone()
        connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", tree.append(leaf_hash(raw))[1])
    with pytest.raises(IntegrityViolation) as caught:
        await signed.disk.open()
    assert caught.value.code == "log_entry_forged"


async def test_fewer_entries_than_were_signed_are_refused(signed: SignedLog) -> None:
    """A log that lost its newest entries does not go on as if nothing had been."""
    with signed.disk.tampered() as connection:
        connection.execute("DELETE FROM entries WHERE seq >= 8")
        connection.execute("DELETE FROM nodes WHERE (idx + 1) << level > 8")
    with pytest.raises(IntegrityViolation) as caught:
        await signed.disk.open()
    assert caught.value.code == "log_truncated"


async def test_another_tree_than_was_signed_is_refused(signed: SignedLog) -> None:
    """The newest checkpoint is compared with the stored nodes at every start."""
    with signed.disk.tampered() as connection:
        connection.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level = 3 AND idx = 0")
    with pytest.raises(IntegrityViolation) as caught:
        await signed.disk.open()
    assert caught.value.code == "log_forked"


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM nodes WHERE level = 3",
        "DELETE FROM nodes WHERE level = 0 AND idx = 10",
        "UPDATE nodes SET hash = zeroblob(32) WHERE level = 0 AND idx = 10",
    ],
)
async def test_a_damaged_tree_is_refused(signed: SignedLog, damage: str) -> None:
    """Nothing is appended to a tree that is not that of the entries."""
    with signed.disk.tampered() as connection:
        connection.execute(damage)
    with pytest.raises(IntegrityViolation) as caught:
        await signed.disk.open()
    assert caught.value.code in {"log_damaged", "log_forked"}


async def test_a_log_keeps_its_name(signed: SignedLog) -> None:
    """Checkpoints under another name could not be compared with the old ones."""
    database = await Database.open(signed.disk.database, within_seconds=5)
    with pytest.raises(Misconfigured) as caught:
        await SqliteDecisionLog.open(database, signed.disk.ring(), origin="other/log", labels={})
    assert caught.value.code == "log_renamed"
    await database.close()


async def test_a_checkpoint_is_stored_once(signed: SignedLog) -> None:
    """The signer may sign the same size again after a restart."""
    database, log = await signed.disk.open()
    newest = await log.checkpoint()
    assert newest is not None
    assert newest.startswith(f"{ORIGIN}\n9\n")
    await log.store_checkpoint(newest)
    assert await log.checkpoint() == newest
    with pytest.raises(IntegrityViolation):
        await log.store_checkpoint("no checkpoint")
    await database.close()
