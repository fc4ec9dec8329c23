"""A real log on disk, small enough to damage in every way."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.decisionlog.log import Entry
from gateway.decisionlog.signing import Signer
from gateway.decisionlog.sqlite import SqliteDecisionLog
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


async def _write(disk: Disk) -> str:
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


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> SignedLog:
    """Return the signed log that tests copy."""
    disk = Disk(tmp_path_factory.mktemp("written") / "state")
    disk.directory.mkdir()
    return SignedLog(disk, asyncio.run(_write(disk)))


@pytest.fixture
def signed(written: SignedLog, tmp_path: Path) -> SignedLog:
    """Return a copy that the test may damage."""
    return SignedLog(written.disk.copy(tmp_path / "state"), written.public_key)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Return an empty place for a log."""
    return Disk(tmp_path)


@pytest.fixture
async def database(disk: Disk) -> AsyncIterator[Database]:
    """Yield an open database."""
    opened = await Database.open(disk.database, within_seconds=5)
    yield opened
    await opened.close()


@pytest.fixture
async def log(disk: Disk, database: Database) -> SqliteDecisionLog:
    """Return an empty log."""
    return await disk.log(database)
