"""Strict reading of JSON values: what is not exactly as it should be is a ``Fault`` with its place.

A ``Fault`` stays inside this package. Whoever knows what was being read (a destination of the
catalogue, a manifest) turns it into a ``GatewayError``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


class Fault(ValueError):
    """Why a value cannot be used: the place in the document, and the rest of the sentence."""

    def __init__(self, reason: str) -> None:
        """``reason`` follows the name of the field: "is not ..."."""
        super().__init__(reason)
        self.reason = reason
        self.path: tuple[str | int, ...] = ()

    @property
    def field(self) -> str:
        """The place, as people write it: ``ports[1].endPort``."""
        text = ""
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        return text


@contextmanager
def at(*keys: str | int) -> Iterator[None]:
    """Put these keys in front of the place of any fault that the block raises."""
    try:
        yield
    except Fault as fault:
        fault.path = (*keys, *fault.path)
        raise


def record(
    value: object, required: Sequence[str], optional: Sequence[str] = ()
) -> Mapping[str, object]:
    """Return an object that has every required key and no unknown one. Raises ``Fault``."""
    if not isinstance(value, Mapping):
        raise Fault("has to be an object")
    for key in value:
        if key not in required and key not in optional:
            with at(str(key)):
                raise Fault("is not a known field")
    for key in required:
        if key not in value:
            with at(key):
                raise Fault("is missing")
    return value


def text(value: object) -> str:
    """Return a text that is not empty. Raises ``Fault``."""
    if not isinstance(value, str) or not value:
        raise Fault("has to be a text")
    return value


def items(value: object) -> Sequence[object]:
    """Return a list that is not empty. Raises ``Fault``."""
    if not isinstance(value, list | tuple) or not value:
        raise Fault("has to be a list with at least one entry")
    return value
