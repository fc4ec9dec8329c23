"""Launches, plans and catalogue entries as a surface shows them: masked, plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.launch import DryRun
from gateway.lifecycle.decision import decision_json
from gateway.model import TaskGraph, TaskNode
from gateway.policy.data import Pipeline
from gateway.store.launches import LaunchRecord, TaskRow

WITHHELD = "withheld: the launch carries classes that are not shown to agents"


def launch(record: LaunchRecord, warning: str, *, withhold: bool = False) -> dict[str, Any]:
    """Return one launch. ``warning`` is shown where nothing enforces network policy.

    ``withhold`` leaves out what its tasks said: see ``access.withheld``.
    """
    return {
        "id": record.id,
        "state": record.state.value,
        "pipeline": record.pipeline,
        "parameters": dict(record.parameters),
        "reason": record.reason,
        "surface": record.surface,
        "requested_by": record.principal.to_json(),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "enforcement": record.enforcement,
        "warning": warning if record.enforcement == "none" else "",
        "decision": record.decision,
        "plan": record.plan,
        "outcome": WITHHELD if withhold and record.outcome else record.outcome,
        "outputs": [] if withhold else list(record.outputs),
        "task_counts": dict(record.tasks),
    }


def tasks(
    graph: TaskGraph | None, rows: Mapping[str, TaskRow], *, withhold: bool = False
) -> list[dict[str, Any]]:
    """Return the tasks of a graph, dependencies first, each with its newest attempt."""
    shown = [_task(node, rows.get(node.key)) for node in graph.nodes.values()] if graph else []
    return [{**task, "explanation": "", "outputs": []} for task in shown] if withhold else shown


def event_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's body without what tasks said, for a reader from whom it is withheld."""
    told = {"explanation", "reason", "outputs", "message", "tracking_url", "outcome"}
    return {name: value for name, value in body.items() if name not in told}


def dry_run(run: DryRun) -> dict[str, Any]:
    """Return the answer to ``POST /v1/plans``."""
    return {
        "decision": decision_json(run.decision),
        "plan": run.plan.to_json() if run.plan else None,
        "tasks": tasks(run.graph, {}),
    }


def pipeline(item: Pipeline) -> dict[str, Any]:
    """Return one catalogue entry."""
    return {
        "name": item.name,
        "title": item.title,
        "description": item.description,
        "tier": item.tier,
        "destinations": list(item.destinations),
        "agents_allowed": item.agents_allowed,
        "parameters": [
            {
                "name": name,
                "type": doc.type,
                "description": doc.description,
                "shown": doc.shown,
                "default": doc.default if doc.shown else None,
                "choices": list(doc.choices) if doc.choices else None,
            }
            for name, doc in item.parameters.items()
        ],
    }


def _task(node: TaskNode, row: TaskRow | None) -> dict[str, Any]:
    return {
        "key": node.key,
        "family": node.family,
        "kind": node.kind,
        "parameters": dict(node.parameters),
        "egress": list(node.egress),
        "carries": list(node.carries),
        "deps": list(node.deps),
        "state": row.state if row else "pending",
        "attempt": row.attempt if row else 0,
        "explanation": row.explanation if row else "",
        "outputs": list(row.outputs) if row else [],
    }
