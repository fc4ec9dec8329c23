"""One launch, nine steps. A reader of this file knows the system.

1. **Authenticate**: a credential becomes a principal.
2. **Admit**: size, rate, idempotency, and the policy's first word. Nothing has been executed yet.
3. **Resolve**: pipeline and parameters become a task graph, by asking Luigi in a sandbox.
4. **Decide**: graph, principal, history and policy become a decision.
5. **Record**: the decision is durable before anybody hears of it.
6. **Approve**, where the decision says so: other people agree to this exact plan digest.
7. **Bind**: what each task may reach is in force before the task exists.
8. **Run**: Luigi's own scheduler and worker run it, in the shape that was approved.
9. **Observe**: outcomes go to the log and back to whoever asked.

Failure anywhere means deny, with an error that names the step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import structlog

from gateway.canonical import Json
from gateway.errors import GatewayError, OutcomeUnknown, Rejected
from gateway.graph.resolver import Resolution
from gateway.lifecycle.admission import Admission
from gateway.lifecycle.approval import Answer, Approval
from gateway.lifecycle.cancellation import Cancellation
from gateway.lifecycle.cutting import CutReport, CutTarget, Cutting
from gateway.lifecycle.decision import (
    Judged,
    broken,
    decision_entry,
    judge_launch,
    record_decision,
    record_refusal,
    unresolved,
)
from gateway.lifecycle.execution import Execution
from gateway.lifecycle.parts import Parts
from gateway.lifecycle.resolving import resolve
from gateway.model import Decision, LaunchRequest, Plan, Principal, TaskGraph
from gateway.policy.decide import LoadedPolicy
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.launches import LaunchRecord

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DryRun:
    """The answer to ``POST /v1/plans``: plan and graph only where the pipeline resolved."""

    decision: Decision
    plan: Plan | None
    graph: TaskGraph | None


class LaunchService:
    """Takes launch requests through the nine steps; surfaces call nothing else to change things."""

    def __init__(
        self, parts: Parts, execution: Execution, approval: Approval, cutting: Cutting
    ) -> None:
        """The stages come built: see ``app.py``."""
        self._parts = parts
        self._execution = execution
        self._approval = approval
        self._cutting = cutting
        self._admission = Admission(parts)
        self._cancellation = Cancellation(parts, execution)
        self._deciding: dict[str, asyncio.Task[None]] = {}

    async def authenticate(self, token: str) -> Principal:
        """Step 1. Raises ``Unauthenticated``; an error never yields a principal."""
        return await self._parts.verifier.verify(token)

    async def launch(
        self, principal: Principal, request: LaunchRequest, idempotency_key: str | None = None
    ) -> LaunchRecord:
        """Steps 2 to 9 for one request of an authenticated principal.

        Returns when the launch is decided, or after ``http.decide_within_seconds`` in state
        ``received``; what follows goes on without the caller.
        """
        record = await self._admission.known(principal, request, idempotency_key)
        if record is None:
            self._admission.count(principal)
            async with self._parts.policy.lease() as policy:
                record = await self._admission.admit(policy, principal, request, idempotency_key)
        if record.state is LaunchState.RECEIVED and record.id not in self._deciding:
            task = asyncio.create_task(self._proceed(record, request), name=f"decide {record.id}")
            self._deciding[record.id] = task
            task.add_done_callback(partial(self._decided, record.id))
        if deciding := self._deciding.get(record.id):
            await asyncio.wait({deciding}, timeout=self._parts.settings.http.decide_within_seconds)
            if deciding.done() and (error := deciding.exception()):
                raise error
        return await self._parts.database.read(partial(launches.get, launch_id=record.id))

    async def _proceed(self, record: LaunchRecord, request: LaunchRequest) -> None:
        """Steps 3 to 5, and on to 7 when policy allows the launch outright."""
        log = _log.bind(launch_id=record.id, pipeline=record.pipeline)
        async with self._parts.policy.lease() as policy:
            try:
                resolution = await resolve(self._parts, policy, record.id, request)  # 3
                judged = await self._judge(policy, record, resolution)  # 4
                metrics = {"resolve_ms": round(resolution.seconds * 1000)}
                await record_decision(self._parts, record, judged, metrics)  # 5
            except OutcomeUnknown:
                raise  # it may still commit: nothing acts on it until recovery has looked
            except GatewayError as error:
                log.info("launch_denied", code=error.code, step=error.step, detail=str(error))
                await record_refusal(self._parts, record, unresolved(policy, error))  # 5
            except Exception:
                log.exception("launch_broken")
                await record_refusal(self._parts, record, broken(policy))  # 5
            else:
                verdict = judged.decision.verdict
                log.info("launch_decided", decision_id=judged.decision.id, verdict=verdict)
                if verdict == "allow":
                    self._execution.start(record.id)  # 7, 8, 9; after step 6 `answer` starts it
        self._parts.hub.wake(record.id)

    async def plan(self, principal: Principal, request: LaunchRequest) -> DryRun:
        """Steps 2 to 5 of a dry run: the same answer, an entry in the log, and nothing runs."""
        self._admission.count(principal)
        async with self._parts.policy.lease() as policy:
            record = self._admission.draft(policy, principal, request)
            decision, first = await self._admission.first_word(policy, principal, request)  # 2
            facts: Mapping[str, Json] = first
            judged: Judged | None = None
            if decision.verdict != "deny":
                try:
                    resolution = await resolve(self._parts, policy, record.id, request)  # 3
                except Rejected as error:
                    decision = unresolved(policy, error)
                else:
                    judged = await self._judge(policy, record, resolution)  # 4
                    decision, facts = judged.decision, judged.facts
            plan = judged.plan if judged else None
            entry = decision_entry(decision, record, facts=facts, plan=plan)
            await self._parts.log.append(replace(entry, event="plan.decided", launch_id=None))  # 5
        return DryRun(decision, plan, judged.graph if judged else None)

    async def answer(
        self, approver: Principal, launch_id: str, answer: Answer, plan_digest: str, comment: str
    ) -> LaunchRecord:
        """Step 6: one person's answer to what waits for people."""
        self._admission.count(approver)
        return await self._approval.answer(approver, launch_id, answer, plan_digest, comment)

    async def cancel(self, principal: Principal, launch_id: str) -> LaunchRecord:
        """Stop a launch that waits or runs; one that has ended is left as it is."""
        return await self._cancellation.cancel(principal, launch_id)

    async def cut(self, principal: Principal, target: CutTarget, reason: str) -> CutReport:
        """Take the network from what runs of some launches, then stop them; needs no store."""
        return await self._cutting.cut(principal, target, reason)

    async def known(self, launch_id: str) -> LaunchRecord:
        """Return a launch, one that runs without asking the store. Raises ``NotFound``."""
        return await self._cutting.known(launch_id)

    def deciding(self, launch_id: str) -> bool:
        """Whether this process decides the launch now."""
        return launch_id in self._deciding

    async def close(self) -> None:
        """Wait for decisions under way, a bounded time; then let go."""
        if self._deciding:
            await asyncio.wait(
                self._deciding.values(), timeout=self._parts.settings.http.stop_within_seconds
            )

    # --- step 4 -------------------------------------------------------------------------------

    async def _judge(
        self, policy: LoadedPolicy, record: LaunchRecord, resolution: Resolution
    ) -> Judged:
        """Step 4, over masked parameters."""
        request = LaunchRequest(record.pipeline, record.parameters, record.reason, record.surface)
        return await judge_launch(
            self._parts, policy, record.id, record.principal, request, resolution.graph
        )

    def _decided(self, launch_id: str, task: asyncio.Task[None]) -> None:
        self._deciding.pop(launch_id, None)
        if not task.cancelled() and (error := task.exception()):
            _log.error("decision_not_recorded", launch_id=launch_id, detail=str(error))
