"""The table of issuers: whose tokens are believed, and what each row makes of them.

Everything that decides what a token may mean stands in a row that an operator wrote. A token picks
its row by ``iss`` and has no further say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

from jwt import PyJWK

from gateway.errors import Misconfigured
from gateway.identity.jwk import ALGORITHMS
from gateway.identity.refusals import refusal
from gateway.identity.strict import is_name
from gateway.model import Kind
from gateway.settings import IssuerSettings


class KeySource(Protocol):
    """Where an issuer's public keys come from."""

    async def key(self, kid: str, algorithm: str) -> PyJWK | None:
        """Return the key of that id if it may verify that algorithm, or None.

        Raises ``Retryable`` (code ``keys_unavailable``) when it cannot know.
        """


@dataclass(frozen=True, slots=True)
class Issuer:
    """One row, parsed: see ``IssuerSettings`` for what each field means."""

    name: str
    audience: str
    algorithms: frozenset[str]
    types: frozenset[str]
    max_lifetime_seconds: int
    subject_kind: Kind
    clients: Mapping[str, Kind]
    other_clients: Literal["agent", "service", "reject"]
    may_assert_actors: bool
    groups_claim: str | None
    single_use: bool
    keys: KeySource

    @classmethod
    def from_settings(cls, row: IssuerSettings, keys: KeySource) -> Issuer:
        """Join a row and its keys. Raises ``Misconfigured`` for a row that could not be safe."""
        # An account is written issuer#subject: with no "#" in issuers it reads one way only.
        if not is_name(row.issuer) or "#" in row.issuer or not is_name(row.audience):
            raise Misconfigured(
                "issuer_invalid", f"issuer {row.issuer!a}: issuer and audience are texts without #"
            )
        if (row.jwks_url is None) != bool(row.keys):
            raise Misconfigured(
                "issuer_keys_unclear", f"issuer {row.issuer}: set one of jwks_url and keys"
            )
        unsafe = sorted(set(row.algorithms) - ALGORITHMS)
        if unsafe:
            raise Misconfigured(
                "algorithm_unsupported",
                f"issuer {row.issuer}: {', '.join(unsafe)} cannot be trusted here; "
                f"choose from {', '.join(sorted(ALGORITHMS))}",
            )
        return cls(
            name=row.issuer,
            audience=row.audience,
            algorithms=frozenset(row.algorithms),
            types=frozenset(map(media_type, row.types)),
            max_lifetime_seconds=row.max_lifetime_seconds,
            subject_kind=row.subject_kind,
            clients=MappingProxyType(dict(row.clients)),
            other_clients=row.other_clients,
            may_assert_actors=row.may_assert_actors,
            groups_claim=row.groups_claim,
            single_use=row.single_use,
            keys=keys,
        )

    def kind_of(self, client: str | None) -> Kind:
        """Return the kind of who holds a token of that client. Raises ``Unauthenticated``."""
        if client is None:
            return self.subject_kind
        kind = self.clients.get(client, self.other_clients)
        if kind == "reject":
            raise refusal("client_unknown", f"client {client!a} of {self.name}")
        return kind


def media_type(typ: str) -> str:
    """Return a ``typ`` in the one form in which two are compared (RFC 7515 section 4.1.9).

    An absent header is the empty text, which a row may list: Kubernetes sends none.
    """
    return typ.lower().removeprefix("application/")
