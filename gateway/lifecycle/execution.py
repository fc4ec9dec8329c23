"""Steps 7 and 8: bind the profiles, then let Luigi run what was decided, and nothing else.

A run starts from the log's word and never from a row: the decision's entry and every approval's
are read back, their MACs checked, and the graph's bytes compared with the digest in the entry. A
password to the database is not enough to run anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import structlog

from gateway.clock import rfc3339
from gateway.decisionlog.log import Entry, LogEntry
from gateway.errors import GatewayError, IntegrityViolation
from gateway.lifecycle.decision import declassified, destination_catalogue, judge_launch
from gateway.lifecycle.parts import Parts
from gateway.model import LaunchRequest, Principal, Receipt, TaskGraph, graph_digest
from gateway.network.profiles import profiles
from gateway.policy.data import Pipeline
from gateway.policy.decide import LoadedPolicy
from gateway.runs.executor import RunOrder
from gateway.runs.supervisor import RunSupervisor
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.launches import LaunchRecord, principal_from_json

_log = structlog.get_logger()
ENDS = (
    "run.finished",
    "launch.cancelled",
    "approval.rejected",
    "approval.expired",
    "approval.void",
)
"""After one of these a launch never runs (again), whatever its row says."""
MOST_RECOVERIES = 10


@dataclass(frozen=True, slots=True)
class Warrant:
    """What the log proves about a launch: enough to run it, all from authentic entries."""

    launch_id: str
    principal: Principal
    plan: Mapping[str, Any]
    graph: TaskGraph
    receipt: Receipt
    needs: tuple[Mapping[str, Any], ...] = ()  # that people had to agree to
    approvals: tuple[Mapping[str, Any], ...] = ()  # bodies of the entries by which they did


class Execution:
    """Gives each queued launch to the supervisor, which runs a bounded number at once."""

    def __init__(self, parts: Parts, supervisor: RunSupervisor) -> None:
        """``supervisor`` drives Luigi; this class says what, and on whose word."""
        self._parts = parts
        self._supervisor = supervisor
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, launch_id: str) -> None:
        """Begin to run a queued launch; returns at once. A launch under way is left alone."""
        if launch_id not in self._running:
            task = asyncio.create_task(self._run(launch_id), name=f"run {launch_id}")
            self._running[launch_id] = task
            task.add_done_callback(lambda _: self._running.pop(launch_id, None))

    def under_way(self, launch_id: str) -> bool:
        """Whether this process runs the launch now."""
        return launch_id in self._running

    async def stop(self, launch_id: str) -> None:
        """Stop a launch whose ``cancelling`` is in the log already."""
        await self._supervisor.cancel(launch_id)
        self.start(launch_id)  # where nobody owned it: to give it its end

    async def close(self) -> None:
        """Stop driving; what was running is recovered at the next start."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    # --- the life of one run --------------------------------------------------------------------

    async def _run(self, launch_id: str) -> None:
        log = _log.bind(launch_id=launch_id)
        try:
            record = await self._record(launch_id)
            if record.state is LaunchState.CANCELLING:
                await self._abandon(launch_id, "cancelled before it ran")
            elif not record.state.final:
                await self._refuse_endless(record)
                order = await self._order(record, await self.warrant(record))
                await self._supervisor.start(order)  # step 8; it awaits `bind`, step 7, first
                await self._supervisor.wait(launch_id)
        except GatewayError as error:
            log.warning("run_stopped", code=error.code, step=error.step, detail=str(error))
            await self._abandon(launch_id, f"{error.step or 'run'}: {error.public_message}")
        except Exception:
            log.exception("run_broken")
            await self._abandon(launch_id, "run: an internal error stopped it; see the log")

    async def _refuse_endless(self, record: LaunchRecord) -> None:
        """Raise when a launch was taken up again so often that it will not end by itself."""
        again = await self._parts.log.entries(
            record.decision_seq or 0, MOST_RECOVERIES, launch_id=record.id,
            event_prefix="run.recovered",
        )  # fmt: skip
        if len(again) == MOST_RECOVERIES:
            raise IntegrityViolation(
                "recovered_too_often", f"it was taken up again {len(again)} times without an end",
                step="run",
            )  # fmt: skip

    async def _order(self, record: LaunchRecord, warrant: Warrant) -> RunOrder:
        """Return what the supervisor needs to know, from the warrant and the catalogue."""
        parts = self._parts
        async with parts.policy.lease() as policy:
            pipeline = _catalogued(policy, warrant.plan["pipeline"])
            shed = declassified(pipeline, warrant.graph.code_digest)
        rows = await parts.database.read(partial(launches.tasks, launch_id=record.id))
        keep = pipeline.workspace.keep
        workspace = parts.workspace(warrant.plan["pipeline"], record.id, keep=keep)
        return RunOrder(
            launch_id=record.id,
            graph=warrant.graph,
            code_path=parts.settings.code_dir / warrant.graph.code_digest,
            code_digest=warrant.graph.code_digest,
            module=pipeline.module,
            workspace=workspace,
            scratch=parts.scratch(record.id),
            receipt=warrant.receipt,
            bind=partial(self._bind, record, warrant, workspace),
            done=frozenset(key for key, row in rows.items() if row.state == "done"),
            declassifying=frozenset(
                key for key, node in warrant.graph.nodes.items() if node.family in shed
            ),
            attempts={key: row.attempt for key, row in rows.items()},
        )

    async def _bind(self, record: LaunchRecord, warrant: Warrant, workspace: Path) -> None:
        """Step 7, when the run has its place: ask a newer policy, then put profiles in force."""
        parts = self._parts
        async with parts.policy.lease() as policy:
            _catalogued(policy, warrant.plan["pipeline"])
            if policy.snapshot.version.revision != warrant.plan["policy_revision"]:
                await self._decide_again(policy, record, warrant)
            catalogue = destination_catalogue(policy)
        names = sorted({p.name for p in profiles(warrant.graph, catalogue).values()})
        if names != warrant.plan["profiles"]:
            raise IntegrityViolation(
                "profiles_changed",
                "a destination's address changed after the decision; launch again",
                step="bind",
            )
        if record.state is LaunchState.QUEUED:
            await self._move(
                record.id,
                LaunchState.BINDING,
                "launch.binding",
                {"profiles": names},
                workspace=str(workspace),
            )
        await parts.binder.bind(names, warrant.receipt)

    async def warrant(self, record: LaunchRecord) -> Warrant:
        """Read back what allows this launch to run. Raises ``IntegrityViolation``."""
        warrant = await self.asked(record)
        for prefix in ENDS:
            if await self._parts.log.entries(
                warrant.receipt.seq, 1, launch_id=record.id, event_prefix=prefix
            ):
                raise _forged(f"the log says that the launch has ended: {prefix}")
        approvals = await self._approvals(record, warrant.plan["plan_digest"])
        covered = {rule for body in approvals for rule in body["rules"]}
        if missing := {need["rule"] for need in warrant.needs} - covered:
            raise _forged(f"the log holds no approval for {', '.join(sorted(missing))}")
        return replace(warrant, approvals=approvals)

    async def asked(self, record: LaunchRecord) -> Warrant:
        """Read back who asked for what, and what was decided, from the log and never from the row.

        Raises ``IntegrityViolation`` when the log holds no such decision, or a denial.
        """
        parts = self._parts
        if record.decision_seq is None:
            raise _forged("the launch has no decision")
        receipt = await parts.log.receipt(record.decision_seq)
        value = (await parts.log.authentic(receipt)).value
        if value["launch_id"] != record.id:
            raise _forged("the decision is about another launch")
        if value["event"] not in ("decision.allow", "decision.needs_approval"):
            raise _forged("the decision does not allow the launch")
        plan, graph = value["body"]["plan"], value["body"]["graph"]
        stored = await parts.database.read(partial(launches.get_graph, ref=graph["ref"]))
        if graph_digest(stored.nodes) != plan["graph_digest"]:
            raise _forged("the graph is not the one that was decided")
        data = await parts.database.read(partial(launches.get_sealed, launch_id=record.id))
        sealed: Any = parts.keys.unseal(data, record.id) if data else {}
        return Warrant(
            launch_id=record.id,
            principal=principal_from_json(value["requested_by"]),
            plan=plan,
            graph=replace(stored, code_digest=plan["code_digest"], sealed=sealed),
            receipt=receipt,
            needs=tuple(value["body"]["result"]["needs"]),
        )

    async def _approvals(
        self, record: LaunchRecord, plan_digest: str
    ) -> tuple[Mapping[str, Any], ...]:
        found = []
        for seq in record.approval_seqs:
            entry = await self._parts.log.authentic(await self._parts.log.receipt(seq))
            if _is_approval(entry, record.id, plan_digest):
                found.append(entry.value["body"])
        return tuple(found)

    async def _decide_again(
        self, policy: LoadedPolicy, record: LaunchRecord, warrant: Warrant
    ) -> None:
        """Ask the newer policy: it may only narrow. Raises when it no longer agrees."""
        request = LaunchRequest(
            warrant.plan["pipeline"], warrant.plan["parameters"], record.reason, record.surface
        )
        judged = await judge_launch(
            self._parts, policy, record.id, warrant.principal, request, warrant.graph,
            expires_at=warrant.plan["expires_at"],
        )  # fmt: skip
        covered = {rule for body in warrant.approvals for rule in body["rules"]}
        missing = {need.rule for need in judged.decision.needs} - covered
        if judged.decision.verdict == "deny" or missing:
            raise IntegrityViolation(
                "decision_void",
                "policy changed before the start and no longer allows this launch",
                step="decide",
            )

    # --- small moves ----------------------------------------------------------------------------

    async def _move(
        self,
        launch_id: str,
        target: LaunchState,
        event: str,
        body: Mapping[str, Any],
        **fields: Any,  # noqa: ANN401 -- of LaunchRecord
    ) -> None:
        now = rfc3339(self._parts.clock())

        def change(connection: Connection, _: int) -> None:
            launches.transition(connection, launch_id, target, now, **fields)

        await self._parts.log.append(
            Entry(event=event, launch_id=launch_id, body=dict(body)), change=change
        )
        self._parts.hub.wake(launch_id)

    async def _abandon(self, launch_id: str, reason: str) -> None:
        """End a launch that will not run (any more), through ``cancelling``."""
        record = await self._record(launch_id)
        if record.state.final:
            return
        if record.state is not LaunchState.CANCELLING:
            await self._move(
                launch_id, LaunchState.CANCELLING, "launch.cancelling", {"reason": reason}
            )
        now = rfc3339(self._parts.clock())

        def change(connection: Connection, _: int) -> None:
            launches.transition(connection, launch_id, LaunchState.CANCELLED, now, outcome=reason)
            launches.forget_sealed(connection, launch_id)

        await self._parts.log.append(
            Entry(event="launch.cancelled", launch_id=launch_id, body={"reason": reason}),
            change=change,
        )
        self._parts.hub.wake(launch_id)

    async def _record(self, launch_id: str) -> LaunchRecord:
        return await self._parts.database.read(partial(launches.get, launch_id=launch_id))


def _catalogued(policy: LoadedPolicy, name: str) -> Pipeline:
    """Return the catalogue's entry. Raises when security took the pipeline out meanwhile."""
    pipeline = policy.snapshot.data.pipelines.get(name)
    if pipeline is None:
        raise IntegrityViolation("pipeline_gone", f"{name} left the catalogue", step="decide")
    return pipeline


def _is_approval(entry: LogEntry, launch_id: str, plan_digest: str) -> bool:
    return bool(
        entry.value["event"] == "approval.granted"
        and entry.value["launch_id"] == launch_id
        and entry.value["body"]["plan_digest"] == plan_digest
    )


def _forged(message: str) -> IntegrityViolation:
    return IntegrityViolation("warrant_invalid", message, step="run")
