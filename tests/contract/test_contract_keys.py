"""The seam ``KeySource``: whether keys stand in a file or come over HTTP, they mean the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession, web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from gateway.identity.issuers import KeySource
from gateway.identity.jwks import RemoteKeys
from gateway.identity.keys import StaticKeys

Offer = Callable[[Sequence[dict[str, Any]]], Awaitable[KeySource]]


@pytest.fixture(params=["static", "remote"])
async def offer(request: pytest.FixtureRequest) -> AsyncIterator[Offer]:
    """Return a function that makes a key source of the given public keys."""
    async with AsyncExitStack() as stack:

        async def static(jwks: Sequence[dict[str, Any]]) -> KeySource:
            return StaticKeys(jwks)

        async def remote(jwks: Sequence[dict[str, Any]]) -> KeySource:
            async def answer(_request: web.Request) -> web.Response:
                return web.json_response({"keys": list(jwks)})

            app = web.Application()
            app.router.add_get("/jwks", answer)
            runner = web.AppRunner(app)
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            session = await stack.enter_async_context(ClientSession())
            keys = RemoteKeys(f"http://127.0.0.1:{runner.addresses[0][1]}/jwks", session)
            stack.push_async_callback(keys.close)
            return keys

        yield {"static": static, "remote": remote}[request.param]


@pytest.fixture
def ed() -> ed25519.Ed25519PrivateKey:
    """Return an Ed25519 key."""
    return ed25519.Ed25519PrivateKey.generate()


def published(private: Any, kid: str, **members: Any) -> dict[str, Any]:
    """Return the public key as an issuer lists it."""
    codec: Any = OKPAlgorithm if isinstance(private, ed25519.Ed25519PrivateKey) else ECAlgorithm
    return {**codec.to_jwk(private.public_key(), as_dict=True), "kid": kid, **members}


async def test_key_verifies_what_its_owner_signed(
    offer: Offer, ed: ed25519.Ed25519PrivateKey
) -> None:
    """A key is found by id and algorithm, and verifies the signatures of its private half."""
    keys = await offer([published(ed, "one")])
    key = await keys.key("one", "EdDSA")
    assert key is not None
    token = jwt.encode({"sub": "x"}, ed, "EdDSA")
    assert jwt.decode(token, key, algorithms=["EdDSA"]) == {"sub": "x"}


async def test_unknown_key(offer: Offer, ed: ed25519.Ed25519PrivateKey) -> None:
    """An id that is not there, however it is spelled, is None and no error."""
    keys = await offer([published(ed, "one")])
    for kid in ("two", "ONE", "one ", "", "../one", "x" * 10_000):
        assert await keys.key(kid, "EdDSA") is None


async def test_key_is_for_its_algorithms_alone(offer: Offer, ed: ed25519.Ed25519PrivateKey) -> None:
    """A known id under an algorithm of another key type, or none, is None."""
    p256 = ec.generate_private_key(ec.SECP256R1())
    keys = await offer([published(ed, "ed"), published(p256, "ec", alg="ES256", use="sig")])
    assert await keys.key("ec", "ES256") is not None
    for kid, algorithm in (
        ("ed", "ES256"),
        ("ec", "EdDSA"),
        ("ec", "ES384"),
        ("ec", "none"),
        ("ec", "HS256"),
    ):
        assert await keys.key(kid, algorithm) is None


async def test_each_key_answers_to_its_own_id(offer: Offer, ed: ed25519.Ed25519PrivateKey) -> None:
    """Two keys of one sort are kept apart by their ids."""
    other = ed25519.Ed25519PrivateKey.generate()
    keys = await offer([published(ed, "one"), published(other, "two")])
    key = await keys.key("two", "EdDSA")
    assert key is not None
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(jwt.encode({}, ed, "EdDSA"), key, algorithms=["EdDSA"])
    assert jwt.decode(jwt.encode({}, other, "EdDSA"), key, algorithms=["EdDSA"]) == {}


async def test_a_set_is_read_when_it_is_made(offer: Offer, ed: ed25519.Ed25519PrivateKey) -> None:
    """A list that its owner changes afterwards does not change which keys are believed."""
    jwks = [published(ed, "one")]
    keys = await offer(jwks)
    assert await keys.key("one", "EdDSA") is not None
    jwks[0]["kid"] = "two"
    assert await keys.key("one", "EdDSA") is not None
    assert await keys.key("two", "EdDSA") is None
