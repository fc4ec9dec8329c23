"""Destinations that share an address share what may be learnt there.

Two names for one place must not be a way around data classes: what is brought to the place under
one name comes out under the other. So each destination emits what every destination that overlaps
it emits. What cannot be compared does not overlap here (a name and an address; two Services, whose
pods only the cluster knows): security lists the classes of both where they are one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import collapse_addresses, ip_network

from gateway.policy.data import Destination

_CLUSTER_DOMAIN = "cluster.local"


def widened(destinations: Mapping[str, Destination]) -> dict[str, Destination]:
    """Return the destinations, each emitting the classes of all that overlap it, transitively."""
    emits = {name: set(item.emits) for name, item in destinations.items()}
    pairs = overlapping(destinations)
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


def overlapping(destinations: Mapping[str, Destination]) -> list[tuple[str, str]]:
    """Return the names of each two destinations that may be one place."""
    return [
        (a.name, b.name)
        for a in destinations.values()
        for b in destinations.values()
        if a.name < b.name and overlap(a, b)
    ]


def overlap(a: Destination, b: Destination) -> bool:
    """Say whether some address and port may belong to both. In doubt they do.

    A TLS server name counts as a name of the place: behind one address, it says which host is
    spoken to. Of one Service all ports count, because two can lead to one port of its pods.
    """
    if a.kind == b.kind == "service" and a.host == b.host:
        return True
    if not any(x.meets(y) for x in a.ports for y in b.ports):
        return False
    if a.kind == b.kind == "cidr" and _ranges_meet(a, b):
        return True
    return a.kind == b.kind == "kube-apiserver" or any(
        _names_meet(x, y) for x in _names(a) for y in _names(b)
    )


def _names(destination: Destination) -> tuple[str, ...]:
    """Return the names of a place: those in the cluster's DNS too, which a wildcard may hold."""
    hosts: tuple[str, ...] = ()
    match destination.kind:
        case "fqdn":
            hosts = (destination.host,)
        case "service":
            namespace, _, name = destination.host.partition("/")
            hosts = (f"{name}.{namespace}.svc.{_CLUSTER_DOMAIN}",)
        case "kube-apiserver":
            hosts = (f"kubernetes.default.svc.{_CLUSTER_DOMAIN}",)
    return tuple(name.lower().rstrip(".") for name in (*hosts, *destination.server_names))


def _ranges_meet(a: Destination, b: Destination) -> bool:
    """Compare two ranges less the holes of both."""
    first, second = ip_network(a.host, strict=False), ip_network(b.host, strict=False)
    if first.version != second.version or not first.overlaps(second):
        return False
    shared = max(first, second, key=lambda network: network.prefixlen)  # the one in the other
    holes = [ip_network(text, strict=False) for text in (*a.holes, *b.holes)]
    inside = [hole for hole in holes if hole.version == shared.version and hole.overlaps(shared)]
    covering = [hole for hole in inside if hole.prefixlen <= shared.prefixlen]
    return not covering and list(collapse_addresses(inside)) != [shared]  # type: ignore[type-var]


def _names_meet(a: str, b: str) -> bool:
    """Compare names of which either may begin with ``*.``, for one label or more below it."""
    if a.startswith("*.") and b.startswith("*."):
        return a.endswith(b[1:]) or b.endswith(a[1:])
    if a.startswith("*."):
        return b.endswith(a[1:])
    return a.endswith(b[1:]) if b.startswith("*.") else a == b
