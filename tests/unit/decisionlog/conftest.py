"""Fixtures: an empty log, and a signed one that a test may damage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from decisionlog_disk import Disk, SignedLog, write

from gateway.decisionlog.sqlite import SqliteDecisionLog
from gateway.store.database import Database


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> SignedLog:
    """Return the signed log that tests copy."""
    disk = Disk(tmp_path_factory.mktemp("written") / "state")
    disk.directory.mkdir()
    return SignedLog(disk, asyncio.run(write(disk)))


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
