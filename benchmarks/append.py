"""Entries of the decision log a second, durable, beside bare SQLite commits of the same size."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.figures import Figure
from gateway.canonical import encode
from gateway.decisionlog.log import Entry
from gateway.decisionlog.sqlite import SqliteDecisionLog
from gateway.keys import KeyRing
from gateway.store.database import Database

BODY = {"text": "x" * 800, "numbers": list(range(20))}
SECONDS = 2.0


async def measure() -> list[Figure]:
    """Return entries a second at 1 and at 64 writers."""
    figures = []
    for writers in (1, 64):
        with tempfile.TemporaryDirectory() as folder:
            ours = await _ours(Path(folder), writers)
            bare = await asyncio.to_thread(_bare, Path(folder) / "bare.db", writers)
        name = f"append, {writers} writer{'s' if writers > 1 else ''}"
        figures.append(Figure(name, ours, "entries/s", "rows/s, bare SQLite", bare))
    return figures


async def _ours(folder: Path, writers: int) -> float:
    keys = KeyRing.open(folder / "keys")
    database = await Database.open(folder / "log.db", within_seconds=10)
    log = await SqliteDecisionLog.open(database, keys, origin="bench", labels={})
    end = time.perf_counter() + SECONDS

    async def write() -> int:
        count = 0
        while time.perf_counter() < end:
            await log.append(Entry("launch.received", BODY, launch_id="bench"))
            count += 1
        return count

    start = time.perf_counter()
    counts = await asyncio.gather(*(write() for _ in range(writers)))
    seconds = time.perf_counter() - start
    await database.close()
    return sum(counts) / seconds


def _bare(path: Path, group: int) -> float:
    """Commit rows of the same size, as many in one transaction as there are writers."""
    data = encode(BODY)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, bytes BLOB)")
        start = time.perf_counter()
        count = 0
        while time.perf_counter() - start < SECONDS:
            connection.execute("BEGIN")
            for _ in range(group):
                connection.execute("INSERT INTO rows (bytes) VALUES (?)", (data,))
            connection.execute("COMMIT")
            count += group
        return count / (time.perf_counter() - start)
