"""Destinations that share an address share what may be learnt there.

Two names for one place must not be a way around data classes: what is brought to the place under
one name comes out under the other. So each destination emits what every destination that overlaps
it emits. What cannot be compared (a name and an address) does not overlap here; security lists
both classes where a name resolves into a listed range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

from gateway.policy.data import Destination


def widened(destinations: Mapping[str, Destination]) -> dict[str, Destination]:
    """Return the destinations, each emitting the classes of all that overlap it, transitively."""
    emits = {name: set(item.emits) for name, item in destinations.items()}
    pairs = [
        (a.name, b.name)
        for a in destinations.values()
        for b in destinations.values()
        if a.name < b.name and overlap(a, b)
    ]
    changed = True
    while changed:
        changed = False
        for a, b in pairs:
            if emits[a] != emits[b]:
                emits[a] = emits[b] = emits[a] | emits[b]
                changed = True
    return {
        name: replace(item, emits=tuple(sorted(emits[name]))) for name, item in destinations.items()
    }


def overlap(a: Destination, b: Destination) -> bool:
    """Say whether some address and port belong to both."""
    if a.kind != b.kind or not set(a.ports) & set(b.ports):
        return False
    if a.kind == "cidr":
        first, second = ip_network(a.host, strict=False), ip_network(b.host, strict=False)
        return first.version == second.version and first.overlaps(second)
    return _names_meet(a.host.lower().rstrip("."), b.host.lower().rstrip("."))


def _names_meet(a: str, b: str) -> bool:
    """Compare names of which either may begin with ``*.``, for one label or more below it."""
    if a.startswith("*.") and b.startswith("*."):
        return a.endswith(b[1:]) or b.endswith(a[1:])
    if a.startswith("*."):
        return b.endswith(a[1:])
    return a.endswith(b[1:]) if b.startswith("*.") else a == b
