"""What policy is asked: exact, complete and recorded, as ``input.schema.json`` promises it.

``policy_input`` is pure. Its value goes into the log, so that a decision can be replayed; the tasks
come from the graph, which is stored by digest. No clear value of a masked parameter gets here.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.canonical import Json
from gateway.errors import IntegrityViolation
from gateway.model import LaunchRequest, Member, Principal, TaskGraph, TaskNode
from gateway.policy.data import Pipeline, PolicyData
from gateway.policy.engine import Question

HIDDEN = "hidden"  # what stands for a value that is not shown and not yet keyed
HISTORY = frozenset(
    {
        "launches_last_hour",
        "launches_today",
        "running",
        "approved_code_digests",
        "last_approved_content_digest",
    }
)

Input = dict[str, Json]


def policy_input(
    data: PolicyData,
    principal: Principal,
    request: LaunchRequest,
    *,
    parameters: Mapping[str, str],
    history: Mapping[str, Json],
    now: str,
    enforcement: str,
    graph: TaskGraph | None = None,
) -> Input:
    """Return the input that all questions of one decision share.

    ``parameters`` are in masked form. Without a graph it is the input of ``sluice.admit``. Raises
    ``IntegrityViolation`` for a history that lacks a field: a rule on it would never fire.
    """
    if set(history) != HISTORY:
        raise IntegrityViolation(
            "policy_input_incomplete",
            "the history of this launch cannot be read, so nothing is allowed",
            step="decide",
            diagnostics=f"history has {sorted(history)}",
        )
    asked: Input = {
        "pipeline": request.pipeline,
        "parameters": dict(parameters),
        "reason": request.reason,
        "surface": request.surface,
        "enforcement": enforcement,
        "dry_run": request.dry_run,
    }
    catalogued = data.pipelines[request.pipeline].to_json()
    if graph is not None:
        asked |= {"tasks": sum(node.limit for node in graph.nodes.values()), "edges": graph.edges}
        catalogued["code_digest"] = graph.code_digest
    return {
        "chain": [member_input(data, member) for member in principal.chain],
        "request": asked,
        "pipeline": catalogued,
        "history": dict(history),
        "time": now,
    }


def shown_parameters(pipeline: Pipeline, parameters: Mapping[str, str]) -> dict[str, str]:
    """Return parameters for ``sluice.admit``: what the catalogue does not show is hidden."""
    return {name: value if name in pipeline.shown else HIDDEN for name, value in parameters.items()}


def member_input(data: PolicyData, member: Member) -> Input:
    """Return one member of the chain, with the groups of token and data together."""
    groups = {*member.groups, *data.groups_of(member.account)}
    return {
        "account": member.account,
        "issuer": member.issuer,
        "subject": member.subject,
        "kind": member.kind,
        "groups": sorted(groups),
        "person": data.person_of(member.account),
        "owner": data.owner_of(member.account),
    }


def admit_questions(facts: Input) -> list[Question]:
    """Return one question to ``sluice.admit`` for each member of the chain.

    ``facts`` may be those of a whole decision: what is not known at admission is left out.
    """
    request, pipeline = _object(facts["request"]), _object(facts["pipeline"])
    for name in ("tasks", "edges"):
        request.pop(name, None)
    pipeline.pop("code_digest", None)
    shared: Input = {**facts, "request": request, "pipeline": pipeline}
    return [Question("admit", {**shared, "principal": member}) for member in _chain(facts)]


def graph_questions(data: PolicyData, facts: Input, graph: TaskGraph) -> list[Question]:
    """Return, for each member of the chain, one question about every task and one about all."""
    used = {name for node in graph.nodes.values() for name in node.egress}
    joined = {name: destination_input(data, name) for name in used}
    tasks = tuple({"task": task_input(node, joined)} for node in graph.nodes.values())
    short: Json = [
        {
            "family": node.family,
            "kind": node.kind,
            "egress": list(node.egress),
            "carries": list(node.carries),
        }
        for node in graph.nodes.values()
    ]
    found = []
    for member in _chain(facts):
        shared: Input = {**facts, "principal": member}
        found.append(Question("task", shared, tasks))
        found.append(Question("launch", {**shared, "tasks": short}))
    return found


def task_input(node: TaskNode, destinations: Mapping[str, Json]) -> Input:
    """Return ``input.task``, with the record of each of its destinations joined in."""
    return {
        "key": node.key,
        "module": node.module,
        "family": node.family,
        "kind": node.kind,
        "parameters": dict(node.parameters),
        "egress": list(node.egress),
        "carries": list(node.carries),
        "destinations": [destinations[name] for name in node.egress],
        "limit": node.limit,
        "resources": dict(node.resources),
    }


def destination_input(data: PolicyData, name: str) -> Json:
    """Return one of ``input.task.destinations``: a catalogue entry, or an unknown name."""
    entry = data.destinations.get(name)
    return entry.to_json() if entry else {"name": name, "known": False}


def _object(value: Json) -> Input:
    return dict(value) if isinstance(value, Mapping) else {}


def _chain(facts: Input) -> list[Json]:
    chain = facts["chain"]
    return list(chain) if isinstance(chain, list) else []
