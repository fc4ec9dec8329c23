"""Data classes flow from destinations to tasks, and from tasks to those that wait for them.

What a task learned it may pass on, so classes only ever add up along the edges. The one way out is
a declassification that security listed, for one family and one exact code digest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from gateway.model import TaskNode

UNKNOWN = "unknown"
"""What a destination emits that nobody has described. No destination accepts it."""


def propagate(
    nodes: Mapping[str, TaskNode],
    *,
    emits: Mapping[str, Collection[str]],
    base: Collection[str] = (),
    declassified: Mapping[str, Collection[str]] | None = None,
) -> dict[str, TaskNode]:
    """Return the nodes with ``carries``; ``nodes`` come dependencies first, as in a ``TaskGraph``.

    A task carries ``base`` (what the workspace may hold from earlier launches), what each of its
    destinations emits, and what its dependencies carry, possible ones included; minus what its
    family may shed (``declassified``). Linear in nodes and edges.
    """
    sheds = declassified or {}
    given = frozenset(base)
    learned: dict[tuple[str, ...], frozenset[str]] = {}
    shared: dict[frozenset[str], frozenset[str]] = {}  # few different sets, however many tasks
    carried: dict[str, frozenset[str]] = {}
    found: dict[str, TaskNode] = {}
    for key, node in nodes.items():
        own = learned.get(node.egress)
        if own is None:
            own = given.union(*(emits.get(name, (UNKNOWN,)) for name in node.egress))
            learned[node.egress] = own
        classes = own.union(*{carried[dep] for dep in node.deps}).difference(
            sheds.get(node.family, ())
        )
        carried[key] = shared.setdefault(classes, classes)
        found[key] = replace(node, carries=tuple(sorted(classes)))
    return found
