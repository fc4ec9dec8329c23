"""The verified claims, read into types: when the token holds, and whom it names.

Everything here runs after the signature was checked, on what the issuer did sign. Issuers err too:
a claim in a form that is not expected refuses the token and is never repaired or skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.canonical import MAX_INTEGER
from gateway.identity.refusals import refusal
from gateway.identity.strict import is_name

MAX_GROUPS = 100

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Validity:
    """When a token holds, in seconds since the epoch (RFC 7519 section 2, NumericDate)."""

    issued_at: int
    expires_at: int
    auth_time: int | None

    @classmethod
    def read(cls, claims: Claims, *, now: float, leeway: int, longest: int) -> Validity:
        """Read and check ``iat``, ``exp``, ``nbf`` and ``auth_time`` at the time ``now``.

        ``leeway`` and ``longest``, the longest lifetime, are seconds. Raises ``Unauthenticated``.
        """
        issued_at, expires_at = _seconds(claims, "iat"), _seconds(claims, "exp")
        auth_time = _seconds(claims, "auth_time") if "auth_time" in claims else None
        not_before = _seconds(claims, "nbf") if "nbf" in claims else issued_at
        if expires_at <= issued_at:
            raise refusal("claim_invalid", f"exp {expires_at} is not after iat {issued_at}")
        if expires_at - issued_at > longest:
            raise refusal("lifetime_too_long", f"{expires_at - issued_at} s; at most {longest} s")
        if expires_at + leeway <= now:
            raise refusal("token_expired", f"exp {expires_at}, now {now:.0f}")
        # A sign-in that lies in the future would stay recent for as long as somebody likes.
        if max(issued_at, not_before, auth_time or 0) > now + leeway:
            raise refusal("token_not_yet_valid", f"iat, nbf or auth_time after {now:.0f}")
        return cls(issued_at, expires_at, auth_time)


def name(claims: Claims, claim: str) -> str:
    """Return the text of a claim that has to name somebody. Raises ``Unauthenticated``."""
    value = claims.get(claim)
    if not is_name(value):
        raise refusal("claim_invalid", f"{claim} is not a text of 1 to 256 visible characters")
    return value


def client(claims: Claims) -> str | None:
    """Return who holds the token: ``client_id`` (RFC 9068) or ``azp`` (OpenID Connect).

    Raises ``Unauthenticated`` when both are there and differ.
    """
    held_by = {name(claims, claim) for claim in ("client_id", "azp") if claim in claims}
    if len(held_by) > 1:
        raise refusal("claim_invalid", "client_id and azp differ")
    return held_by.pop() if held_by else None


def groups(claims: Claims, claim: str | None) -> tuple[str, ...]:
    """Return the subject's groups from the claim that the issuer's row names; none means none."""
    if claim is None or claim not in claims:
        return ()
    listed = claims[claim]
    if not isinstance(listed, list) or len(listed) > MAX_GROUPS or not all(map(is_name, listed)):
        raise refusal("claim_invalid", f"{claim} is not a list of at most {MAX_GROUPS} short texts")
    return tuple(dict.fromkeys(listed))


def _seconds(claims: Claims, claim: str) -> int:
    value = claims.get(claim)
    # By type and not isinstance: true is an int to Python, and 1e9 a time to some issuers.
    if type(value) is not int or not 0 < value <= MAX_INTEGER:
        raise refusal("claim_invalid", f"{claim} is not a whole number of seconds")
    return value
