"""Keys, rows and hand-made tokens: everything that an issuer, or somebody who poses as one, has."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

from gateway.errors import Unauthenticated
from gateway.identity.verifier import TokenVerifier
from gateway.model import Principal

NOW = 1_790_000_000
ISSUER = "https://id.example.org"
OTHER_ISSUER = "https://other.example.org"


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now: float = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def b64(data: bytes) -> str:
    """Write base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Pair:
    """A private key, and what its issuer publishes."""

    private: Any
    algorithm: str
    jwk: dict[str, Any]

    @property
    def public(self) -> Any:
        """The public key."""
        return self.private.public_key()

    def sign(self, data: bytes) -> bytes:
        """Sign as a JWS of that algorithm does."""
        return get_default_algorithms()[self.algorithm].sign(data, self.private)


def pair(private: Any, algorithm: str, kid: str) -> Pair:
    """Describe a private key as its issuer would."""
    codecs: dict[str, Any] = {"Ed": OKPAlgorithm, "ES": ECAlgorithm}
    codec = codecs.get(algorithm[:2], RSAAlgorithm)
    return Pair(private, algorithm, codec.to_jwk(private.public_key(), as_dict=True) | {"kid": kid})


def ed_pair(kid: str) -> Pair:
    """Make a fresh Ed25519 key."""
    return pair(ed25519.Ed25519PrivateKey.generate(), "EdDSA", kid)


@dataclass(frozen=True)
class Keyring:
    """One key of each sort."""

    ed: Pair = field(default_factory=lambda: ed_pair("ed"))
    ec: Pair = field(
        default_factory=lambda: pair(ec.generate_private_key(ec.SECP256R1()), "ES256", "ec")
    )
    rsa: Pair = field(
        default_factory=lambda: pair(rsa.generate_private_key(65537, 2048), "RS256", "rsa")
    )
    stranger: Pair = field(default_factory=lambda: ed_pair("ed"))


def claims(**changes: Any) -> dict[str, Any]:
    """Return claims that every check lets pass, but for the changes; None takes a claim away."""
    good = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": "sluice",
        "iat": NOW,
        "exp": NOW + 600,
        "jti": "0193-a",
        "client_id": "cli",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


@dataclass(frozen=True)
class Forge:
    """Writes tokens, good and evil: every part can be given as raw bytes."""

    keyring: Keyring

    def token(
        self,
        payload: dict[str, Any] | bytes | None = None,
        *,
        header: dict[str, Any] | bytes | None = None,
        key: Pair | None = None,
        signature: bytes | None = None,
        **headers: Any,
    ) -> str:
        """Return a compact token, signed by ``key`` unless a signature is given."""
        key = key or self.keyring.ed
        if header is None:
            header = {"alg": key.algorithm, "kid": key.jwk["kid"], "typ": "at+jwt"} | headers
            header = {name: value for name, value in header.items() if value is not None}
        payload = claims() if payload is None else payload
        parts = [
            b64(part if isinstance(part, bytes) else json.dumps(part).encode())
            for part in (header, payload)
        ]
        signed = ".".join(parts)
        return f"{signed}.{b64(key.sign(signed.encode()) if signature is None else signature)}"

    def with_secret(self, secret: bytes, **headers: Any) -> str:
        """Return a token whose signature is an HMAC under ``secret``."""
        signed = self.token(alg="HS256", **headers).rpartition(".")[0]
        return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


Trust = Callable[..., TokenVerifier]


async def refused(verifier: TokenVerifier, token: str) -> str:
    """Return the code with which a token is refused."""
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(token)
    assert caught.value.step == "authenticate"
    assert caught.value.public_message
    return caught.value.code


async def accepted(verifier: TokenVerifier, token: str) -> Principal:
    """Return the principal of a token that has to pass."""
    principal = await verifier.verify(token)
    assert isinstance(principal, Principal)
    return principal


@dataclass
class KeyServer:
    """A real HTTP server whose one page a test sets."""

    url: str = ""
    requests: int = 0
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None

    def publish(self, *pairs: Pair | dict[str, Any]) -> None:
        """Answer with these keys from now on."""
        keys = [key.jwk if isinstance(key, Pair) else key for key in pairs]
        self.say(json.dumps({"keys": keys}))

    def say(self, text: str, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer with this text from now on."""

        async def answer(_request: web.Request) -> web.Response:
            return web.Response(text=text, status=status, headers=headers)

        self.answer = answer

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        assert self.answer is not None
        return await self.answer(request)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in the background."""
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("did not happen within two seconds")
