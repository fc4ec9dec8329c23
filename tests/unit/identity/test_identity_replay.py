"""The memory of used tokens, in the process and in the store: one suite for both, and a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from identity_forge import NOW, Clock, Forge, Trust, accepted, refused

from gateway.errors import Retryable
from gateway.identity.replay import MemorySeenTokens, SeenTokens, SqliteSeenTokens
from gateway.store.database import Database

LATER = NOW + 600


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """Open a store."""
    database = await Database.open(tmp_path / "sluice.db", within_seconds=5)
    yield database
    await database.close()


@pytest.fixture(params=["memory", "sqlite"])
async def seen(request: pytest.FixtureRequest, database: Database, clock: Clock) -> SeenTokens:
    """Return each memory in turn."""
    if request.param == "memory":
        return MemorySeenTokens(clock=clock)
    return await SqliteSeenTokens.open(database, clock=clock)


async def test_first_time_only(seen: SeenTokens) -> None:
    """A token is new once."""
    assert await seen.insert_if_absent("i", "a", LATER)
    assert not await seen.insert_if_absent("i", "a", LATER)
    assert not await seen.insert_if_absent("i", "a", LATER + 60)


async def test_id_belongs_to_its_issuer(seen: SeenTokens) -> None:
    """Two issuers may use the same id, and no joined text makes two tokens one."""
    assert await seen.insert_if_absent("i", "a", LATER)
    assert await seen.insert_if_absent("j", "a", LATER)
    assert await seen.insert_if_absent("ia", "", LATER)
    assert await seen.insert_if_absent("", "ia", LATER)


async def test_one_of_many_at_once(seen: SeenTokens) -> None:
    """Of fifty requests with one token, one passes."""
    answers = await asyncio.gather(*(seen.insert_if_absent("i", "a", LATER) for _ in range(50)))
    assert answers.count(True) == 1


async def test_kept_until_it_expires(seen: SeenTokens, clock: Clock) -> None:
    """A token is remembered up to its last moment, whatever else comes in, and then forgotten."""
    assert await seen.insert_if_absent("i", "a", NOW + 60)
    clock.now = NOW + 59.9
    assert await seen.insert_if_absent("i", "b", LATER)
    assert not await seen.insert_if_absent("i", "a", NOW + 60)
    clock.now = NOW + 60
    assert await seen.insert_if_absent("i", "a", NOW + 120)
    assert not await seen.insert_if_absent("i", "b", LATER)


async def test_limit_refuses_and_does_not_forget(clock: Clock) -> None:
    """A full memory accepts no token that it could not remember, until old ones have expired."""
    seen = MemorySeenTokens(limit=2, clock=clock)
    assert await seen.insert_if_absent("i", "a", NOW + 10)
    assert await seen.insert_if_absent("i", "b", NOW + 20)
    with pytest.raises(Retryable, match="replay_memory_full"):
        await seen.insert_if_absent("i", "c", NOW + 30)
    assert not await seen.insert_if_absent("i", "a", NOW + 10)
    clock.now = NOW + 10
    assert await seen.insert_if_absent("i", "c", NOW + 30)
    assert not await seen.insert_if_absent("i", "b", NOW + 20)


async def test_restart_forgets_nothing(database: Database, clock: Clock) -> None:
    """What the store remembers, the next process knows; and what expired leaves no row."""
    first = await SqliteSeenTokens.open(database, clock=clock)
    assert await first.insert_if_absent("i", "a", LATER)
    assert await first.insert_if_absent("i", "b", NOW + 1)
    clock.now = NOW + 2
    second = await SqliteSeenTokens.open(database, clock=clock)
    assert not await second.insert_if_absent("i", "a", LATER)
    rows = await database.read(lambda c: c.execute("SELECT jti FROM seen_tokens").fetchall())
    assert rows == [("a",)]


async def test_verifier_on_the_store(
    trust: Trust, forge: Forge, database: Database, clock: Clock
) -> None:
    """A single-use token passes the verifier once, and never while the store cannot remember."""
    verifier = trust(single_use=True, seen=await SqliteSeenTokens.open(database, clock=clock))
    token = forge.token()
    assert await accepted(verifier, token)
    assert await refused(verifier, token) == "token_replayed"
    await database.close()
    with pytest.raises(Retryable):
        await verifier.verify(forge.token())
