"""The verification procedure against forged keys, algorithms and signatures."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from identity_forge import (
    OTHER_ISSUER,
    Forge,
    Keyring,
    Trust,
    accepted,
    b64,
    claims,
    pair,
    refused,
)

from gateway.identity.replay import SeenTokens

# The order of P-256's group (SEC 2 section 2.4.2).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
GOOD_HEADER = {"alg": "EdDSA", "kid": "ed", "typ": "at+jwt"}


# --- step 3: the algorithm ------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "", "HS256", "eddsa", "PS256", 5])
async def test_algorithm_is_the_row_s_choice(trust: Trust, forge: Forge, algorithm: object) -> None:
    """``none`` in any spelling and every algorithm outside the row are refused."""
    token = forge.token(header={**GOOD_HEADER, "alg": algorithm})
    assert await refused(trust(), token) == "algorithm_refused"
    token = forge.token(header={"kid": "ed", "typ": "at+jwt"})
    assert await refused(trust(), token) == "algorithm_refused"


async def test_none_without_a_signature(trust: Trust, forge: Forge) -> None:
    """An unsecured token has an empty third segment, and that is no segment."""
    token = forge.token(header={**GOOD_HEADER, "alg": "none"}, signature=b"")
    assert await refused(trust(), token) == "token_malformed"


async def test_public_key_is_not_a_shared_secret(
    trust: Trust, forge: Forge, keyring: Keyring
) -> None:
    """HS256 under any spelling of a published key is refused."""
    pem = keyring.rsa.public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    secrets = [pem, pem.strip(), json.dumps(keyring.rsa.jwk).encode(), keyring.ed.jwk["x"].encode()]
    for secret in secrets:
        token = forge.with_secret(secret, kid="rsa")
        assert await refused(trust(), token) == "algorithm_refused"


# --- step 4: the key ---------------------------------------------------------------------------


@pytest.mark.parametrize("kid", [None, "", 5, ["ed"], "e\x00d", "x" * 257, "\ud800", " ed"])
async def test_kid_names_a_key(trust: Trust, forge: Forge, kid: object) -> None:
    """Without a ``kid`` that can name a key no key is tried."""
    assert await refused(trust(), forge.token(kid=kid)) == "token_malformed"


@pytest.mark.parametrize(
    "kid",
    ["../../etc/passwd", "/dev/null", "' OR 1=1 --", "https://evil.example/k", "Ed", "ed\u200c"],
)
async def test_kid_is_a_name_and_nothing_more(trust: Trust, forge: Forge, kid: str) -> None:
    """A ``kid`` is looked up and never opened, queried or fetched."""
    assert await refused(trust(), forge.token(kid=kid)) in {"key_unknown", "token_malformed"}


@pytest.mark.parametrize(
    ("kid", "algorithm"), [("rsa", "ES256"), ("ec", "RS256"), ("ed", "ES256"), ("ec", "EdDSA")]
)
async def test_algorithm_must_fit_the_key(
    trust: Trust, forge: Forge, kid: str, algorithm: str
) -> None:
    """An allowed algorithm under a key of another sort finds no key."""
    token = forge.token(header={"alg": algorithm, "kid": kid, "typ": "JWT"})
    assert await refused(trust(), token) == "key_unknown"


async def test_key_that_says_its_algorithm_verifies_no_other(
    trust: Trust, forge: Forge, keyring: Keyring
) -> None:
    """An RSA key published for RS256 does not verify PS256, though the mathematics would."""
    pss = pair(keyring.rsa.private, "PS256", "rsa")
    either = trust(algorithms=("RS256", "PS256"))
    assert await accepted(either, forge.token(key=pss))
    only = trust(algorithms=("RS256", "PS256"), keys=({**keyring.rsa.jwk, "alg": "RS256"},))
    assert await refused(only, forge.token(key=pss)) == "key_unknown"


async def test_key_of_another_issuer(trust: Trust, forge: Forge, keyring: Keyring) -> None:
    """Keys belong to their row: a trusted issuer cannot sign for another one."""
    assert await refused(trust(), forge.token(key=keyring.stranger)) == "signature_invalid"
    token = forge.token(claims(iss=OTHER_ISSUER), key=keyring.ed)
    assert await refused(trust(), token) == "signature_invalid"


# --- step 5: signature ----------------------------------------------------------------------------


async def test_changed_bytes(trust: Trust, forge: Forge) -> None:
    """A claim changed after signing breaks the signature."""
    header, _payload, signature = forge.token().split(".")
    payload = b64(json.dumps(claims(sub="root")).encode())
    assert await refused(trust(), f"{header}.{payload}.{signature}") == "signature_invalid"


@pytest.mark.parametrize(
    "signature",
    [
        bytes(64),
        bytes(63),
        bytes(65),
        b"\x00",
        P256_ORDER.to_bytes(32, "big") * 2,
        bytes(32) + P256_ORDER.to_bytes(32, "big"),
        b"\xff" * 64,
        encode_dss_signature(0, 0),
    ],
    ids=["psychic", "short", "long", "one byte", "r=s=n", "s=n", "beyond", "DER zero"],
)
@pytest.mark.parametrize("sort", ["ec", "ed", "rsa"])
async def test_signatures_out_of_nothing(
    trust: Trust, forge: Forge, keyring: Keyring, sort: str, signature: bytes
) -> None:
    """Zeroes (CVE-2022-21449), the group's order and odd lengths are no signatures."""
    token = forge.token(key=getattr(keyring, sort), signature=signature)
    assert await refused(trust(), token) == "signature_invalid"


async def test_ecdsa_signature_in_der(trust: Trust, forge: Forge, keyring: Keyring) -> None:
    """A right signature in the wrong encoding, or with a byte more, is none (RFC 7518 3.4)."""
    token = forge.token(key=keyring.ec)
    signed, _, text = token.rpartition(".")
    raw = base64.urlsafe_b64decode(text + "==")
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    for other in (encode_dss_signature(r, s), raw + b"\x00", b"\x00" + raw, raw[:32] + raw):
        assert await refused(trust(), f"{signed}.{b64(other)}") == "signature_invalid"


async def test_ecdsa_twin_signature_is_the_same_token(
    trust: Trust, forge: Forge, keyring: Keyring, seen: SeenTokens
) -> None:
    """Anybody can turn s into n - s; that the token counts once hangs on its jti and not on it."""
    verifier = trust(single_use=True, seen=seen)
    token = forge.token(key=keyring.ec)
    signed, _, text = token.rpartition(".")
    raw = base64.urlsafe_b64decode(text + "==")
    twin = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    assert await accepted(verifier, token)
    assert await refused(verifier, f"{signed}.{b64(twin)}") == "token_replayed"


async def test_key_on_another_curve(trust: Trust, forge: Forge) -> None:
    """ES256 is P-256: a P-384 key is never bound to it."""
    p384 = pair(ec.generate_private_key(ec.SECP384R1()), "ES384", "p384")
    verifier = trust(keys=(p384.jwk,), algorithms=("ES256", "ES384"))
    assert await accepted(verifier, forge.token(key=p384))
    assert await refused(verifier, forge.token(key=p384, alg="ES256")) == "key_unknown"
