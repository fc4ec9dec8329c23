"""Steps 7 and 8: bind the profiles, then let Luigi run what was decided, and nothing else.

A run starts from the log's word and never from a row: the decision's entry and every approval's
are read back, their MACs checked, and the graph's bytes compared with the digest in the entry. A
password to the database is not enough to run anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Warrant:
    """What the log proves about a launch: enough to run it, all from authentic entries."""

    launch_id: str
    principal: Principal
    plan: Mapping[str, Any]
    graph: TaskGraph
    receipt: Receipt


class Execution:
    """Runs launches that are queued, a bounded number at once, one at a time per kept workspace."""

    def __init__(self, parts: Parts, supervisor: RunSupervisor) -> None:
        """``supervisor`` drives Luigi; this class decides when it may."""
        self._parts = parts
        self._supervisor = supervisor
        self._slots = asyncio.Semaphore(parts.settings.runs.parallel_runs)
        self._workspaces: dict[Path, asyncio.Lock] = {}
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
            async with self._place(record):
                record = await self._record(launch_id)
                if record.state is LaunchState.CANCELLING:
                    await self._abandon(launch_id, "cancelled before it ran")
                elif not record.state.final:
                    await self._bind_and_run(record)
        except GatewayError as error:
            log.warning("run_stopped", code=error.code, step=error.step, detail=str(error))
            await self._abandon(launch_id, f"{error.step or 'run'}: {error.public_message}")
        except Exception:
            log.exception("run_broken")
            await self._abandon(launch_id, "run: an internal error stopped it; see the log")

    async def _bind_and_run(self, record: LaunchRecord) -> None:
        parts = self._parts
        warrant = await self.warrant(record)
        async with parts.policy.lease() as policy:
            pipeline = policy.snapshot.data.pipelines.get(record.pipeline)
            if pipeline is None:
                raise IntegrityViolation("pipeline_gone", "the pipeline left the catalogue")
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
            shed = declassified(pipeline, warrant.graph.code_digest)
        keep = pipeline.workspace.keep
        workspace = parts.workspace(record.pipeline, record.id, keep=keep)
        if record.state is LaunchState.QUEUED:
            body = {"profiles": names, "workspace": "kept" if keep else "private"}
            await self._move(
                record.id, LaunchState.BINDING, "launch.binding", body, workspace=str(workspace)
            )
        binding = await parts.binder.bind(names, warrant.receipt)  # step 7
        rows = await parts.database.read(partial(launches.tasks, launch_id=record.id))
        code = parts.settings.code_dir / warrant.graph.code_digest
        order = RunOrder(
            launch_id=record.id,
            graph=warrant.graph,
            code_path=code,
            code_digest=warrant.graph.code_digest,
            module=pipeline.module,
            workspace=workspace,
            scratch=parts.scratch(record.id),
            receipt=warrant.receipt,
            done=frozenset(key for key, row in rows.items() if row.state == "done"),
            declassifying=frozenset(
                key for key, node in warrant.graph.nodes.items() if node.family in shed
            ),
            attempts={key: row.attempt for key, row in rows.items()},
        )
        _log.info("run_bound", launch_id=record.id, profiles=binding.profiles)
        await self._supervisor.start(order)  # step 8
        await self._supervisor.wait(record.id)

    async def warrant(self, record: LaunchRecord) -> Warrant:
        """Read back what allows this launch to run. Raises ``IntegrityViolation``."""
        parts = self._parts
        if record.decision_seq is None:
            raise _forged("the launch has no decision")
        receipt = await parts.log.receipt(record.decision_seq)
        entry = await parts.log.authentic(receipt)
        if entry.value["launch_id"] != record.id:
            raise _forged("the decision is about another launch")
        for prefix in ENDS:
            if await parts.log.entries(receipt.seq, 1, launch_id=record.id, event_prefix=prefix):
                raise _forged(f"the log says that the launch has ended: {prefix}")
        plan, graph = entry.value["body"]["plan"], entry.value["body"]["graph"]
        result = entry.value["body"]["result"]
        if result["verdict"] == "needs_approval":
            await self._check_approvals(record, plan["plan_digest"], result["needs"])
        elif result["verdict"] != "allow":
            raise _forged("the decision does not allow the launch")
        stored = await parts.database.read(partial(launches.get_graph, ref=graph["ref"]))
        if graph_digest(stored.nodes) != plan["graph_digest"]:
            raise _forged("the graph is not the one that was decided")
        data = await parts.database.read(partial(launches.get_sealed, launch_id=record.id))
        sealed: Any = parts.keys.unseal(data, record.id) if data else {}
        return Warrant(
            launch_id=record.id,
            principal=principal_from_json(entry.value["requested_by"]),
            plan=plan,
            graph=TaskGraph(
                root=stored.root,
                nodes=stored.nodes,
                code_digest=plan["code_digest"],
                digest=stored.digest,
                sealed=sealed,
            ),
            receipt=receipt,
        )

    async def _check_approvals(
        self, record: LaunchRecord, plan_digest: str, needs: list[Mapping[str, Any]]
    ) -> None:
        covered: set[str] = set()
        for seq in record.approval_seqs:
            entry = await self._parts.log.authentic(await self._parts.log.receipt(seq))
            if _is_approval(entry, record.id, plan_digest):
                covered.update(entry.value["body"]["rules"])
        if missing := {need["rule"] for need in needs} - covered:
            raise _forged(f"the log holds no approval for {', '.join(sorted(missing))}")

    async def _decide_again(self, policy: Any, record: LaunchRecord, warrant: Warrant) -> None:  # noqa: ANN401 -- LoadedPolicy
        """Ask the newer policy: it may only narrow. Raises when it no longer agrees."""
        request = LaunchRequest(
            record.pipeline, warrant.plan["parameters"], record.reason, record.surface
        )
        judged = await judge_launch(
            self._parts, policy, record.id, warrant.principal, request, warrant.graph,
            expires_at=warrant.plan["expires_at"],
        )  # fmt: skip
        if judged.decision.verdict == "deny" or (
            judged.decision.verdict == "needs_approval" and not record.approval_seqs
        ):
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

    @asynccontextmanager
    async def _place(self, record: LaunchRecord) -> AsyncIterator[None]:
        """Wait for a slot, and for the workspace when it outlives the launch."""
        async with self._parts.policy.lease() as policy:
            pipeline = policy.snapshot.data.pipelines.get(record.pipeline)
        keep = bool(pipeline and pipeline.workspace.keep)
        path = self._parts.workspace(record.pipeline, record.id, keep=keep)
        async with self._workspaces.setdefault(path, asyncio.Lock()), self._slots:
            yield


def _is_approval(entry: LogEntry, launch_id: str, plan_digest: str) -> bool:
    return bool(
        entry.value["event"] == "approval.granted"
        and entry.value["launch_id"] == launch_id
        and entry.value["body"]["plan_digest"] == plan_digest
    )


def _forged(message: str) -> IntegrityViolation:
    return IntegrityViolation("warrant_invalid", message, step="run")
