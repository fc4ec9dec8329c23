"""Network profiles: the canonical form of what a task may reach, and its name.

Two tasks that may reach the same destinations share one profile, so ten thousand runs need the
same few. A profile never changes under its name: the name is a digest of the content. 128 bits of
it fit into a Kubernetes label with room to spare (63 characters).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.canonical import Json, digest
from gateway.model import TaskGraph

GENERATOR = 1  # raise it when the meaning of a destination's fields changes
_FIELDS = ("kind", "host", "ports", "protocol")


@dataclass(frozen=True, slots=True)
class Profile:
    """A set of destinations and the name made of their content."""

    name: str
    destinations: tuple[str, ...]
    canonical: Mapping[str, Json]


def profile(destinations: Iterable[str], catalogue: Mapping[str, Mapping[str, Json]]) -> Profile:
    """Return the profile of a set of catalogued destinations.

    Only what the packet filter can see enters the name: two destinations of one address are one.
    A name that the catalogue lacks raises ``KeyError``: policy has denied it long before.
    """
    names = tuple(sorted(set(destinations)))
    rules: list[Json] = []
    for name in names:
        rule: dict[str, Json] = {key: catalogue[name].get(key) for key in _FIELDS}
        if rule not in rules:
            rules.append(rule)
    rules.sort(key=digest)
    canonical: dict[str, Json] = {"generator": GENERATOR, "egress": rules}
    return Profile(f"p-{digest(canonical)[:32]}", names, canonical)


def profiles(
    graph: TaskGraph, catalogue: Mapping[str, Mapping[str, Json]]
) -> dict[tuple[str, ...], Profile]:
    """Return the profile of each distinct egress set of a graph, by that set."""
    found = {node.egress for node in graph.nodes.values()}
    return {egress: profile(egress, catalogue) for egress in sorted(found)}
