"""A token's text taken apart, before anything in it is believed (RFC 7515 section 3.1).

What comes out is well formed and nothing more: no signature has been looked at. Only the issuer's
name, the algorithm's and the key's may be read from it, to pick a configured row and a key.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.identity.refusals import refusal
from gateway.identity.strict import parse_object

MAX_TOKEN_CHARACTERS = 8192
# Headers that fetch or carry a key, change what is signed, or demand an extension: none is wanted,
# so none is understood (RFC 8725 section 3.10, RFC 7797).
FORBIDDEN_HEADERS = frozenset({"jku", "x5u", "jwk", "x5c", "b64", "crit"})

_SEGMENTS = 3


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """Header and claims as anybody could have written them."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]


def take_apart(token: str) -> UnverifiedToken:
    """Do the steps 1 and 2 of the verification. Raises ``Unauthenticated``."""
    # (1) At most 8 KiB, three segments.
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise refusal("token_too_large", f"{len(token)} characters")
    segments = token.split(".")
    if len(segments) != _SEGMENTS:
        raise refusal("token_malformed", f"{len(segments)} segments")
    try:
        header, claims, _signature = (_decode(segment) for segment in segments)
        # (2) No member name twice, and no header that we would have to understand.
        unverified = UnverifiedToken(parse_object(header), parse_object(claims))
    except ValueError as error:
        raise refusal("token_malformed", ascii(str(error))) from error
    forbidden = sorted(FORBIDDEN_HEADERS & unverified.header.keys())
    if forbidden:
        raise refusal("token_malformed", f"header {', '.join(forbidden)}")
    return unverified


def _decode(segment: str) -> bytes:
    """Read base64url in its one canonical form: no padding, no spaces, no left-over bits."""
    data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if not data or base64.urlsafe_b64encode(data).rstrip(b"=") != segment.encode():
        raise ValueError("a segment is not what base64url makes of its own bytes")
    return data
