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
    destinations emits, and what its dependencies carry; minus what its family may shed
    (``declassified``). Between a task and what it may yield, classes flow both ways: the yielded
    task's parameters are made of what the yielder has read. Linear in nodes and edges.
    """
    sheds = declassified or {}
    given = frozenset(base)
    learned: dict[tuple[str, ...], frozenset[str]] = {}
    shared: dict[frozenset[str], frozenset[str]] = {}  # few different sets, however many tasks
    carried: dict[str, frozenset[str]] = {}
    for key, node in nodes.items():
        own = learned.get(node.egress)
        if own is None:
            own = given.union(*(emits.get(name, (UNKNOWN,)) for name in node.egress))
            learned[node.egress] = own
        classes = own.union(*{carried[dep] for dep in node.deps}) - frozenset(
            sheds.get(node.family, ())
        )
        carried[key] = shared.setdefault(classes, classes)
    if any(node.kind == "possible" for node in nodes.values()):
        _flow_into_yielded(nodes, carried, sheds)
    return {key: replace(node, carries=tuple(sorted(carried[key]))) for key, node in nodes.items()}


def _flow_into_yielded(
    nodes: Mapping[str, TaskNode],
    carried: dict[str, frozenset[str]],
    sheds: Mapping[str, Collection[str]],
) -> None:
    """Let classes flow from yielders to what they may yield, and on, until nothing changes.

    A set only grows, by one of few classes at a time, so each node is visited a few times.
    """
    receivers: dict[str, list[str]] = {key: [] for key in nodes}
    for key, node in nodes.items():
        for dep in node.deps:
            receivers[dep].append(key)
            if nodes[dep].kind == "possible":
                receivers[key].append(dep)
    ahead = [key for key, node in nodes.items() if carried[key]]
    while ahead:
        key = ahead.pop()
        for receiver in receivers[key]:
            shed = frozenset(sheds.get(nodes[receiver].family, ()))
            grown = carried[receiver] | (carried[key] - shed)
            if grown != carried[receiver]:
                carried[receiver] = grown
                ahead.append(receiver)
