"""The memory of tokens that count once: ``insert_if_absent`` says whether this is the first time.

A memory that cannot remember refuses. It never forgets a token before its time, and never holds one
much longer: a row goes once its token could not be accepted anyway.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Protocol

from gateway.store.database import Database

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS seen_tokens (
        issuer TEXT NOT NULL, jti TEXT NOT NULL, expires_at INTEGER NOT NULL,
        PRIMARY KEY (issuer, jti)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS seen_tokens_by_expiry ON seen_tokens (expires_at)",
)


class SeenTokens(Protocol):
    """What the verifier asks."""

    async def insert_if_absent(self, issuer: str, jti: str, expires_at: int) -> bool:
        """Remember a token until ``expires_at``, in seconds since the epoch.

        Returns False where it was remembered already. Of two callers at once, one gets True.
        Raises ``Retryable`` when it cannot be remembered.
        """


class SqliteSeenTokens:
    """Remembers in the store, so that a restart forgets nothing. Make one with ``open``."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    @classmethod
    async def open(
        cls, database: Database, *, clock: Callable[[], float] = time.time
    ) -> SqliteSeenTokens:
        """Make the table where there is none. Raises what ``Database.schema`` raises."""
        await database.schema(SCHEMA)
        return cls(database, clock=clock)

    async def insert_if_absent(self, issuer: str, jti: str, expires_at: int) -> bool:
        """See ``SeenTokens``. True is returned once that is durable."""
        now = self._clock()

        def insert(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM seen_tokens WHERE expires_at <= ?", (now,))
            done = connection.execute(
                "INSERT OR IGNORE INTO seen_tokens VALUES (?, ?, ?)", (issuer, jti, expires_at)
            )
            return done.rowcount == 1

        return await self._database.write(insert)
