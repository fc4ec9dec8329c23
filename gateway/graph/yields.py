"""Admit what a running task yields: tasks that were decided upon, and nothing else.

A yielded task is admitted when it is

* one that the yielder waits for anyway (upstream of it in the approved graph), or
* an instance of a family that the yielder declared in ``may_yield`` (or that such a family may
  yield in turn), with the same module and egress, within the approved number, and waiting only for
  tasks that carry no more data classes than were approved for the family.

So no task gets a destination, and no data class gets anywhere, that policy did not see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from gateway.errors import Rejected
from gateway.graph.build import Masking, make_node, refuse_collisions, topological
from gateway.graph.failures import Unresolvable
from gateway.graph.records import MASK, Record, parse_index, parse_records
from gateway.lineage import downstream, upstream
from gateway.model import TaskGraph, TaskNode

Sealed = Mapping[str, Mapping[str, str]]
AdmittedYield = tuple[list[TaskNode], list[str], Sealed]

_MAX_NODES = 5_000  # in one yield; how many tasks may be new is up to the approved limits
_MAX_EDGES = 50_000


def admit_yield(
    graph: TaskGraph,
    yielder: str,
    raw: Mapping[str, Any],
    instances: Collection[str],
    *,
    installation_key: bytes,
) -> AdmittedYield:
    """Return the new nodes, dependencies first, the keys that were yielded, and sealed values.

    ``raw`` is the guest's ``{"roots", "nodes"}``, untrusted. ``instances`` are the keys of the
    tasks that this launch has yielded so far; they are nodes of ``graph``. Pure and thread-safe;
    bind ``installation_key`` once. Which parameter names
    are shown is read off the graph; on a family that first appears here, all others are masked.

    Raises ``Rejected`` (``yield_outside_graph``), naming the family and what does not fit.
    """
    return _Admission(graph, yielder, instances, installation_key).admit(raw)


class _Admission:
    """One yield, judged against what was approved."""

    def __init__(
        self, graph: TaskGraph, yielder: str, instances: Collection[str], key: bytes
    ) -> None:
        self._graph = graph
        self._yielder = graph.nodes[yielder]
        self._masking = Masking(key, _shown(graph.nodes.values()))
        self._upstream = set(upstream(graph, self._yielder.deps))
        self._downstream = downstream(graph, yielder)
        own = [dep for dep in self._yielder.deps if graph.nodes[dep].kind == "possible"]
        self._families = {
            (node.module, node.family): node
            for node in (graph.nodes[key] for key in upstream(graph, own))
            if node.kind == "possible"
        }
        known = (graph.nodes.get(key) for key in instances)
        self._used = Counter((node.module, node.family) for node in known if node)
        self._new: dict[str, TaskNode] = {}
        self._sealed: dict[str, dict[str, str]] = {}

    def admit(self, raw: Mapping[str, Any]) -> AdmittedYield:
        try:
            records = parse_records(raw.get("nodes"), max_nodes=_MAX_NODES, max_edges=_MAX_EDGES)
            roots = self._roots(raw.get("roots"), len(records))
            keys: dict[int, str] = {}
            for index in self._wanted(records, roots):
                deps = [keys[dep] for dep in records[index].deps]
                keys[index] = self._place(records[index], deps)
            refuse_collisions(self._graph.grown(self._new.values(), self._sealed))
        except Unresolvable as error:
            raise self._outside(error.reason) from error
        yielded = list(dict.fromkeys(keys[index] for index in roots))
        for key in yielded:
            if key not in self._new:
                self._check_known_root(self._graph.nodes[key])
        return list(self._new.values()), yielded, self._sealed

    def _roots(self, listed: object, count: int) -> list[int]:
        if not isinstance(listed, list) or len(listed) > count:
            raise self._outside("it names no tasks")
        return [parse_index(index, count) for index in listed]

    def _wanted(self, records: list[Record], roots: Iterable[int]) -> list[int]:
        """Return what the roots need, dependencies first; records beside that count for nothing."""
        order = topological({index: record.deps for index, record in enumerate(records)})
        if order is None:
            raise self._outside("its tasks wait for each other")
        wanted: set[int] = set(roots)
        for index in reversed(order):
            if index in wanted:
                wanted.update(records[index].deps)
        return [index for index in order if index in wanted]

    def _place(self, record: Record, deps: list[str]) -> str:
        """Return the key of an approved node that this record is, or make it an instance."""
        if record.kind == "possible":
            for node in self._graph.nodes.values():
                if node.kind == "possible" and _same_family(node, record):
                    return node.key
            raise self._outside(f"{record.family} was declared by no task of the approved graph")
        node, sealed = make_node(record, deps, self._masking, self._graph.code_digest)
        known = self._graph.nodes.get(node.key) or self._new.get(node.key)
        if known is None:
            known = self._instance(node)
            self._new[node.key] = known
            if sealed:
                self._sealed[node.key] = sealed
        elif known.deps != node.deps:
            raise self._outside(f"{node.family} waits for other tasks than were approved")
        return known.key

    def _instance(self, node: TaskNode) -> TaskNode:
        """Return a task that is in nobody's graph yet, as one of its declared family."""
        family = self._families.get((node.module, node.family))
        if family is None:
            raise self._outside(f"{node.family} is neither in the graph nor in may_yield")
        if node.egress != family.egress:
            raise self._outside(f"{node.family} has another egress than was approved")
        self._used[node.module, node.family] += 1
        if self._used[node.module, node.family] > family.limit:
            raise self._outside(f"more than {family.limit} tasks {node.family}")
        for dep in node.deps:
            needed = self._new.get(dep) or self._graph.nodes[dep]
            if needed.kind == "possible":
                if dep != family.key and dep not in family.deps:
                    raise self._outside(f"{node.family} may not yield {needed.family}")
            elif dep in self._downstream or not set(needed.carries) <= set(family.carries):
                raise self._outside(f"{node.family} may not wait for {needed.family}")
        return replace(node, carries=family.carries)

    def _check_known_root(self, node: TaskNode) -> None:
        if node.key in self._upstream and node.kind != "possible":
            return
        family = self._families.get((node.module, node.family))
        if (
            family is None
            or node.kind == "possible"
            or node.key in self._downstream
            or not set(node.carries) <= set(family.carries)
        ):
            raise self._outside(f"{node.family} is no task that it may wait for")

    def _outside(self, what: str) -> Rejected:
        return Rejected(
            "yield_outside_graph",
            f"{self._yielder.family} yielded what was not approved: {what}; declare it in "
            "may_yield = ((family, largest number),) and launch again",
            step="run",
        )


def _shown(nodes: Iterable[TaskNode]) -> frozenset[str]:
    """Return the parameter names that the catalogue shows, as far as this graph tells."""
    return frozenset(
        name
        for node in nodes
        if node.kind != "possible"
        for name, value in node.parameters.items()
        if not value.startswith(MASK)
    )


def _same_family(node: TaskNode, record: Record) -> bool:
    return (
        node.module == record.module
        and node.family == record.family
        and node.egress == record.egress
    )
