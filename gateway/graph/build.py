"""Make a ``TaskGraph`` of what the guest says. Keys and digests are computed here, by us.

1. shape: every field checked (``records``)
2. limits: how many tasks a ``possible`` node stands for, from what its yielders declare
3. masking: what the catalogue does not show, or the task calls private, becomes an HMAC, and
   Luigi's id of such a task, which spells values out, is sealed with them
4. identity: one node per key; one key per Luigi task id, because Luigi would drop the other
5. order: dependencies first; a cycle is refused
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.canonical import keyed
from gateway.graph.failures import Unresolvable
from gateway.graph.records import MASK, Record, parse_index, parse_records
from gateway.model import LUIGI_ID, MayYield, TaskGraph, TaskNode, graph_digest, node_key

Name = TypeVar("Name", int, str)
_PUBLIC = 10  # letters of a key in a public id: as many as Luigi takes of its hash


@dataclass(frozen=True, slots=True)
class Masking:
    """Which values stay in clear, and the key under which the others are hidden."""

    installation_key: bytes
    shown: Collection[str]

    def split(self, record: Record) -> tuple[dict[str, str], dict[str, str]]:
        """Return the parameters as they may be seen, and the clear values of the masked ones."""
        seen: dict[str, str] = {}
        sealed: dict[str, str] = {}
        for name, (value, private) in record.parameters.items():
            if name in self.shown and not private:
                seen[name] = value
                continue
            sealed[name] = value
            what = {"module": record.module, "family": record.family, "name": name, "value": value}
            seen[name] = MASK + keyed(self.installation_key, what)
        return seen, sealed


def build_graph(
    answer: Mapping[str, Any],
    *,
    masking: Masking,
    code_digest: str,
    max_nodes: int,
    max_edges: int,
) -> TaskGraph:
    """Return the graph of a guest's answer, without data classes (see ``classes``).

    Raises ``Unresolvable``: ``result_invalid``, ``too_many_tasks``, ``too_many_edges``,
    ``may_yield_invalid``, ``cycle``, ``luigi_id_collision``.
    """
    records = parse_records(answer.get("nodes"), max_nodes=max_nodes, max_edges=max_edges)
    root = parse_index(answer.get("root"), len(records))
    order = _ordered(records)
    if records[root].kind == "possible":
        raise Unresolvable("result_invalid", "the root is only a possible task")
    limits = _limits(records, order, max_nodes)
    nodes, sealed, keys = _nodes(records, order, limits, masking, code_digest)
    by_key = topological({key: node.deps for key, node in nodes.items()}) or ()
    ordered = {key: nodes[key] for key in by_key}
    graph = TaskGraph(
        root=keys[root],
        nodes=ordered,
        code_digest=code_digest,
        digest=graph_digest(ordered),
        sealed=sealed,
    )
    refuse_collisions(graph)
    return graph


def make_node(
    record: Record,
    deps: Collection[str],
    masking: Masking,
    code_digest: str,
    *,
    limit: int = 1,
    carries: tuple[str, ...] = (),
) -> tuple[TaskNode, dict[str, str]]:
    """Return the node of a record whose dependencies have keys, and what is sealed of it.

    That is empty, or the clear values of masked parameters and Luigi's id: see ``TaskGraph``.
    """
    if record.kind == "possible":
        parameters, sealed = {"*": str(limit)}, dict[str, str]()
    else:
        parameters, sealed = masking.split(record)
    key = node_key(record.module, record.family, parameters, code_digest, record.egress)
    task_id = record.task_id
    if sealed:
        sealed[LUIGI_ID] = task_id
        task_id = f"{record.family}_{key[:_PUBLIC]}"
    node = TaskNode(
        key=key,
        module=record.module,
        family=record.family,
        task_id=task_id,
        kind=record.kind,
        parameters=parameters,
        egress=record.egress,
        deps=tuple(sorted(set(deps))),
        may_yield=tuple(MayYield(*item) for item in sorted(record.may_yield.items())),
        carries=carries,
        limit=limit,
        priority=record.priority,
        resources=dict(record.resources),
        retry_count=record.retry_count,
        worker_timeout=record.worker_timeout,
        disabled=record.disabled,
    )
    return node, sealed


def refuse_collisions(graph: TaskGraph) -> None:
    """Refuse two nodes with one Luigi task id, which is 40 bits of some of the parameters.

    Raises ``Unresolvable`` (``luigi_id_collision``), naming families and parameters, no values.
    """
    by_id: dict[str, TaskNode] = {}
    for node in graph.nodes.values():
        if node.kind == "possible":
            continue
        other = by_id.setdefault(graph.luigi_id(node.key), node)
        if other is not node:
            names = sorted(
                name
                for name in {*node.parameters, *other.parameters}
                if node.parameters.get(name) != other.parameters.get(name)
            )
            what = f"differ in {', '.join(names)}" if names else "are different tasks"
            raise Unresolvable(
                "luigi_id_collision",
                f"two tasks {node.family} and {other.family} {what} and have one Luigi task id",
            )


def _ordered(records: Sequence[Record]) -> list[int]:
    deps = {index: record.deps for index, record in enumerate(records)}
    order = topological(deps)
    if order is None:
        names = " needs ".join(records[index].family for index in _cycle(deps))
        raise Unresolvable("cycle", f"tasks wait for each other: {names}")
    return order


def _limits(records: Sequence[Record], order: Sequence[int], most: int) -> dict[int, int]:
    """Return how many tasks each possible node stands for: the sum over those that may yield it.

    A family that may yield itself says with that limit how many there may be in all.
    """
    limits = {i: 0 for i, record in enumerate(records) if record.kind == "possible"}
    for index in reversed(order):  # yielders first
        record = records[index]
        times = limits.get(index, 1)
        declared = dict(record.may_yield)
        own = declared.pop(record.family, None) if index in limits else None
        if own is not None:
            limits[index] = times = max(times, own)
        if index in limits and times > most:
            raise Unresolvable(
                "too_many_tasks",
                f"may_yield allows {times} tasks {record.family}, more than {most}",
            )
        for dep in record.deps:
            if dep not in limits:
                continue
            limit = declared.pop(records[dep].family, None)
            if limit is None:
                raise Unresolvable("result_invalid", f"{record.family} has an undeclared yield")
            limits[dep] += times * limit
        if declared:
            raise Unresolvable("result_invalid", f"{record.family} lacks a declared yield")
    return limits


def _nodes(
    records: Sequence[Record],
    order: Sequence[int],
    limits: Mapping[int, int],
    masking: Masking,
    code_digest: str,
) -> tuple[dict[str, TaskNode], dict[str, dict[str, str]], dict[int, str]]:
    nodes: dict[str, TaskNode] = {}
    sealed: dict[str, dict[str, str]] = {}
    keys: dict[int, str] = {}
    for index in order:
        record = records[index]
        deps = {keys[dep] for dep in record.deps}
        limit = limits.get(index, 1)
        node, secret = make_node(record, deps, masking, code_digest, limit=limit)
        if nodes.setdefault(node.key, node) != node or sealed.get(node.key, secret) != secret:
            raise Unresolvable(
                "result_invalid", f"{record.family} says two different things about one task"
            )
        keys[index] = node.key
        if secret:
            sealed[node.key] = secret
    return nodes, sealed, keys


def topological(deps: Mapping[Name, Sequence[Name]]) -> list[Name] | None:
    """Return the names, dependencies first, in an order that depends on nothing but ``deps``.

    None where there is a cycle.
    """
    missing = {name: len(needs) for name, needs in deps.items()}
    users: dict[Name, list[Name]] = {name: [] for name in deps}
    for name, needs in deps.items():
        for need in needs:
            users[need].append(name)
    ready = [name for name, count in missing.items() if not count]
    heapq.heapify(ready)
    order: list[Name] = []
    while ready:
        name = heapq.heappop(ready)
        order.append(name)
        for user in users[name]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, user)
    return order if len(order) == len(deps) else None


def _cycle(deps: Mapping[int, Sequence[int]]) -> list[int]:
    """Return one cycle of a graph that has some; its first member is also the last."""
    left = dict(deps)
    while removable := [name for name, needs in left.items() if not any(n in left for n in needs)]:
        for name in removable:
            del left[name]
    path = [min(left)]
    while True:
        following = next(need for need in left[path[-1]] if need in left)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
