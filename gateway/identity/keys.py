"""Sets of public keys, and the source whose keys stand in the configuration.

A set holds nothing but keys that ``jwk`` let through, each under an id that is its alone: where
two keys share a ``kid``, neither counts, for a token could not say which one it means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jwt import PyJWK

from gateway.errors import Misconfigured
from gateway.identity.jwk import read_key


@dataclass(frozen=True, slots=True)
class KeySet:
    """Usable keys by id and algorithm, and a sentence for each key that was left out."""

    keys: Mapping[str, Mapping[str, PyJWK]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @classmethod
    def of(cls, jwks: Iterable[object]) -> KeySet:
        """Read the members of a JWKS' ``keys`` (RFC 7517 section 5). Never raises."""
        found: list[tuple[str, dict[str, PyJWK]]] = []
        skipped: list[str] = []
        for index, jwk in enumerate(jwks):
            try:
                found.append(read_key(jwk))
            except ValueError as error:
                skipped.append(f"key {index} {error}")
        counts = Counter(kid for kid, _ in found)
        skipped += [f"kid {kid} occurs {n} times" for kid, n in counts.items() if n > 1]
        return cls({kid: keys for kid, keys in found if counts[kid] == 1}, tuple(skipped))

    def find(self, kid: str, algorithm: str) -> PyJWK | None:
        """Return the key of that id if it may verify that algorithm."""
        return self.keys.get(kid, {}).get(algorithm)


class StaticKeys:
    """A ``KeySource`` whose keys an operator wrote down.

    Raises ``Misconfigured`` (``key_unusable``) for a single bad key: here it is a mistake.
    """

    def __init__(self, jwks: Iterable[Mapping[str, object]]) -> None:
        self._set = KeySet.of(jwks)
        if self._set.skipped:
            raise Misconfigured("key_unusable", "; ".join(self._set.skipped))

    async def key(self, kid: str, algorithm: str) -> PyJWK | None:
        """See ``KeySource``. Never waits."""
        return self._set.find(kid, algorithm)
