"""A token becomes a ``Principal`` in seven marked steps, or its sender stays a stranger.

Whatever bytes come in: what comes out is a principal whose token passed every step, or
``Unauthenticated``, or ``Retryable`` where a key set or the memory of used tokens cannot be asked.
No fourth way, and no way around.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import jwt

from gateway.errors import Misconfigured
from gateway.identity.claims import Claims, Validity
from gateway.identity.compact import UnverifiedToken, take_apart
from gateway.identity.issuers import Issuer, media_type
from gateway.identity.principals import principal_of
from gateway.identity.refusals import Code, refusal
from gateway.identity.replay import SeenTokens
from gateway.identity.strict import is_name
from gateway.model import Principal

MAX_LEEWAY_SECONDS = 30
REQUIRED_CLAIMS = ("exp", "iat", "iss", "aud", "sub", "jti")

_CODES: Mapping[type[jwt.PyJWTError], Code] = {
    jwt.InvalidSignatureError: "signature_invalid",
    jwt.InvalidAudienceError: "audience_wrong",
    jwt.MissingRequiredClaimError: "claim_missing",
    jwt.exceptions.InvalidSubjectError: "claim_invalid",
    jwt.exceptions.InvalidJTIError: "claim_invalid",
}


class TokenVerifier:
    """Verifies tokens of the issuers it was given, in the order that RFC 8725 leads to.

    ``leeway_seconds`` is for clocks that differ, at most 30. ``clock`` gives seconds since the
    epoch. Raises ``Misconfigured`` when two rows name one issuer or the leeway is too long.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        leeway_seconds: int,
        clock: Callable[[], float] = time.time,
        seen: SeenTokens,
    ) -> None:
        self._issuers: Mapping[str, Issuer] = MappingProxyType({row.name: row for row in issuers})
        self._leeway = leeway_seconds
        self._clock = clock
        self._seen = seen
        if len(self._issuers) != len(issuers):
            raise Misconfigured("issuer_duplicate", "two rows of identity.issuers name one issuer")
        if not 0 <= leeway_seconds <= MAX_LEEWAY_SECONDS:
            raise Misconfigured("leeway_too_long", "identity.leeway_seconds is 0 to 30")

    async def verify(self, token: str) -> Principal:
        """Return who sent ``token``, the compact form without the word ``Bearer``.

        Raises ``Unauthenticated`` with one of the codes in ``refusals``, or ``Retryable``
        (``keys_unavailable``, or a code of the store) when the answer is not known.
        """
        # (1) At most 8 KiB, three segments. (2) No duplicate members, no dangerous headers.
        unverified = take_apart(token)
        # (3) The unverified issuer picks a configured row, and the row says what it may send.
        issuer = self._issuer(unverified)
        # (4) The row's key of that id, which fits the algorithm.
        key = await self._key(issuer, unverified)
        # (5) Signature, issuer, audience, and that every required claim is there.
        claims = _decode(token, key, issuer)
        # (6) Whole seconds, a lifetime within the row's bound, now within it; then who it is.
        validity = Validity.read(
            claims,
            now=self._clock(),
            leeway=self._leeway,
            longest=issuer.max_lifetime_seconds,
        )
        principal = principal_of(issuer, claims, validity)
        # (7) Once only, where the row says so. Last: a token that was refused is not used up.
        if issuer.single_use:
            await self._use_up(issuer, principal)
        return principal

    def _issuer(self, token: UnverifiedToken) -> Issuer:
        name = token.claims.get("iss")
        if name is None:
            raise refusal("claim_missing", "iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise refusal("issuer_unknown", f"iss {name!a}"[:300])
        typ = token.header.get("typ", "")
        if not isinstance(typ, str) or media_type(typ) not in issuer.types:
            raise refusal("token_type_wrong", f"typ {typ!a}"[:300])
        algorithm = token.header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
            raise refusal("algorithm_refused", f"alg {algorithm!a}"[:300])
        return issuer

    async def _key(self, issuer: Issuer, token: UnverifiedToken) -> jwt.PyJWK:
        kid, algorithm = token.header.get("kid"), token.header["alg"]
        if not is_name(kid):
            raise refusal("token_malformed", "kid is not a text of 1 to 256 visible characters")
        key = await issuer.keys.key(kid, algorithm)
        if key is None:
            raise refusal("key_unknown", f"{issuer.name} has no key {kid!a} for {algorithm}")
        return key

    async def _use_up(self, issuer: Issuer, principal: Principal) -> None:
        jti = principal.token_id or ""
        # Remembered for as long as step 6 accepts the token, which is the leeway longer than exp.
        until = principal.expires_at + self._leeway
        if not await self._seen.insert_if_absent(issuer.name, jti, until):
            raise refusal("token_replayed", f"jti {jti!a} of {issuer.name}")


def _decode(token: str, key: jwt.PyJWK, issuer: Issuer) -> Claims:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=sorted(issuer.algorithms),
            audience=issuer.audience,
            issuer=issuer.name,
            options={
                "require": list(REQUIRED_CLAIMS),
                "strict_aud": True,
                "enforce_minimum_key_length": True,
                # Times are step 6: PyJWT 2.15 takes "12" and 12.9 for one, and its own clock.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.PyJWTError as error:
        fitting = (code for kind, code in _CODES.items() if isinstance(error, kind))
        raise refusal(next(fitting, "token_malformed"), ascii(str(error))) from error
