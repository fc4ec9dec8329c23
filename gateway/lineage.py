"""What lies before and behind a task of a graph."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.model import TaskGraph


def upstream(graph: TaskGraph, start: Iterable[str]) -> list[str]:
    """Return the keys ``start`` and all that they wait for, nearest first."""
    found = list(dict.fromkeys(start))
    seen = set(found)
    for key in found:  # grows while it is read
        fresh = [dep for dep in graph.nodes[key].deps if dep not in seen]
        seen.update(fresh)
        found += fresh
    return found


def downstream(graph: TaskGraph, key: str) -> set[str]:
    """Return ``key`` and all that waits for it."""
    users: dict[str, list[str]] = {}
    for node in graph.nodes.values():
        for dep in node.deps:
            users.setdefault(dep, []).append(node.key)
    found = {key}
    ahead = [key]
    while ahead:
        fresh = set(users.get(ahead.pop(), ())) - found
        found |= fresh
        ahead += fresh
    return found
