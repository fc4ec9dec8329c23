"""JSON and texts from strangers, read so that two readers cannot understand them differently.

A member name that occurs twice, escaped or not, at any depth, is refused, for parsers differ in
which of the two they keep. So are NaN, the infinities, and bytes that are not UTF-8.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeGuard

MAX_TEXT = 256


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in ``data``.

    Raises ``ValueError`` for anything else, nesting that is too deep included.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_refuse
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - to the caller: data that does not parse
    return value


def is_name(value: object) -> TypeGuard[str]:
    """Whether ``value`` can name somebody: 1 to 256 characters that a person could see.

    Control and format characters (bidirectional overrides, zero-width joiners) and lone surrogates
    are no names, nor is a text that begins or ends with a space: each could look like another name.
    """
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_TEXT
        and value.isprintable()
        and value == value.strip()
    )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name occurs twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
