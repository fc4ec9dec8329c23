"""Steps 4 and 5: what policy says about a plan, and the entry that makes it durable.

``judge`` is asked three times in a launch's life: when it is decided, when an approval is used,
and when it starts under a newer policy. It reads history, asks, and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from sqlite3 import Connection

from gateway.approvals import desk
from gateway.canonical import Json, encode, sha256
from gateway.clock import new_id, rfc3339
from gateway.decisionlog.log import Entry
from gateway.errors import GatewayError, Rejected
from gateway.graph.classes import propagate
from gateway.lifecycle.parts import Parts
from gateway.lifecycle.podplan import planned_pod
from gateway.lifecycle.reach import Reach, reach_of
from gateway.model import Decision, LaunchRequest, Plan, Principal, Receipt, TaskGraph, Violation
from gateway.network.binder import NetworkBinder
from gateway.policy.data import Pipeline
from gateway.policy.decide import LoadedPolicy
from gateway.policy.inputs import policy_input
from gateway.settings import ClusterSettings
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.launches import LaunchRecord

_NEXT = {
    "allow": LaunchState.QUEUED,
    "deny": LaunchState.DENIED,
    "needs_approval": LaunchState.AWAITING_APPROVAL,
}


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision, the plan it speaks of, and the facts that policy saw beside the graph."""

    decision: Decision
    plan: Plan
    graph: TaskGraph  # with the classes that today's destinations give it
    facts: Mapping[str, Json]


async def read_history(
    parts: Parts, principal: Principal, pipeline: str, besides: str = ""
) -> dict[str, Json]:
    """Return ``input.history``: exact counts from the store, and approvals that the log confirms.

    A row that says "approved" counts for nothing unless an authentic entry says it too.
    """
    moment = parts.clock()
    counts, seqs = await parts.database.read(
        partial(
            launches.history,
            subject=principal.subject.account,
            pipeline=pipeline,
            hour_ago=rfc3339(moment - timedelta(hours=1)),
            day_ago=rfc3339(moment - timedelta(days=1)),
            besides=besides,
        )
    )
    approvals = [(await parts.log.entry(seq)).value for seq in seqs]
    granted = [
        value["body"]
        for value in approvals
        if value["event"] == "approval.granted" and value["body"]["pipeline"] == pipeline
    ]
    return {
        **counts,
        "approved_code_digests": sorted({body["code_digest"] for body in granted}),
        "last_approved_content_digest": granted[0]["content_digest"] if granted else None,
    }


async def judge_launch(
    parts: Parts,
    policy: LoadedPolicy,
    launch_id: str,
    principal: Principal,
    request: LaunchRequest,
    graph: TaskGraph,
    *,
    expires_at: str | None = None,
) -> Judged:
    """Judge one graph with this moment's history.

    ``expires_at`` is given when a plan is judged again, so that the same plan has the same digest.
    """
    moment = parts.clock()
    lifetime = timedelta(minutes=parts.settings.approvals.expire_minutes)
    return await judge(
        policy,
        launch_id,
        principal,
        request,
        graph,
        history=await read_history(parts, principal, request.pipeline, launch_id),
        now=rfc3339(moment),
        binder=parts.binder,
        cluster=parts.settings.cluster,
        expires_at=expires_at or rfc3339(moment + lifetime),
    )


async def judge(
    policy: LoadedPolicy,
    launch_id: str,
    principal: Principal,
    request: LaunchRequest,
    graph: TaskGraph,
    *,
    history: Mapping[str, Json],
    now: str,
    binder: NetworkBinder,
    cluster: ClusterSettings,
    expires_at: str,
) -> Judged:
    """Ask policy about one graph. ``request.parameters`` are masked here.

    Raises ``Retryable`` when policy or the cluster cannot answer, ``Unprocessable`` for a Service
    that cannot be reached as it is; then nothing is allowed.
    """
    data, enforcement = policy.snapshot.data, binder.enforcement
    pipeline = data.pipelines[request.pipeline]
    nodes = await asyncio.to_thread(
        propagate,
        graph.nodes,
        emits={name: item.emits for name, item in data.destinations.items()},
        base=pipeline.base_classes,
        declassified=declassified(pipeline, graph.code_digest),
    )
    graph = replace(graph, nodes=nodes)
    decision = await policy.decide(
        principal,
        request,
        graph,
        parameters=request.parameters,
        history=history,
        now=now,
        enforcement=enforcement,
    )
    known = all(name in data.destinations for n in graph.nodes.values() for name in n.egress)
    reach = await reach_of(binder, policy, graph) if known else Reach()
    pod = planned_pod(pipeline, cluster)
    plan = Plan(
        launch_id=launch_id,
        pipeline=request.pipeline,
        parameters=request.parameters,
        graph_digest=graph.digest,
        code_digest=graph.code_digest,
        profiles=tuple(reach.profiles),
        enforcement=enforcement,
        policy_revision=decision.policy.revision,
        expires_at=expires_at,
        images=(str(pod["image"]),) if pod else (),
        pod=pod,
        reach=reach.names,
        services=reach.services,
    )
    facts = policy_input(
        data,
        principal,
        request,
        parameters=request.parameters,
        history=history,
        now=now,
        enforcement=enforcement,
        graph=graph,
    )
    return Judged(decision, plan, graph, facts)


