"""Remote key sets against a real HTTP server: current, asked for seldom, and rotated in time."""

from __future__ import annotations

import asyncio

from aiohttp import web
from identity_forge import (
    ISSUER,
    Clock,
    Forge,
    Keyring,
    KeyServer,
    accepted,
    claims,
    ed_pair,
    refused,
    until,
)

from gateway.identity.issuers import Issuer
from gateway.identity.jwks import RemoteKeys
from gateway.identity.verifier import TokenVerifier
from gateway.settings import IssuerSettings
from tests.fixtures.identity.unasked import Unasked

HOUR = 3600.0


# --- freshness ------------------------------------------------------------------------------------


async def test_one_request_serves_until_the_keys_are_old(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring, clock: Clock
) -> None:
    """The first lookup fetches; later ones, of any known key, do not."""
    key_server.publish(keyring.ed, keyring.rsa)
    for _ in range(3):
        assert await remote.key("ed", "EdDSA") is not None
        assert await remote.key("rsa", "PS256") is not None
        clock.now += 100
    assert key_server.requests == 1


async def test_lookups_at_once_share_one_request(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring
) -> None:
    """Fifty tokens that arrive at a cold gateway cause one request, and all are served."""
    key_server.publish(keyring.ed)
    found = await asyncio.gather(*(remote.key("ed", "EdDSA") for _ in range(50)))
    assert all(found)
    assert key_server.requests == 1


async def test_whoever_gives_up_does_not_end_it_for_the_others(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring
) -> None:
    """A cancelled lookup leaves the shared request alone."""
    gate = asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        await gate.wait()
        return web.json_response({"keys": [keyring.ed.jwk]})

    key_server.answer = answer
    first, second = (asyncio.create_task(remote.key("ed", "EdDSA")) for _ in range(2))
    await until(lambda: key_server.requests == 1)
    first.cancel()
    await asyncio.wait({first})
    gate.set()
    assert await second is not None
    assert key_server.requests == 1


async def test_refresh_happens_in_the_background(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring, clock: Clock
) -> None:
    """Between 8 and 10 minutes of age the old keys serve at once while new ones are fetched."""
    gate = asyncio.Event()
    key_server.publish(keyring.ed)
    assert await remote.key("ed", "EdDSA") is not None

    async def answer(_request: web.Request) -> web.Response:
        await gate.wait()
        return web.json_response({"keys": [keyring.rsa.jwk]})

    key_server.answer = answer
    clock.now += 500
    assert await asyncio.wait_for(remote.key("ed", "EdDSA"), 0.1) is not None
    await until(lambda: key_server.requests == 2)
    gate.set()
    await until(lambda: "rsa" in remote._keys.keys)  # no lookup: that could fetch by itself
    assert await remote.key("ed", "EdDSA") is None
    assert key_server.requests == 2


async def test_key_taken_back_counts_no_longer_after_max_age(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring, clock: Clock
) -> None:
    """After a quiet hour the first lookup asks before it believes a key."""
    key_server.publish(keyring.ed)
    assert await remote.key("ed", "EdDSA") is not None
    key_server.publish()
    clock.now += HOUR
    assert await remote.key("ed", "EdDSA") is None


async def test_new_key_is_found_at_once(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring, clock: Clock
) -> None:
    """A token under a key that the set lacks makes one request, half a minute after the last."""
    key_server.publish(keyring.ed)
    assert await remote.key("ed", "EdDSA") is not None
    key_server.publish(keyring.ed, keyring.rsa)
    clock.now += 31
    assert await remote.key("rsa", "RS256") is not None
    assert key_server.requests == 2


async def test_flood_of_unknown_keys(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring, clock: Clock
) -> None:
    """A thousand made-up ids cause one request per half minute, and known keys keep serving."""
    key_server.publish(keyring.ed)
    for period in range(1, 4):
        found = await asyncio.gather(*(remote.key(f"x{n}", "EdDSA") for n in range(1000)))
        assert not any(found)
        assert await remote.key("ed", "EdDSA") is not None
        assert key_server.requests == period
        clock.now += 30


async def test_known_key_for_another_algorithm_asks_nobody(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring, clock: Clock
) -> None:
    """A known id under an algorithm that does not fit is no reason to fetch."""
    key_server.publish(keyring.ed)
    assert await remote.key("ed", "EdDSA") is not None
    clock.now += 60
    assert await remote.key("ed", "RS256") is None
    assert key_server.requests == 1


# --- together with the verifier -------------------------------------------------------------------


async def test_rotation_seen_by_the_verifier(
    remote: RemoteKeys, key_server: KeyServer, forge: Forge, clock: Clock
) -> None:
    """Tokens under the old key pass until the issuer drops it; under the new, once it is there."""
    row = IssuerSettings(issuer=ISSUER, jwks_url=key_server.url, clients={"cli": "human"})
    verifier = TokenVerifier(
        [Issuer.from_settings(row, remote)],
        leeway_seconds=30,
        clock=clock,
        seen=Unasked(),
    )
    old, new = ed_pair("2026-10"), ed_pair("2026-11")

    def token(key: object) -> str:
        times = {"iat": int(clock.now), "exp": int(clock.now) + 600}
        return forge.token(claims(**times), key=key)  # type: ignore[arg-type]

    key_server.publish(old)
    assert await accepted(verifier, token(old))
    assert await refused(verifier, token(new)) == "key_unknown"
    key_server.publish(old, new)
    clock.now += 31
    assert await accepted(verifier, token(new))
    assert await accepted(verifier, token(old))
    key_server.publish(new)
    clock.now += HOUR
    assert await refused(verifier, token(old)) == "key_unknown"
    assert await accepted(verifier, token(new))
