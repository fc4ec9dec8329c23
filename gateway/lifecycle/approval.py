"""Step 6: other people agree to one plan digest, once, before it expires.

An approval is used in the same transaction that queues the launch, after policy was asked again
about the same graph: a permission that went away meanwhile takes the approval with it. A refused
attempt is an entry too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from sqlite3 import Connection
from typing import Literal

from gateway.approvals import desk
from gateway.approvals.desk import ApprovalRequest
from gateway.approvals.independence import approving_person, interested
from gateway.canonical import Json
from gateway.clock import rfc3339
from gateway.decisionlog.log import Entry
from gateway.errors import Conflict, Forbidden, IntegrityViolation
from gateway.lifecycle.decision import Judged, judge_launch
from gateway.lifecycle.execution import Execution
from gateway.lifecycle.parts import Parts
from gateway.lifecycle.warrant import Warrant, Warrants
from gateway.model import LaunchRequest, Principal
from gateway.policy.decide import LoadedPolicy
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.launches import LaunchRecord

Answer = Literal["approve", "reject"]


class Approval:
    """Takes people's answers, and lets requests expire."""

    def __init__(self, parts: Parts, execution: Execution) -> None:
        """``execution`` starts what the last missing approval sets free."""
        self._parts = parts
        self._execution = execution
        self._warrants = Warrants(parts)

    async def answer(
        self, approver: Principal, launch_id: str, answer: Answer, plan_digest: str, comment: str
    ) -> LaunchRecord:
        """Record one person's answer.

        Raises ``Forbidden`` when this person may not answer (and logs the attempt), ``Conflict``
        when the request is finished, expired, or about another plan.
        """
        parts = self._parts
        request = await parts.database.read(partial(desk.get, launch_id=launch_id))
        record = await parts.database.read(partial(launches.get, launch_id=launch_id))
        desk.check_usable(request, plan_digest, rfc3339(parts.clock()))
        warrant = await self._warrants.asked(record)  # whom and what the log says, not the row
        if warrant.plan["plan_digest"] != plan_digest:
            raise IntegrityViolation("approval_forged", "the row is about another plan")
        async with parts.policy.lease() as policy:
            judged = await self._judge_again(policy, record, warrant)
            try:
                person, rules = self._right(policy, approver, warrant, judged, answer)
            except Forbidden as refused:
                await self._append_refused(approver, record, request, refused)
                raise
            if answer == "reject":
                await self._reject(approver, record, person, plan_digest, comment)
            else:
                await self._approve(judged, approver, record, warrant, person, rules, comment)
        parts.hub.wake(launch_id)
        return await parts.database.read(partial(launches.get, launch_id=launch_id))

    async def waiting(self, principal: Principal) -> list[ApprovalRequest]:
        """Return what waits for this principal, one that could be answered first."""
        parts = self._parts
        requests = await parts.database.read(desk.waiting)
        async with parts.policy.lease() as policy:
            mine = groups(policy, principal)
            person = policy.snapshot.data.person_of(principal.subject.account)
            found = []
            for request in requests:
                record = await parts.database.read(
                    partial(launches.get, launch_id=request.launch_id)
                )
                stake = interested(record.principal, policy.snapshot.data)
                if request.covered_by(mine) and person not in stake and principal.kind == "human":
                    found.append(request)
        return found

    async def expire(self) -> None:
        """End every request whose time has come."""
        now = rfc3339(self._parts.clock())
        for request in await self._parts.database.read(desk.waiting):
            if now < request.expires_at:
                break
            await self._end(
                request.launch_id, LaunchState.EXPIRED, "expired", "approval.expired",
                {"plan_digest": request.plan_digest}, "nobody agreed in time",
            )  # fmt: skip

    # --- the two answers ------------------------------------------------------------------------

    def _right(
        self,
        policy: LoadedPolicy,
        approver: Principal,
        warrant: Warrant,
        judged: Judged,
        answer: Answer,
    ) -> tuple[str, Sequence[str]]:
        """Return the person and the rules they may agree to, by today's policy."""
        settings = self._parts.settings.approvals
        person = approving_person(
            approver,
            warrant.principal,
            policy.snapshot.data,
            now=int(self._parts.clock().timestamp()),
            recent_login=settings.recent_login_minutes * 60,
        )
        # What was asked stays asked; whom policy would ask today is who may answer. A need that has
        # gone away meanwhile (other people approved this code) is answered by whom it named.
        asked = {need["rule"]: set(need["groups"]) for need in warrant.needs}
        asked |= {need.rule: set(need.groups) for need in judged.decision.needs}
        mine = groups(policy, approver)
        rules = [rule for rule, named in asked.items() if mine & named]
        if not rules:
            wanted = sorted(set().union(*asked.values()))
            raise Forbidden(
                "approver_not_in_group",
                f"to {answer} this launch you must be a member of {' or '.join(wanted)}",
                step="approve",
            )
        return person, rules

    async def _approve(
        self,
        judged: Judged,
        approver: Principal,
        record: LaunchRecord,
        warrant: Warrant,
        person: str,
        rules: Sequence[str],
        comment: str,
    ) -> None:
        plan = warrant.plan
        if reason := _void(judged, warrant):
            body: dict[str, Json] = {"plan_digest": plan["plan_digest"], "reason": reason}
            await self._end(record.id, LaunchState.REJECTED, "void", "approval.void", body, reason)
            raise Conflict("approval_void", f"{reason}; launch again", step="approve")
        now = rfc3339(self._parts.clock())

        def change(connection: Connection, seq: int) -> None:
            desk.check_usable(desk.get(connection, record.id), plan["plan_digest"], now)
            account = approver.subject.account
            voted = desk.vote(connection, record.id, person, account, rules, seq)
            seqs = (*launches.get(connection, record.id).approval_seqs, seq)
            if voted.missing:
                launches.amend(connection, record.id, now, approval_seqs=seqs)
                return
            desk.close(connection, record.id, "used")
            launches.put_approved(
                connection, plan["pipeline"], plan["code_digest"], plan["content_digest"], seq
            )
            launches.transition(connection, record.id, LaunchState.QUEUED, now, approval_seqs=seqs)

        await self._parts.log.append(
            Entry(
                event="approval.granted",
                launch_id=record.id,
                decision_id=(record.decision or {}).get("id"),
                requested_by=approver.to_json(),
                body={
                    "plan_digest": plan["plan_digest"],
                    "content_digest": judged.plan.content_digest,
                    "pipeline": plan["pipeline"],
                    "code_digest": plan["code_digest"],
                    "policy": judged.decision.policy.to_json(),
                    "person": person,
                    "rules": list(rules),
                    "comment": comment,
                },
            ),
            change=change,
        )
        after = await self._parts.database.read(partial(launches.get, launch_id=record.id))
        if after.state is LaunchState.QUEUED:
            self._execution.start(record.id)

    async def _judge_again(
        self, policy: LoadedPolicy, record: LaunchRecord, warrant: Warrant
    ) -> Judged:
        plan = warrant.plan
        request = LaunchRequest(plan["pipeline"], plan["parameters"], record.reason, record.surface)
        return await judge_launch(
            self._parts,
            policy,
            record.id,
            warrant.principal,
            request,
            warrant.graph,
            expires_at=plan["expires_at"],
        )

    async def _reject(
        self,
        approver: Principal,
        record: LaunchRecord,
        person: str,
        plan_digest: str,
        comment: str,
    ) -> None:
        body: dict[str, Json] = {
            "plan_digest": plan_digest,
            "person": person,
            "comment": comment,
        }
        outcome = f"rejected by {person}" + (f": {comment}" if comment else "")
        await self._end(
            record.id, LaunchState.REJECTED, "rejected", "approval.rejected", body, outcome,
            by=approver,
        )  # fmt: skip

    # --- shared ---------------------------------------------------------------------------------

    async def _end(
        self,
        launch_id: str,
        target: LaunchState,
        state: desk.State,
        event: str,
        body: dict[str, Json],
        outcome: str,
        by: Principal | None = None,
    ) -> None:
        now = rfc3339(self._parts.clock())

        def change(connection: Connection, _: int) -> None:
            desk.close(connection, launch_id, state)
            launches.transition(connection, launch_id, target, now, outcome=outcome)
            launches.forget_sealed(connection, launch_id)

        entry = Entry(
            event=event,
            launch_id=launch_id,
            requested_by=by.to_json() if by else None,
            body=body,
        )
        await self._parts.log.append(entry, change=change)
        self._parts.hub.wake(launch_id)

    async def _append_refused(
        self,
        approver: Principal,
        record: LaunchRecord,
        request: ApprovalRequest,
        refused: Forbidden,
    ) -> None:
        await self._parts.log.append(
            Entry(
                event="approval.refused",
                launch_id=record.id,
                requested_by=approver.to_json(),
                body={"plan_digest": request.plan_digest, "code": refused.code},
            )
        )


def _void(judged: Judged, warrant: Warrant) -> str | None:
    """Say why an approval cannot stand: another decision, or other content."""
    if judged.decision.verdict == "deny":
        rules = ", ".join(item.rule for item in judged.decision.violations)
        return f"policy changed and now denies this launch ({rules})"
    if judged.plan.content_digest != warrant.plan["content_digest"]:
        return "what would run or be reached changed since the decision"
    asked = {need["rule"] for need in warrant.needs}
    if more := {need.rule for need in judged.decision.needs} - asked:
        return f"policy changed and now asks for more ({', '.join(sorted(more))})"
    return None


def groups(policy: LoadedPolicy, principal: Principal) -> frozenset[str]:
    """Return the groups of a principal's subject: from the token and from the data."""
    data = policy.snapshot.data
    return frozenset(principal.subject.groups) | frozenset(
        data.groups_of(principal.subject.account)
    )
