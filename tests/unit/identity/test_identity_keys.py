"""Which keys an operator may write down: public ones, for signatures, strong, one per id."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from identity_forge import Keyring, b64, ed_pair, pair
from jwt.algorithms import OKPAlgorithm

from gateway.errors import Misconfigured
from gateway.identity.keys import KeySet, StaticKeys


def why(*jwks: Any) -> str:
    """Return why a static key set is refused."""
    with pytest.raises(Misconfigured) as caught:
        StaticKeys(jwks)
    assert caught.value.code == "key_unusable"
    return caught.value.public_message


@pytest.mark.parametrize(
    ("sort", "algorithms"),
    [
        ("ed", ["EdDSA"]),
        ("ec", ["ES256"]),
        ("rsa", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
    ],
)
def test_key_is_bound_to_what_it_fits(keyring: Keyring, sort: str, algorithms: list[str]) -> None:
    """A key without ``alg`` verifies the algorithms of its type and curve, and no others."""
    jwk = getattr(keyring, sort).jwk
    assert sorted(KeySet.of([jwk]).keys[sort]) == sorted(algorithms)


def test_secret_is_not_a_public_key() -> None:
    """An ``oct`` key would make everybody who can read the configuration an issuer."""
    jwk = {"kty": "oct", "kid": "s", "k": b64(b"s" * 32)}
    message = why(jwk)
    assert "secret" in message
    assert jwk["k"] not in message


def test_private_key_is_refused_and_not_repeated() -> None:
    """A private key in the configuration is a mistake; the error does not spread it."""
    key = ed_pair("p")
    jwk = {**OKPAlgorithm.to_jwk(key.private, as_dict=True), "kid": "p"}
    message = why(jwk)
    assert "private" in message
    assert jwk["d"] not in message


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"use": ""},
        {"use": None},
        {"key_ops": ["encrypt"]},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"key_ops": {"verify": True}},
        {"key_ops": None},
        {"alg": "RSA-OAEP"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": "ES384"},
        {"alg": None},
        {"kid": None},
        {"kid": ""},
        {"kid": 5},
        {"kid": "a\x00"},
        {"kty": "RSA"},
        {"kty": None},
        {"kty": ["EC"]},
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"crv": None},
        {"x": "AAAA"},
        {"x": 5},
        {"x": None},
        {"y": b64(bytes(32))},
    ],
)
def test_unusable_key(keyring: Keyring, changes: dict[str, Any]) -> None:
    """A key for another use, of another sort, without an id, or off its curve is refused."""
    assert why({**keyring.ec.jwk, **changes})


@pytest.mark.parametrize("jwk", [None, "key", 5, [], [1]])
def test_key_is_an_object(jwk: object) -> None:
    """Whatever is not an object is no key."""
    assert "kid" in why(jwk)


def test_key_ops_with_verify(keyring: Keyring) -> None:
    """``key_ops`` that include verifying, and ``use`` of signatures, are right."""
    assert StaticKeys([{**keyring.ec.jwk, "key_ops": ["sign", "verify"], "use": "sig"}])


def test_curve_that_tokens_do_not_use() -> None:
    """Ed448 and secp256k1 verify nothing here."""
    public = ed448.Ed448PrivateKey.generate().public_key()
    assert why({**OKPAlgorithm.to_jwk(public, as_dict=True), "kid": "x"})
    assert why(pair(ec.generate_private_key(ec.SECP256K1()), "ES256K", "k").jwk)


def test_small_rsa_key() -> None:
    """RSA below 2048 bits is refused."""
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - the attack itself
    assert "1024 bits" in why(pair(weak, "RS256", "r").jwk)


def test_huge_rsa_key(keyring: Keyring) -> None:
    """RSA beyond 8192 bits is refused: one token would hold up everybody."""
    modulus = b"\xff" * 1281
    assert "10248 bits" in why({**keyring.rsa.jwk, "n": b64(modulus)})


def test_key_id_occurs_once(keyring: Keyring) -> None:
    """Of two keys with one ``kid`` a token could not say which one it means: neither counts."""
    twin = {**keyring.rsa.jwk, "kid": "ec"}
    assert "occurs 2 times" in why(keyring.ec.jwk, twin)
    keys = KeySet.of([keyring.ec.jwk, twin, keyring.ed.jwk])
    assert list(keys.keys) == ["ed"]


def test_bad_key_does_not_break_a_good_one(keyring: Keyring) -> None:
    """In a set, an unusable key is left out, with a sentence, and the good ones stay."""
    keys = KeySet.of([{"kty": "oct", "kid": "s", "k": "AAAA"}, None, keyring.ed.jwk])
    assert list(keys.keys) == ["ed"]
    assert len(keys.skipped) == 2


def test_encryption_key_may_share_an_id(keyring: Keyring) -> None:
    """A key that is not for signatures does not count as a second one."""
    keys = KeySet.of([{**keyring.rsa.jwk, "kid": "ec", "use": "enc"}, keyring.ec.jwk])
    assert keys.find("ec", "ES256") is not None
