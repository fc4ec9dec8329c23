"""A real log on disk, small enough to damage in every way."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.decisionlog import merkle, record
from gateway.decisionlog.log import Entry
from gateway.decisionlog.signing import Signer
from gateway.decisionlog.sqlite import SqliteDecisionLog
from gateway.decisionlog.verifier.proofs import leaf_hash
from gateway.keys import KeyRing
from gateway.store.database import Database

ORIGIN = "sluice.test/log"


@dataclass(frozen=True)
class Disk:
    """Where a log lives, and how its parts are opened."""

    directory: Path

    @property
    def database(self) -> Path:
        """The database file."""
        return self.directory / "sluice.db"

    @property
    def keys(self) -> Path:
        """The keys' directory."""
        return self.directory / "keys"

    def ring(self) -> KeyRing:
        """Return the gateway's keys."""
        return KeyRing.open(self.keys)

    def signer(self) -> Signer:
        """Return what runs in the signer's process, here in ours."""
        return Signer(self.database, self.keys, ORIGIN)

    async def open(self) -> tuple[Database, SqliteDecisionLog]:
        """Open database and log; the caller closes the database."""
        database = await Database.open(self.database, within_seconds=5)
        try:
            return database, await self.log(database)
        except BaseException:
            await database.close()
            raise

    async def log(self, database: Database) -> SqliteDecisionLog:
        """Open the log of an open database."""
        return await SqliteDecisionLog.open(
            database, self.ring(), origin=ORIGIN, labels={"id": "gw-1", "version": "0.1.0"}
        )

    @contextmanager
    def tampered(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection of somebody who owns the database and has dropped every trigger."""
        with closing(sqlite3.connect(self.database)) as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in found.fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            yield connection
            connection.commit()

    def copy(self, directory: Path) -> Disk:
        """Return a copy of all of it."""
        shutil.copytree(self.directory, directory)
        return Disk(directory)


@dataclass(frozen=True)
class SignedLog:
    """A log of eleven entries with checkpoints at 3, 4 and 9, and the key that verifies it."""

    disk: Disk
    public_key: str


async def write(disk: Disk) -> str:
    """Write the log of ``SignedLog``; return its public key."""
    database, log = await disk.open()
    signer = disk.signer()
    for number in range(11):
        await log.append(
            Entry(
                "decision.allow" if number % 2 else "launch.received",
                {"number": number, "text": "ünïcode & more"},
                launch_id=f"launch-{number // 2}",
                decision_id=f"decision-{number}" if number % 2 else None,
                requested_by={"subject": {"account": "dev#ada"}},
            )
        )
        if log.size in (3, 4, 9):
            await log.store_checkpoint(signer.sign())
    await database.close()
    return signer.public_key


def read_nodes(connection: sqlite3.Connection) -> merkle.ReadNode:
    """Return what reads stored nodes over a plain connection."""
    query = "SELECT hash FROM nodes WHERE level = ? AND idx = ?"
    return lambda level, index: bytes(connection.execute(query, (level, index)).fetchone()[0])


def forge(disk: Disk) -> None:
    """Add a decision as somebody who owns the database and lacks the writer's key."""
    with disk.tampered() as connection:
        (size,) = connection.execute("SELECT max(seq) + 1 FROM entries").fetchone()
        entry_id, raw = record.encode_entry(Entry("decision.allow", {"forged": True}), size, {})
        mac = record.authentication(b"guess" * 8, size, raw)
        row = (size, entry_id, "decision.allow", None, None, mac, raw)
        connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        _, nodes = merkle.Frontier.read(read_nodes(connection), size).append(leaf_hash(raw))
        connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", nodes)
