"""Destinations -> canonical rules -> egress rules of Cilium.

A rule is one peer, one protocol, a set of ports and perhaps TLS server names. However destinations
are cut and ordered, the same reach gives the same rules: for each peer the port axis is cut where
anything changes, and joined again where nothing does. Each egress rule names exactly one kind of
peer (a rule without one would match everybody) and at most 40 ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gateway.canonical import Json, encode
from gateway.errors import Misconfigured
from gateway.network.destinations import NetworkDestination, Transport
from gateway.network.peers import AnyPeer, Unresolved
from gateway.network.ports import MAX_ENTRIES, Ports, merged

Demand = tuple[Ports, tuple[str, ...]]  # ports, and the server names demanded there


@dataclass(frozen=True, slots=True)
class Rule:
    """To one peer, on these ports; with server names, TLS that asks for one of them."""

    peer: AnyPeer
    protocol: Transport
    ports: tuple[Ports, ...]
    server_names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return the canonical form."""
        return {
            "peer": self.peer.to_json(),
            "protocol": self.protocol,
            "ports": [[item.first, item.last] for item in self.ports],
            "server_names": list(self.server_names),
        }


def canonical_rules(destinations: Iterable[NetworkDestination]) -> tuple[Rule, ...]:
    """Return the rules for destinations that ``conflicts.check_together`` has accepted, sorted."""
    groups: dict[tuple[AnyPeer, Transport], list[Demand]] = {}
    for item in destinations:
        demands = groups.setdefault((item.peer, item.protocol), [])
        demands += [(range_, item.server_names) for range_ in item.ports]
    rules = [
        Rule(peer, protocol, merged(ranges), names)
        for (peer, protocol), demands in groups.items()
        for names, ranges in _by_server_names(demands).items()
    ]
    return tuple(sorted(rules, key=lambda rule: encode(rule.to_json())))


def egress_rules(rule: Rule) -> Iterator[Json]:
    """Yield a rule in Cilium's form, in as many pieces as its number of ports needs.

    Raises ``Misconfigured`` for a Service that nobody has resolved.
    """
    if isinstance(rule.peer, Unresolved):
        raise Misconfigured(
            "service_unresolved",
            f"Service {rule.peer.service} is not resolved to pods and their port; "
            "that takes a cluster, or --services",
            step="bind",
        )
    for piece in _pieces(rule.ports):
        to_ports: dict[str, Json] = {"ports": [_port(item, rule.protocol) for item in piece]}
        if rule.server_names:
            to_ports["serverNames"] = list(rule.server_names)
        yield {**rule.peer.selector(), "toPorts": [to_ports]}


def _by_server_names(demands: Sequence[Demand]) -> dict[tuple[str, ...], list[Ports]]:
    edges = sorted({edge for held, _ in demands for edge in (held.first, held.last + 1)})
    found: dict[tuple[str, ...], list[Ports]] = {}
    for first, after in pairwise(edges):
        part = Ports(first, after - 1)
        covering = [names for held, names in demands if held.meets(part)]
        if covering:
            names = tuple(sorted({name for names in covering for name in names}))
            found.setdefault(names, []).append(part)
    return found


def _pieces(ports: Sequence[Ports]) -> Iterator[Sequence[Ports]]:
    for start in range(0, len(ports), MAX_ENTRIES):
        yield ports[start : start + MAX_ENTRIES]


def _port(item: Ports, protocol: Transport) -> Json:
    entry: dict[str, Json] = {"port": str(item.first), "protocol": protocol}
    if item.last != item.first:
        entry["endPort"] = item.last
    return entry
