"""Ports and ranges of ports, in one canonical form: sorted, disjoint, never adjacent.

In a catalogue a port is an integer, or ``{port, endPort}``. Texts are refused: Cilium parses them
with any base, so that ``"0443"`` is port 291 (``rule_validation.go``, 1.20).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.network.reading import Fault, at, items, record

LAST = 65_535
MAX_ENTRIES = 40  # of one toPorts entry: maxPorts in rule_validation.go, 1.20


@dataclass(frozen=True, slots=True, order=True)
class Ports:
    """The ports from ``first`` to ``last``, both included."""

    first: int
    last: int

    def meets(self, other: Ports) -> bool:
        """Say whether both hold some port."""
        return self.first <= other.last and other.first <= self.last


def parse_ports(value: object) -> tuple[Ports, ...]:
    """Read the list of a catalogue entry. Raises ``Fault``."""
    ranges = []
    for index, item in enumerate(items(value)):
        with at(index):
            ranges.append(_range(item))
    return merged(ranges)


def merged(ranges: Iterable[Ports]) -> tuple[Ports, ...]:
    """Return the canonical form of these ports."""
    found: list[Ports] = []
    for item in sorted(ranges):
        if found and item.first <= found[-1].last + 1:
            found[-1] = Ports(found[-1].first, max(found[-1].last, item.last))
        else:
            found.append(item)
    return tuple(found)


def meet(first: Iterable[Ports], second: Iterable[Ports]) -> bool:
    """Say whether two sets of ports share one."""
    others = tuple(second)
    return any(a.meets(b) for a in first for b in others)


def spoken(ranges: Iterable[Ports]) -> str:
    """Return the ports as people write them: ``80, 8000-8080``."""
    return ", ".join(str(r.first) if r.first == r.last else f"{r.first}-{r.last}" for r in ranges)


def _range(item: object) -> Ports:
    if not isinstance(item, Mapping):
        port = number(item)
        return Ports(port, port)
    entry = record(item, ("port", "endPort"))
    with at("port"):
        first = number(entry["port"])
    with at("endPort"):
        last = number(entry["endPort"])
        if last < first:
            raise Fault(f"is below port: {last} < {first}")
    return Ports(first, last)


def number(value: object) -> int:
    """Return a port number. Raises ``Fault``: for texts and booleans too."""
    if type(value) is not int or not 1 <= value <= LAST:
        raise Fault(f"is not a whole number from 1 to {LAST}: {value!r}")
    return value