def declassified(pipeline: Pipeline, code_digest: str) -> dict[str, frozenset[str]]:
    """Return the classes that each family may shed, for exactly the code that security listed."""
    return {
        item.family: frozenset(item.classes)
        for item in pipeline.declassify
        if item.code_digest == code_digest
    }


def unresolved(policy: LoadedPolicy, error: GatewayError) -> Decision:
    """Return the denial of a launch that policy could not be asked about."""
    rule = "graph_unresolvable" if isinstance(error, Rejected) else error.code
    hint = "try again" if error.retryable else "correct the pipeline or the parameters"
    hint = f"{hint}; nothing has run"
    return _refusal(policy, rule, error.public_message, hint, retryable=error.retryable)


def broken(policy: LoadedPolicy) -> Decision:
    """Return the denial that follows a fault of the gateway itself: fail closed."""
    message = "the gateway failed while it decided; the operator's log has the details"
    hint = "try again, or tell the operator"
    return _refusal(policy, "gateway_fault", message, hint, retryable=True)


def _refusal(
    policy: LoadedPolicy, rule: str, message: str, remediation: str, *, retryable: bool
) -> Decision:
    return Decision(
        id=new_id(),
        verdict="deny",
        policy=policy.snapshot.version,
        violations=(
            Violation(
                rule=rule,
                message=message,
                remediation=remediation,
                values={"retryable": True} if retryable else {},
            ),
        ),
    )


async def record_decision(
    parts: Parts, record: LaunchRecord, judged: Judged, metrics: Mapping[str, Json]
) -> Receipt:
    """Step 5: the decision, the graph, the new state and what waits for people, in one commit."""
    decision, plan, graph = judged.decision, judged.plan, judged.graph
    data = await asyncio.to_thread(lambda: encode(graph.to_json()))
    seal = parts.keys.seal({key: dict(values) for key, values in graph.sealed.items()}, record.id)
    now = rfc3339(parts.clock())
    entry = decision_entry(
        decision,
        record,
        facts=judged.facts,
        plan=plan,
        graph={
            "digest": graph.digest,
            "ref": sha256(data),
            "tasks": len(graph.nodes),
            "edges": graph.edges,
        },
        metrics=metrics,
    )

    def change(connection: Connection, seq: int) -> None:
        launches.transition(
            connection,
            record.id,
            _NEXT[decision.verdict],
            now,
            decision=decision_json(decision),
            plan=plan.to_json(),
            graph_ref=sha256(data),
            decision_seq=seq,
            classes=tuple(sorted({c for node in graph.nodes.values() for c in node.carries})),
        )
        if decision.verdict == "deny":
            return
        launches.put_graph(connection, record.id, data, seal)
        if decision.verdict == "needs_approval":
            needs = [need.to_json() for need in decision.needs]
            desk.open_request(connection, record.id, plan.plan_digest, needs, plan.expires_at)

    return await parts.log.append(entry, change=change)


async def record_refusal(parts: Parts, record: LaunchRecord, decision: Decision) -> Receipt:
    """Step 5 for a launch that has no graph: the denial and its reason, durable."""
    now = rfc3339(parts.clock())

    def change(connection: Connection, seq: int) -> None:
        launches.transition(
            connection,
            record.id,
            LaunchState.DENIED,
            now,
            decision=decision_json(decision),
            decision_seq=seq,
        )

    return await parts.log.append(decision_entry(decision, record, facts={}), change=change)


def decision_json(decision: Decision) -> dict[str, Json]:
    """Return a decision as the API, the store and the log show it."""
    return {
        "id": decision.id,
        "verdict": decision.verdict,
        "policy": decision.policy.to_json(),
        "violations": [item.to_json() for item in decision.violations],
        "needs": [item.to_json() for item in decision.needs],
    }


def decision_entry(
    decision: Decision,
    record: LaunchRecord,
    *,
    facts: Mapping[str, Json],
    plan: Plan | None = None,
    graph: Mapping[str, Json] | None = None,
    metrics: Mapping[str, Json] | None = None,
) -> Entry:
    """Return the log entry of a decision: a superset of OPA's decision event.

    ``facts`` are the input that policy saw, without the tasks: those come by the graph's digest.
    """
    return Entry(
        event=f"decision.{decision.verdict}",
        launch_id=record.id,
        decision_id=decision.id,
        requested_by=record.principal.to_json(),
        body={
            "bundles": {"sluice": decision.policy.to_json()},
            "path": "sluice/launch" if graph else "sluice/admit",
            "input": dict(facts),
            "result": {
                "verdict": decision.verdict,
                "violations": [item.to_json() for item in decision.violations],
                "needs": [item.to_json() for item in decision.needs],
            },
            "plan": plan.to_json() if plan else None,
            "graph": dict(graph) if graph else None,
            "metrics": dict(metrics or {}),
        },
    )
