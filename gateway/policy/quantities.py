"""Kubernetes quantities as exact whole numbers: ``500m`` of CPU, ``1.5Gi`` of memory.

Reads the part of ``resource.Quantity`` (apimachinery 1.35) that people write and that has one
meaning: no signs, no exponents, no suffixes below ``m``. What Kubernetes would round up, such as
``0.1Gi``, is refused: what is asked for is what was written. What ``canonical`` returns comes back
from the API server unchanged, so that a pod can be compared with its plan.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.canonical import MAX_INTEGER

_SHAPE = re.compile(r"(0|[1-9][0-9]{0,15})(?:\.([0-9]{1,9}))?([a-zA-Z]{0,2})")
_DECIMAL = ("m", "", "k", "M", "G", "T", "P")
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi")
_THOUSANDTHS = {
    **{suffix: 1000**power for power, suffix in enumerate(_DECIMAL)},
    **{suffix: 1000 * 1024**power for power, suffix in enumerate(_BINARY, 1)},
}


@dataclass(frozen=True, slots=True)
class _Quantity:
    thousandths: int
    binary: bool  # how it was written, and therefore how Kubernetes writes it


def millicores(text: str) -> int:
    """Return an amount of CPU in thousandths of a core. Raises ``ValueError`` with a sentence."""
    return _positive(text, _parse(text).thousandths)


def memory_bytes(text: str) -> int:
    """Return an amount of memory in bytes. Raises ``ValueError`` with a sentence."""
    whole, rest = divmod(_parse(text).thousandths, 1000)
    if rest:
        meant = f"; did you mean {text[:-1]}Mi?" if text.endswith("m") else ""
        raise ValueError(f"{text!r} is no whole number of bytes{meant}")
    return _positive(text, whole)


def canonical(text: str) -> str:
    """Return the one spelling that the API server keeps. Raises ``ValueError``.

    No fraction, the largest suffix: ``1000m`` is ``1`` and ``1.5Gi`` is ``1536Mi``. Less than 1024
    of anything is decimal (``Quantity.CanonicalizeBytes``).
    """
    quantity = _parse(text)
    if quantity.binary and quantity.thousandths >= 1024 * 1000:
        return _shortest(quantity.thousandths // 1000, ("", *_BINARY), 1024)
    return _shortest(quantity.thousandths, _DECIMAL, 1000)


def _shortest(count: int, suffixes: Sequence[str], step: int) -> str:
    power = 0
    while count and count % step == 0 and power + 1 < len(suffixes):
        count, power = count // step, power + 1
    return f"{count}{suffixes[power]}" if count else "0"


def _parse(text: str) -> _Quantity:
    found = _SHAPE.fullmatch(text)
    if found is None or found[3] not in _THOUSANDTHS:
        known = ", ".join(filter(None, (*_DECIMAL, *_BINARY)))
        raise ValueError(f"{text[:40]!r} is no quantity: a number, then nothing or one of {known}")
    digits, binary = found[2] or "", found[3] in _BINARY
    value, rest = divmod(int(found[1] + digits) * _THOUSANDTHS[found[3]], 10 ** len(digits))
    if rest or (binary and value % 1000):
        raise ValueError(f"{text!r} is finer than Kubernetes counts: it would be rounded up")
    if value // 1000 > MAX_INTEGER:
        raise ValueError(f"{text!r} is more than can be counted")
    return _Quantity(value, binary)


def _positive(text: str, value: int) -> int:
    if not 0 < value <= MAX_INTEGER:
        raise ValueError(f"{text!r} is nothing" if not value else f"{text!r} is too much")
    return value
