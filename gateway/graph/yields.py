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
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from gateway.errors import Rejected
from gateway.graph.build import Masking, make_node, refuse_collisions, topological
from gateway.graph.failures import Unresolvable
from gateway.graph.records import MASK, Record, parse_index, parse_records
from gateway.model import TaskGraph, TaskNode

Sealed = Mapping[str, Mapping[str, str]]
AdmittedYield = tuple[list[TaskNode], list[str], Sealed]

_MAX_NODES = 5_000  # in one yield; how many tasks may be new is up to the approved limits
_MAX_EDGES = 50_000


def yield_admission(
    installation_key: bytes,
) -> Callable[[TaskGraph, str, Mapping[str, Any], frozenset[str]], AdmittedYield]:
    """Return ``admit_yield`` with the key that masks parameters; it is pure and thread-safe."""

    def admit(
        graph: TaskGraph, yielder: str, raw: Mapping[str, Any], instances: frozenset[str]
    ) -> AdmittedYield:
        return admit_yield(graph, yielder, raw, instances, installation_key=installation_key)

    return admit


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
    tasks that this launch has yielded so far; they are nodes of ``graph``. Which parameter names
    are shown is read off the graph; on a family that first appears here, all others are masked.

    Raises ``Rejected`` (``yield_outside_graph``), naming the family and what does not fit.
    """
    return _Admission(graph, yielder, instances, installation_key).admit(raw)


class _Admission:
    def __init__(
        self, graph: TaskGraph, yielder: str, instances: Collection[str], key: bytes
    ) -> None:
        self._graph = graph
        self._yielder = graph.nodes[yielder]
        self._masking = Masking(key, _shown(graph.nodes.values()))
        self._upstream = _closure(graph, self._yielder.deps)
        own = [dep for dep in self._yielder.deps if graph.nodes[dep].kind == "possible"]
        reachable = _closure(graph, own)
        self._families = {
            (graph.nodes[key].module, graph.nodes[key].family): graph.nodes[key]
            for key in reachable
            if graph.nodes[key].kind == "possible"
        }
        self._used = Counter(
            (node.module, node.family) for node in map(graph.nodes.get, set(instances)) if node
        )
        self._new: dict[str, TaskNode] = {}
        self._sealed: dict[str, dict[str, str]] = {}

    def admit(self, raw: Mapping[str, Any]) -> AdmittedYield:
        try:
            records = parse_records(raw.get("nodes"), max_nodes=_MAX_NODES, max_edges=_MAX_EDGES)
            listed = raw.get("roots")
            if not isinstance(listed, list) or len(listed) > len(records):
                raise self._outside("it names no tasks")
            roots = [parse_index(index, len(records)) for index in listed]
            order = topological({index: item.deps for index, item in enumerate(records)})
            if order is None:
                raise self._outside("its tasks wait for each other")
            keys: dict[int, str] = {}
            for index in order:
                keys[index] = self._place(records[index], [keys[dep] for dep in records[index].deps])
            refuse_collisions([*self._graph.nodes.values(), *self._new.values()])
        except Unresolvable as error:
            raise self._outside(error.public_message) from error
        return self._reached(dict.fromkeys(keys[index] for index in roots))

    def _place(self, record: Record, deps: list[str]) -> str:
        if record.kind == "possible":
            return self._possible(record)
        node, sealed = make_node(record, deps, self._masking, self._graph.code_digest)
        known = self._graph.nodes.get(node.key)
        if known is not None:
            if node.deps != known.deps:
                raise self._outside(f"{record.family} waits for other tasks than were approved")
            return node.key
        ...
'''
