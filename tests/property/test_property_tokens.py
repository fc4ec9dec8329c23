"""Invariant 2: no input whatever yields a principal, or any other error, that it should not.

Strangers send arbitrary text and damaged tokens: always ``Unauthenticated``. A trusted issuer that
signs arbitrary claims gets that too, or a principal whose every field keeps its promise.
"""

from __future__ import annotations

import asyncio
import base64
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from jwt.algorithms import OKPAlgorithm

from gateway import canonical
from gateway.errors import Unauthenticated
from gateway.identity.issuers import Issuer
from gateway.identity.keys import StaticKeys
from gateway.identity.refusals import MESSAGES
from gateway.identity.verifier import TokenVerifier
from gateway.model import Principal
from gateway.settings import IssuerSettings
from tests.fixtures.identity.unasked import Unasked

NOW = 1_790_000_000
ISSUER = "https://id.example.org"
HEADER = {"alg": "EdDSA", "kid": "k", "typ": "at+jwt"}
CLAIMS = {
    "iss": ISSUER,
    "sub": "alice",
    "aud": "sluice",
    "iat": NOW,
    "exp": NOW + 600,
    "jti": "j",
    "client_id": "cli",
}


@cache
def key() -> Ed25519PrivateKey:
    """Return the trusted issuer's key."""
    return Ed25519PrivateKey.generate()


@cache
def verifier() -> TokenVerifier:
    """Return a verifier that trusts it, with every feature of a row in use."""
    row = IssuerSettings(
        issuer=ISSUER,
        keys=({**OKPAlgorithm.to_jwk(key().public_key(), as_dict=True), "kid": "k"},),
        clients={"cli": "human", "copilot": "agent", "ci": "service"},
        other_clients="agent",
        may_assert_actors=True,
        groups_claim="groups",
    )
    return TokenVerifier(
        [Issuer.from_settings(row, StaticKeys(row.keys))],
        leeway_seconds=30,
        clock=lambda: NOW,
        seen=Unasked(),
    )


def verify(token: str) -> Principal | None:
    """Return the principal, or None for ``Unauthenticated``; let every other error out."""
    try:
        return asyncio.run(verifier().verify(token))
    except Unauthenticated as error:
        known = error.code in MESSAGES
    assert known
    return None


def b64(data: bytes) -> str:
    """Write base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(header: bytes, payload: bytes) -> str:
    """Return what the trusted issuer makes of these bytes."""
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(key().sign(signed.encode()))}"


def dump(value: object) -> bytes:
    """Write JSON, NaN and lone surrogates included."""
    return json.dumps(value).encode()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from([NOW, NOW + 60, ISSUER, "sluice", "alice", "cli", "copilot", "ci"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["sub", "iss", "act", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
names = st.sampled_from(
    [*CLAIMS, "azp", "nbf", "auth_time", "act", "groups", "kind", "may_act", "cnf"]
)


@given(st.text())
@example("..")
@example("eyJhbGciOiJub25lIn0.e30.")
@settings(max_examples=150, deadline=None)
def test_text_is_no_credential(text: str) -> None:
    """Arbitrary text is refused."""
    assert verify(text) is None


@given(st.lists(st.binary(max_size=60).map(b64), min_size=3, max_size=3))
@settings(max_examples=150, deadline=None)
def test_bytes_are_no_credential(parts: list[str]) -> None:
    """Three segments of arbitrary bytes are refused."""
    assert verify(".".join(parts)) is None


@given(st.dictionaries(st.text(max_size=8) | st.sampled_from([*HEADER, "crit", "jwk"]), values))
@settings(max_examples=150, deadline=None)
def test_unsigned_claims_are_no_credential(header: dict[str, Any]) -> None:
    """The best claims under any header, with a signature of nobody, are refused."""
    token = f"{b64(dump({**HEADER, **header}))}.{b64(dump(CLAIMS))}.{b64(bytes(64))}"
    assert verify(token) is None


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_token_is_no_credential(data: st.DataObject) -> None:
    """A good token with one character changed, taken away or added anywhere is refused."""
    good = sign(dump(HEADER), dump(CLAIMS))
    at = data.draw(st.integers(0, len(good) - 1))
    put = data.draw(st.text(st.characters(codec="ascii") | st.characters(), max_size=2))
    damaged = good[:at] + put + good[at + data.draw(st.integers(0, 2)) :]
    assume(damaged != good)
    assert verify(damaged) is None


@given(st.dictionaries(names, values, max_size=4), st.sets(names, max_size=2))
@example({}, set())
@example({"client_id": "copilot", "kind": "human", "auth_time": NOW}, set())
@example({"act": {"sub": "bot", "act": {"sub": "alice"}}}, set())
@settings(max_examples=600, deadline=None)
def test_signed_claims_keep_every_promise(changes: dict[str, Any], missing: set[str]) -> None:
    """Whatever a trusted issuer signs is refused, or is a principal that its row allows."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if name not in missing}
    principal = verify(sign(dump(HEADER), dump(claims)))
    if principal is None:
        return
    assert set(CLAIMS) - missing - {"client_id"} == set(CLAIMS) - {"client_id"}
    assert (claims["iss"], claims["aud"]) == (ISSUER, "sluice")
    assert principal.subject.subject == claims["sub"]
    assert NOW - 30 < principal.expires_at <= claims["iat"] + 3600
    assert all(member.issuer == ISSUER for member in principal.chain)
    assert all(member.subject.isprintable() for member in principal.chain)
    assert all(actor.kind == "agent" and not actor.groups for actor in principal.actors)
    assert len(principal.actors) <= 4
    human = claims.get("client_id", claims.get("azp")) in {"cli", None} and "act" not in claims
    assert (principal.kind == "human") == human
    assert human or principal.auth_time is None
    canonical.encode(principal.to_json())


@given(st.dictionaries(names, values, max_size=8), st.dictionaries(st.text(max_size=6), values))
@settings(max_examples=150, deadline=None)
def test_signed_nonsense_is_refused(claims: dict[str, Any], header: dict[str, Any]) -> None:
    """Claims without the required six, and extra headers, raise nothing but a refusal."""
    assume(not set(claims) >= {"iss", "sub", "aud", "exp", "iat", "jti"})
    assert verify(sign(dump({**header, **HEADER}), dump(claims))) is None
