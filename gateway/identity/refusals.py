"""Every reason why a token is refused: one closed table of codes, and what the caller can do.

The public message never tells more than its code does. What exactly was wrong goes to
``diagnostics``, for the operator, and never holds the token.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from gateway.errors import Unauthenticated

Code = Literal[
    "token_malformed",
    "token_too_large",
    "token_type_wrong",
    "token_expired",
    "token_not_yet_valid",
    "token_replayed",
    "issuer_unknown",
    "algorithm_refused",
    "key_unknown",
    "signature_invalid",
    "audience_wrong",
    "claim_missing",
    "claim_invalid",
    "lifetime_too_long",
    "client_unknown",
    "actor_not_allowed",
]

MESSAGES: Mapping[Code, str] = MappingProxyType(
    {
        "token_malformed": "the token is not a signed JSON Web Token of the plain kind; "
        "send it exactly as its issuer gave it",
        "token_too_large": "the token is larger than 8 KiB; ask for one with fewer claims",
        "token_type_wrong": "the token is of a type that is not accepted from its issuer; "
        "send an access token, not another kind",
        "token_expired": "the token has expired; ask for a new one",
        "token_not_yet_valid": "the token is not valid yet; check the clocks, then try again",
        "token_replayed": "the token counts once and was used before; ask for a new one",
        "issuer_unknown": "the token's issuer is not one that this gateway trusts; "
        "sign in where its operator says",
        "algorithm_refused": "the token is signed by a method that is not accepted; "
        "its issuer has to use another",
        "key_unknown": "the key that signed the token is not one of its issuer's; "
        "ask for a new token, or try again in a minute if the issuer just changed its keys",
        "signature_invalid": "the token's signature does not fit its content; ask for a new one",
        "audience_wrong": "the token was not made for this gateway alone; ask for one that is",
        "claim_missing": "the token lacks one of iss, sub, aud, exp, iat and jti; "
        "its issuer has to add it",
        "claim_invalid": "a claim of the token has a form that is not accepted; "
        "its issuer has to correct it",
        "lifetime_too_long": "the token is valid for longer than its issuer may make it; "
        "ask for a shorter one",
        "client_unknown": "the token was made for a client that this gateway does not know; "
        "ask its operator to list the client",
        "actor_not_allowed": "the token names parties that act for its subject, "
        "in a way that is not accepted from its issuer",
    }
)


def refusal(code: Code, diagnostics: str) -> Unauthenticated:
    """Return the error to raise: ``code``, its message, and for the operator what was wrong."""
    return Unauthenticated(code, MESSAGES[code], step="authenticate", diagnostics=diagnostics)
