"""The memory of used tokens in the store, over a restart too."""

from __future__ import annotations

import asyncio

import pytest
from identity_forge import NOW, Clock, Forge, Trust, accepted, refused

from gateway.errors import Retryable
from gateway.identity.replay import SeenTokens, SqliteSeenTokens
from gateway.store.database import Database

LATER = NOW + 600


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
    trust: Trust, forge: Forge, database: Database, seen: SeenTokens
) -> None:
    """A single-use token passes the verifier once, and never while the store cannot remember."""
    verifier = trust(single_use=True, seen=seen)
    token = forge.token()
    assert await accepted(verifier, token)
    assert await refused(verifier, token) == "token_replayed"
    await database.close()
    with pytest.raises(Retryable):
        await verifier.verify(forge.token())
