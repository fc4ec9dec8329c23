"""Records as the guest writes them, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.graph.build import Masking, build_graph
from gateway.graph.classes import propagate
from gateway.model import TaskGraph

KEY = b"k" * 32
CODE = "c" * 64
EMITS = {"warehouse": {"pii"}, "bucket": {"internal"}, "web": ()}


def record(
    family: str,
    *deps: int,
    kind: str = "task",
    parameters: Mapping[str, Any] | None = None,
    private: Mapping[str, str] | None = None,
    may_yield: Mapping[str, int] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Return one record; everything that is not given is as Luigi has it by default."""
    values = {name: {"value": text, "private": False} for name, text in (parameters or {}).items()}
    values |= {name: {"value": text, "private": True} for name, text in (private or {}).items()}
    suffix = "_".join(str(item["value"]) for item in values.values() if not item["private"])
    task_id = "" if kind == "possible" else f"{family}_{suffix}"
    return {
        "module": "pipe",
        "family": family,
        "task_id": task_id,
        "kind": kind,
        "parameters": values,
        "egress": [],
        "may_yield": [[name, limit] for name, limit in (may_yield or {}).items()],
        "deps": list(deps),
        "priority": 0,
        "resources": {},
        "retry_count": None,
        "worker_timeout": None,
        "disabled": False,
        **fields,
    }


def build(
    *records: Mapping[str, Any],
    root: int = 0,
    shown: Sequence[str] = ("n",),
    max_nodes: int = 100,
    max_edges: int = 100,
) -> TaskGraph:
    """Return the graph of some records, with data classes."""
    graph = build_graph(
        {"root": root, "nodes": list(records)},
        masking=Masking(KEY, shown),
        code_digest=CODE,
        max_nodes=max_nodes,
        max_edges=max_edges,
    )
    nodes = propagate(graph.nodes, emits=EMITS)
    return TaskGraph(graph.root, nodes, graph.code_digest, graph.digest, graph.sealed)


def key_of(graph: TaskGraph, family: str, **parameters: str) -> str:
    """Return the key of the one node of a family, or of that with these shown parameters."""
    (key,) = (
        key
        for key, node in graph.nodes.items()
        if node.family == family and parameters.items() <= dict(node.parameters).items()
    )
    return key
