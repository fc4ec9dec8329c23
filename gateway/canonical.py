"""Canonical bytes, and the digests made of them.

The subset is UTF-8 JSON with sorted keys and no spaces, holding only objects, arrays, strings,
booleans, null and integers within 2^53, and ASCII keys: no floats. On this subset the bytes equal
RFC 8785 (JCS) and ``json.dumps`` makes them fast. A property test holds both statements.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence

from gateway.errors import Rejected

NOT_CANONICAL = "not_canonical"
MAX_INTEGER = 2**53 - 1

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]


def encode(value: Json) -> bytes:
    """Return the canonical bytes of ``value``.

    Raises ``Rejected`` (code ``not_canonical``) for anything outside the subset, lone surrogates
    included: two different values never share their bytes.
    """
    try:
        _check(value, "$")
        text = json.dumps(
            value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return text.encode()
    except UnicodeEncodeError as error:
        raise Rejected(
            NOT_CANONICAL, "text is not valid Unicode", diagnostics=str(error)
        ) from error


def _check(value: Json, path: str) -> None:
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return
    if kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:  # type: ignore[operator]
            raise Rejected(NOT_CANONICAL, f"integer beyond 2^53 at {path}")
    elif kind is dict:
        for key, item in value.items():  # type: ignore[union-attr]
            if type(key) is not str or not key.isascii():
                raise Rejected(NOT_CANONICAL, f"key is not ASCII text at {path}")
            _check(item, f"{path}.{key}")
    elif kind is list or kind is tuple:
        for item in value:  # type: ignore[union-attr]
            _check(item, path)
    else:
        raise Rejected(NOT_CANONICAL, f"{kind.__name__} is not allowed at {path}")


def decode(data: bytes) -> Json:
    """Parse canonical bytes strictly: what does not encode back to the same bytes is refused."""
    try:
        value: Json = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Rejected(NOT_CANONICAL, "not JSON", diagnostics=str(error)) from error
    if encode(value) != data:
        raise Rejected(NOT_CANONICAL, "not in canonical form")
    return value


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest(value: Json) -> str:
    """Return the SHA-256 of the canonical bytes of ``value``, in hexadecimal."""
    return sha256(encode(value))


def keyed(key: bytes, value: Json) -> str:
    """Return HMAC-SHA-256 of the canonical bytes of ``value`` under ``key``, in hexadecimal.

    Used wherever a digest covers something that an attacker could guess and try: masked
    parameters, request bodies behind an idempotency key.
    """
    return hmac.new(key, encode(value), hashlib.sha256).hexdigest()
