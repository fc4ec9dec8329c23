"""The fixtures of the identity tests, made of what ``identity_forge`` builds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from identity_forge import ISSUER, OTHER_ISSUER, Clock, Forge, Keyring, KeyServer, Trust

from gateway.identity.issuers import Issuer
from gateway.identity.jwks import Freshness, RemoteKeys
from gateway.identity.keys import StaticKeys
from gateway.identity.replay import SeenTokens, SqliteSeenTokens
from gateway.identity.verifier import TokenVerifier
from gateway.settings import IssuerSettings
from gateway.store.database import Database
from tests.fixtures.identity.unasked import Unasked


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    """Make the keys once; an RSA key takes a while."""
    return Keyring()


@pytest.fixture
def forge(keyring: Keyring) -> Forge:
    """Return who writes the tokens."""
    return Forge(keyring)


@pytest.fixture
def clock() -> Clock:
    """Return the verifier's clock."""
    return Clock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """Open a store."""
    database = await Database.open(tmp_path / "sluice.db", within_seconds=5)
    yield database
    await database.close()


@pytest.fixture
async def seen(database: Database, clock: Clock) -> SqliteSeenTokens:
    """Return the memory of tokens that count once."""
    return await SqliteSeenTokens.open(database, clock=clock)


@pytest.fixture
def trust(keyring: Keyring, clock: Clock) -> Trust:
    """Return a function that makes a verifier of one row, with the given fields, and a second.

    One whose tokens count once is given ``seen``.
    """

    def make(**fields: Any) -> TokenVerifier:
        jwks = (keyring.ed.jwk, keyring.ec.jwk, keyring.rsa.jwk)
        defaults: dict[str, Any] = {
            "issuer": ISSUER,
            "keys": jwks,
            "clients": {"cli": "human", "copilot": "agent", "ci": "service"},
        }
        seen: SeenTokens = fields.pop("seen", None) or Unasked()
        rows = [
            IssuerSettings(**(defaults | fields)),
            IssuerSettings(issuer=OTHER_ISSUER, keys=(keyring.stranger.jwk,)),
        ]
        return TokenVerifier(
            [Issuer.from_settings(row, StaticKeys(row.keys)) for row in rows],
            leeway_seconds=30,
            clock=clock,
            seen=seen,
        )

    return make


@pytest.fixture
async def key_server() -> AsyncIterator[KeyServer]:
    """Run a key server on loopback."""
    server = KeyServer()
    app = web.Application()
    app.router.add_get("/{name:.*}", server._handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    yield server
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    """Return the session that the application would lend."""
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def remote(
    key_server: KeyServer, session: ClientSession, clock: Clock
) -> AsyncIterator[RemoteKeys]:
    """Return the key source under test, at the server."""
    keys = RemoteKeys(key_server.url, session, clock=clock, freshness=Freshness(timeout=0.2))
    yield keys
    await keys.close()
