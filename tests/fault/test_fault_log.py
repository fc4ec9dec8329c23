"""Killing the gateway, filling its disk: no acknowledged entry is lost, and the tree stays right.

Run as a program, this file is the gateway that gets killed: ``append`` and ``fill`` below.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from gateway.decisionlog.log import Entry
from gateway.decisionlog.signer import CheckpointSigner
from gateway.decisionlog.sqlite import SqliteDecisionLog
from gateway.decisionlog.verifier import verify
from gateway.errors import Retryable
from gateway.keys import KeyRing
from gateway.model import Receipt
from gateway.store.database import Database

ORIGIN = "sluice.test/log"
KILLS = 5
WRITERS = 8


async def opened(directory: Path) -> tuple[Database, SqliteDecisionLog]:
    """Open the log as a gateway that starts does."""
    database = await Database.open(directory / "sluice.db", within_seconds=10)
    await database.schema(["CREATE TABLE IF NOT EXISTS states (seq INTEGER PRIMARY KEY)"])
    keys = KeyRing.open(directory / "keys")
    return database, await SqliteDecisionLog.open(database, keys, origin=ORIGIN, labels={})


def signing(directory: Path, log: SqliteDecisionLog) -> CheckpointSigner:
    """Return a signer that is in a hurry."""
    return CheckpointSigner(directory / "sluice.db", log, directory / "keys", ORIGIN, 0.01)


def remember(connection: sqlite3.Connection, seq: int) -> None:
    """Change a state together with its entry."""
    connection.execute("INSERT INTO states VALUES (?)", (seq,))


def acknowledge(receipt: Receipt) -> None:
    """Tell the outside, as an answer to a requester does."""
    line = f"{receipt.seq} {receipt.entry_id} {receipt.leaf_hash} {receipt.event}\n"
    os.write(1, line.encode())


# --- the gateway that is killed -------------------------------------------------------------------


async def append(directory: Path) -> None:
    """Append without end, from several writers, while checkpoints are made."""
    _, log = await opened(directory)
    async with signing(directory, log):

        async def writer(number: int) -> None:
            while True:
                entry = Entry("task.started", {"writer": number, "text": "x" * 500})
                acknowledge(await log.append(entry, change=remember))

        await asyncio.gather(*(writer(number) for number in range(WRITERS)))


async def fill(directory: Path) -> None:
    """Append until the disk is full, then make room and go on."""
    database, log = await opened(directory)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    refused = 0
    while refused < 3:
        try:
            entry = Entry("task.started", {"text": "x" * 4000})
            acknowledge(await log.append(entry, change=remember))
        except Retryable as error:
            if error.code != "store_unavailable":
                raise
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    acknowledge(await log.append(Entry("task.finished"), change=remember))
    await database.close()


# --- the tests ------------------------------------------------------------------------------------


def start(what: str, directory: Path) -> subprocess.Popen[bytes]:
    """Start the gateway that gets killed."""
    return subprocess.Popen(
        [sys.executable, __file__, what, str(directory)],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )


def receipts(lines: list[bytes]) -> list[Receipt]:
    """Read what was acknowledged; a line that the kill cut short was not."""
    found = (line.decode().split() for line in lines if line.endswith(b"\n"))
    return [Receipt(int(seq), entry_id, leaf, event) for seq, entry_id, leaf, event in found]


async def check(directory: Path, acknowledged: list[Receipt]) -> None:
    """Everything acknowledged is there and authentic; states, tree and checkpoints agree."""
    database, log = await opened(directory)
    async with signing(directory, log) as signer:
        assert signer.healthy == (True, "")
        for receipt in acknowledged:
            await log.authentic(receipt)
        query = "SELECT seq FROM states ORDER BY seq"
        states = await database.read(lambda c: [seq for (seq,) in c.execute(query)])
        assert states == list(range(log.size))
        witness = directory / "checkpoints.log"
        report = await asyncio.to_thread(
            verify, directory / "sluice.db", signer.public_key, witness
        )
        assert report.ok, report
        assert report.size == log.size
    await database.close()


async def test_kill_loses_no_acknowledged_entry(tmp_path: Path) -> None:
    """At any instruction, again and again on the same log."""
    acknowledged: list[Receipt] = []
    chance = random.Random()  # noqa: S311 - when to kill
    for _ in range(KILLS):
        process = await asyncio.to_thread(start, "append", tmp_path)
        assert process.stdout is not None
        with process.stdout:
            lines = [await asyncio.to_thread(process.stdout.readline)]
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            process.kill()
            lines += await asyncio.to_thread(process.stdout.readlines)
        assert process.wait() == -signal.SIGKILL
        new = receipts(lines)
        assert new
        assert len({receipt.seq for receipt in new}) == len(new)
        assert not acknowledged or min(r.seq for r in new) > max(r.seq for r in acknowledged)
        acknowledged += new
    await check(tmp_path, acknowledged)
    assert len(acknowledged) > KILLS


def test_a_kill_leaves_no_signer_behind(tmp_path: Path) -> None:
    """Its pipe closes with the gateway: the process that holds the signing key ends too."""
    process = start("append", tmp_path)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.wait()
    (signer,) = map(int, children)
    deadline = time.monotonic() + 10
    while runs(signer) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not runs(signer)


def runs(pid: int) -> bool:
    """Tell whether a process is still doing anything."""
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


async def test_a_full_disk_loses_nothing_and_heals(tmp_path: Path) -> None:
    """Appends are refused as retryable while it is full, and work again when there is room."""
    process = await asyncio.to_thread(start, "fill", tmp_path)
    out, _ = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 0
    acknowledged = receipts(out.splitlines(keepends=True))
    assert len(acknowledged) > 10
    assert [receipt.seq for receipt in acknowledged] == list(range(len(acknowledged)))
    await check(tmp_path, acknowledged)


if __name__ == "__main__":
    role = {"append": append, "fill": fill}[sys.argv[1]]
    asyncio.run(role(Path(sys.argv[2])))
