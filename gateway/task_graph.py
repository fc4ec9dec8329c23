"""The graph of a launch, frozen: tasks as policy and the log see them, and what is kept from both.

What is masked lives in ``TaskGraph.sealed`` alone: the clear values, and the id that Luigi gives to
a task with such values. ``to_json`` forms are canonical and fixed, as those of ``model``, by which
name everybody imports these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from gateway.canonical import Json, digest

NodeKind = Literal["task", "wrapper", "external", "possible"]
LUIGI_ID = "luigi id"
"""Where ``TaskGraph.sealed`` keeps Luigi's own id: no parameter of Python can be named so."""


@dataclass(frozen=True, slots=True)
class MayYield:
    """A family that a task may yield at run time, and how many tasks of it at the most."""

    family: str
    limit: int

    def to_json(self) -> dict[str, Json]:
        """Return the canonical form."""
        return {"family": self.family, "limit": self.limit}


@dataclass(frozen=True, slots=True)
class TaskNode:
    """One task of a graph, as policy and the log see it.

    ``key``: see ``node_key``. ``parameters`` holds shown values in clear; every other value is
    ``hmac-sha256:...`` under the installation key, so that neither log nor digest gives it away.
    ``task_id`` is Luigi's own, which is no identity (40 bits, significant parameters only); it
    spells parameters out, so where any is masked, one made of family and key stands there, and
    ``TaskGraph.luigi_id`` has Luigi's. Kind ``possible`` stands for up to ``limit`` tasks of a
    family that another task declared in ``may_yield``; its parameters are known at run time only.
    """

    key: str
    module: str
    family: str
    task_id: str
    kind: NodeKind
    parameters: Mapping[str, str]
    egress: tuple[str, ...] = ()
    deps: tuple[str, ...] = ()  # keys, sorted; edges to `possible` nodes included
    may_yield: tuple[MayYield, ...] = ()
    carries: tuple[str, ...] = ()  # data classes, sorted
    limit: int = 1
    priority: int = 0
    resources: Mapping[str, int] = field(default_factory=dict)
    retry_count: int | None = None
    worker_timeout: int | None = None  # seconds
    disabled: bool = False

    def to_json(self) -> dict[str, Json]:
        """Return the canonical form, as stored and as shown to policy."""
        return {
            "key": self.key,
            "module": self.module,
            "family": self.family,
            "task_id": self.task_id,
            "kind": self.kind,
            "parameters": dict(self.parameters),
            "egress": list(self.egress),
            "deps": list(self.deps),
            "may_yield": [item.to_json() for item in self.may_yield],
            "carries": list(self.carries),
            "limit": self.limit,
            "priority": self.priority,
            "resources": dict(self.resources),
            "retry_count": self.retry_count,
            "worker_timeout": self.worker_timeout,
            "disabled": self.disabled,
        }


@dataclass(frozen=True, slots=True)
class TaskGraph:
    """The canonical graph: nodes by key in topological order (dependencies first), and its root.

    ``digest`` = SHA-256 over sorted node keys and edges. ``sealed`` maps the key of a node that has
    masked parameters to their clear values and, under ``LUIGI_ID``, its Luigi id; it never enters
    ``to_json``, a log entry or an error. What an earlier version sealed lacks the id.
    """

    root: str
    nodes: Mapping[str, TaskNode]
    code_digest: str
    digest: str
    sealed: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    @property
    def edges(self) -> int:
        """The number of edges."""
        return sum(len(node.deps) for node in self.nodes.values())

    def clear_parameters(self, key: str) -> dict[str, str]:
        """Return all parameters of a node in clear: for the task's own process alone."""
        clear = {**self.nodes[key].parameters, **self.sealed.get(key, {})}
        clear.pop(LUIGI_ID, None)
        return clear

    def luigi_id(self, key: str) -> str:
        """Return Luigi's own id of a node: for the task's own process alone, as its parameters."""
        return self.sealed.get(key, {}).get(LUIGI_ID, self.nodes[key].task_id)

    def grown(
        self, nodes: Iterable[TaskNode], sealed: Mapping[str, Mapping[str, str]]
    ) -> TaskGraph:
        """Return the graph with tasks that were yielded; ``digest`` stays that of the approval."""
        return replace(
            self,
            nodes={**self.nodes, **{node.key: node for node in nodes}},
            sealed={**self.sealed, **sealed},
        )

    def to_json(self) -> dict[str, Json]:
        """Return the form that is stored once, by digest."""
        return {
            "root": self.root,
            "code_digest": self.code_digest,
            "digest": self.digest,
            "nodes": [node.to_json() for node in self.nodes.values()],
        }

    @staticmethod
    def from_json(value: Mapping[str, object]) -> TaskGraph:
        """Read what ``to_json`` wrote (our own store: parsed at that boundary, then trusted)."""
        nodes = [node_from_json(item) for item in value["nodes"]]  # type: ignore[attr-defined]
        return TaskGraph(
            root=str(value["root"]),
            nodes={node.key: node for node in nodes},
            code_digest=str(value["code_digest"]),
            digest=str(value["digest"]),
        )


def node_from_json(item: Mapping[str, object]) -> TaskNode:
    """Read what ``TaskNode.to_json`` wrote."""
    fields = dict(item)
    for name in ("egress", "deps", "carries"):
        fields[name] = tuple(fields[name])  # type: ignore[arg-type]
    fields["may_yield"] = tuple(MayYield(**entry) for entry in fields["may_yield"])  # type: ignore[attr-defined]
    return TaskNode(**fields)  # type: ignore[arg-type]


def node_key(
    module: str,
    family: str,
    parameters: Mapping[str, str],
    code_digest: str,
    egress: tuple[str, ...],
) -> str:
    """Return the identity of a task: SHA-256 over all that decides what it does and may reach.

    ``parameters`` are in the masked form of ``TaskNode.parameters``. A ``possible`` node has the
    single parameter ``*`` with its limit, which no Luigi parameter can be named.
    """
    return digest(
        {
            "module": module,
            "family": family,
            "parameters": dict(parameters),
            "code": code_digest,
            "egress": sorted(egress),
        }
    )


def graph_digest(nodes: Mapping[str, TaskNode]) -> str:
    """Return SHA-256 over the sorted node keys and the sorted edges."""
    edges = sorted([key, dep] for key, node in nodes.items() for dep in node.deps)
    return digest({"nodes": sorted(nodes), "edges": edges})
