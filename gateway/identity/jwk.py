"""One JSON Web Key: which algorithms it may verify, if any.

A key is bound to an algorithm here, when it is read, and never by what a token's header says. Only
public keys that are meant for signatures and are strong enough come through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from gateway.identity.strict import is_name

MIN_RSA_BITS = 2048  # NIST SP 800-131A; RFC 7518 section 3.3
MAX_RSA_BITS = 8192  # beyond, verifying takes too long for the event loop

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# By key type and curve: RFC 7518 section 3.1, RFC 8037 section 3.1.
_FITTING: Mapping[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
ALGORITHMS = frozenset(name for names in _FITTING.values() for name in names)

_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def read_key(jwk: object) -> tuple[str, dict[str, PyJWK]]:
    """Return a key's ``kid``, and the key under each algorithm that it may verify.

    Raises ``ValueError`` saying why it may verify none, never with the key's own material.
    """
    kid = jwk.get("kid") if isinstance(jwk, Mapping) else None
    if not isinstance(jwk, Mapping) or not is_name(kid):
        raise ValueError("has no kid of 1 to 256 visible characters")
    try:
        return kid, _verification_keys(jwk)
    except ValueError as error:
        raise ValueError(f"({kid}) {error}") from error


def _verification_keys(jwk: Mapping[str, Any]) -> dict[str, PyJWK]:
    kind, curve = jwk.get("kty"), jwk.get("crv")
    if kind == "oct" or not _PRIVATE.isdisjoint(jwk):
        raise ValueError("is a secret or private key; list public keys only")
    if jwk.get("use", "sig") != "sig":
        raise ValueError("is not for signatures (use)")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list | tuple) or "verify" not in operations:
        raise ValueError("is not for verifying (key_ops)")
    fitting = _FITTING.get((str(kind), None if curve is None else str(curve)), ())
    if "alg" in jwk:
        fitting = tuple(name for name in fitting if name == jwk["alg"])
    if not fitting:
        raise ValueError("is of a type, curve or alg that verifies nothing here")
    try:
        keys = {name: PyJWK(dict(jwk), name) for name in fitting}
    except (PyJWTError, ValueError, TypeError) as error:
        raise ValueError(f"does not parse ({type(error).__name__})") from error
    public = keys[fitting[0]].key
    if isinstance(public, RSAPublicKey) and not MIN_RSA_BITS <= public.key_size <= MAX_RSA_BITS:
        raise ValueError(f"has {public.key_size} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are wanted")
    return keys
