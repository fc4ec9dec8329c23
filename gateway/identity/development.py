"""An issuer of one's own, for a machine that has no identity provider.

Whoever can read its key file is whoever they like to be. So the file is its owner's alone, the
gateway says in its log that it trusts this issuer, and with ``environment = "production"`` it does
not start.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from gateway.canonical import digest
from gateway.clock import new_id
from gateway.errors import Misconfigured, Unprocessable
from gateway.identity.strict import is_name
from gateway.keys import secret
from gateway.model import Kind
from gateway.settings import IssuerSettings, Settings

ISSUER: Final = "https://dev.sluice.local"
AUDIENCE: Final = "sluice"
MAX_LIFETIME_SECONDS: Final = 86_400
_CLIENTS: Final[dict[str, Kind]] = {"sluice-cli": "human", "copilot": "agent", "ci": "service"}


class DevIssuer:
    """Signs tokens for anybody whom its caller names, with a key that it keeps in a file."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        public: dict[str, Any] = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        # The start of its thumbprint (RFC 7638), so that a new key has a new name.
        self._kid = digest(public)[:16]
        self._jwk = {**public, "kid": self._kid, "use": "sig", "alg": "EdDSA"}

    @classmethod
    def open(cls, keys_dir: Path) -> DevIssuer:
        """Read ``dev-issuer.key`` in that folder, and make it where there is none.

        Raises ``Misconfigured`` when it is damaged or open to other users: see ``keys.secret``.
        """
        return cls(Ed25519PrivateKey.from_private_bytes(secret(keys_dir / "dev-issuer.key")))

    def issue(
        self,
        *,
        subject: str,
        groups: Sequence[str] = (),
        client: str = "sluice-cli",
        act: str | None = None,
        ttl: int = 3600,
        now: float | None = None,
        auth_time: int | None = None,
    ) -> str:
        """Return a token for ``subject``, held by ``client`` for ``ttl`` seconds from ``now``.

        A human's client gets ``auth_time``, now unless given; no other client does. ``act`` names
        one actor. Raises ``Unprocessable`` for what no verifier would accept.
        """
        if not 0 < ttl <= MAX_LIFETIME_SECONDS:
            raise Unprocessable(
                "ttl_out_of_range", f"a token lives 1 to {MAX_LIFETIME_SECONDS} s", field="ttl"
            )
        for value in (subject, client, *groups, *([] if act is None else [act])):
            if not is_name(value):
                raise Unprocessable("name_invalid", f"{value!a} cannot name anybody")
        issued_at = int(time.time() if now is None else now)
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": subject,
            "aud": AUDIENCE,
            "iat": issued_at,
            "exp": issued_at + ttl,
            "jti": new_id(),
            "client_id": client,
            "groups": list(groups),
        }
        if act is not None:
            claims["act"] = {"sub": act}
        if _CLIENTS.get(client) == "human":
            claims["auth_time"] = issued_at if auth_time is None else auth_time
        return jwt.encode(claims, self._key, "EdDSA", {"kid": self._kid, "typ": "at+jwt"})

    def row(self) -> IssuerSettings:
        """Return the row by which a gateway trusts this issuer, key included; and log that."""
        structlog.get_logger().warning("development_issuer_trusted", issuer=ISSUER, kid=self._kid)
        return IssuerSettings(
            issuer=ISSUER,
            audience=AUDIENCE,
            algorithms=("EdDSA",),
            types=("at+jwt",),
            jwks_url=None,
            keys=(self._jwk,),
            max_lifetime_seconds=MAX_LIFETIME_SECONDS,
            subject_kind="human",
            clients=_CLIENTS,
            other_clients="agent",
            may_assert_actors=True,
            groups_claim="groups",
            single_use=False,
        )


def development_issuer(settings: Settings, keys_dir: Path) -> DevIssuer | None:
    """Return the development issuer where the settings ask for it.

    Raises ``Misconfigured`` (``development_issuer_in_production``) where that is no place for it,
    also when a row of the table was written to trust its tokens.
    """
    wanted = settings.identity.development_issuer
    listed = any(row.issuer == ISSUER for row in settings.identity.issuers)
    if settings.environment == "production" and (wanted or listed):
        raise Misconfigured(
            "development_issuer_in_production",
            'tokens of `sluice token` are not for environment = "production"; '
            "unset identity.development_issuer and list your own issuers",
        )
    return DevIssuer.open(keys_dir) if wanted else None
