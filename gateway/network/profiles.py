"""Network profiles: the canonical form of what a task may reach, and its name.

Two tasks that may reach the same places share one profile, so ten thousand runs need the same few.
A profile never changes under its name: the name is a digest of the content. 128 bits of it fit into
a Kubernetes label with room to spare (63 characters).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.canonical import Json, digest
from gateway.model import TaskGraph
from gateway.network.conflicts import check_together
from gateway.network.destinations import NetworkDestination, parse_destination
from gateway.network.peers import Name, Unresolved
from gateway.network.rules import Rule, canonical_rules
from gateway.network.sites import EMBEDDED, Site

GENERATOR = 2  # raise it when the same destinations would give other rules

Catalogue = Mapping[str, Mapping[str, object]]  # entries as `Destination.to_json` gives them


@dataclass(frozen=True, slots=True)
class Profile:
    """What a set of destinations may reach at one site, and the name made of that.

    ``destinations`` are the catalogue's names, for people: they do not enter the name.
    ``dns_names`` are all that may be asked for.
    """

    name: str
    destinations: tuple[str, ...]
    site: Site
    rules: tuple[Rule, ...]
    dns_names: tuple[str, ...]

    @property
    def canonical(self) -> dict[str, Json]:
        """The canonical form, all of which enters the name."""
        return _canonical(self.site, self.rules, self.dns_names)

    @property
    def unresolved(self) -> tuple[str, ...]:
        """The Services that have to be resolved before a policy can be made of this."""
        return tuple(r.peer.service for r in self.rules if isinstance(r.peer, Unresolved))


def profile(destinations: Iterable[str], catalogue: Catalogue, site: Site = EMBEDDED) -> Profile:
    """Return the profile of a set of catalogued destinations.

    Only what the packet filter can see enters the name: two destinations of one address are one.
    A name that the catalogue lacks raises ``KeyError``: policy has denied it long before. Raises
    ``Misconfigured`` for an entry that cannot become a rule, ``Unprocessable`` for entries that
    cannot be together in one task.
    """
    names = sorted(set(destinations))
    return compiled([parse_destination(name, catalogue[name]) for name in names], site)


def profiles(
    graph: TaskGraph, catalogue: Catalogue, site: Site = EMBEDDED
) -> dict[tuple[str, ...], Profile]:
    """Return the profile of each distinct egress set of a graph, by that set.

    Raises what ``profile`` raises.
    """
    found = {node.egress for node in graph.nodes.values()}
    used = sorted({name for egress in found for name in egress})
    read = {name: parse_destination(name, catalogue[name]) for name in used}
    return {
        egress: compiled([read[name] for name in sorted(set(egress))], site)
        for egress in sorted(found)
    }


def compiled(destinations: Iterable[NetworkDestination], site: Site = EMBEDDED) -> Profile:
    """Return the profile of destinations that were parsed. Raises what ``profile`` raises."""
    given = tuple(destinations)
    check_together(given, site)
    rules = canonical_rules(given)
    asked = {item.peer.host for item in given if isinstance(item.peer, Name)}
    asked |= {site.dns.service_name(item.service) for item in given if item.service is not None}
    dns_names = tuple(sorted(asked))
    name = f"p-{digest(_canonical(site, rules, dns_names))[:32]}"
    return Profile(name, tuple(item.name for item in given), site, rules, dns_names)


def _canonical(site: Site, rules: Iterable[Rule], dns_names: Iterable[str]) -> dict[str, Json]:
    return {
        "generator": GENERATOR,
        **site.to_json(),
        "rules": [rule.to_json() for rule in rules],
        "dns_names": list(dns_names),
    }
