"""Step 8: let Luigi run what was decided, and nothing else, on the word of a warrant.

Step 7 is awaited in the run's place, before any of its code is loaded. Whatever ends a launch, it
has ended only when nothing of it lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import structlog

from gateway.decisionlog.log import Entry
from gateway.errors import Conflict, GatewayError, IntegrityViolation
from gateway.lifecycle.binding import ProfileBinding, catalogued
from gateway.lifecycle.decision import declassified
from gateway.lifecycle.moves import move
from gateway.lifecycle.parts import Parts
from gateway.lifecycle.podplan import pod_plan
from gateway.lifecycle.warrant import Warrant, Warrants
from gateway.runs.executor import Executors, RunOrder
from gateway.runs.supervisor import RunSupervisor
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.launches import LaunchRecord

_log = structlog.get_logger()
MOST_RECOVERIES = 10
_AGAIN_AFTER = 5.0  # seconds


class Execution:
    """Gives each queued launch to the supervisor, which runs a bounded number at once."""

    def __init__(self, parts: Parts, supervisor: RunSupervisor, executors: Executors) -> None:
        """``supervisor`` drives Luigi; this class says what, and on whose word."""
        self._parts = parts
        self._supervisor = supervisor
        self._executors = executors
        self._warrants = Warrants(parts)
        self._binding = ProfileBinding(parts)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._records: dict[str, LaunchRecord] = {}  # of those, as they stood when they began
        self._forbidden: dict[str, str] = {}  # and why

    def start(self, launch_id: str) -> None:
        """Begin to run a queued launch; returns at once. A launch under way is left alone."""
        if launch_id not in self._running:
            task = asyncio.create_task(self._run(launch_id), name=f"run {launch_id}")
            self._running[launch_id] = task
            task.add_done_callback(lambda _: self._forget(launch_id))

    def under_way(self, launch_id: str) -> bool:
        """Whether this process runs the launch now."""
        return launch_id in self._running

    @property
    def records(self) -> Mapping[str, LaunchRecord]:
        """The launches under way, as they stood when they began: known without the store."""
        return self._records

    def forbid(self, launch_id: str, reason: str) -> None:
        """Begin this launch never again: whoever takes it up ends it; what runs ends cancelled."""
        self._forbidden[launch_id] = reason
        self._supervisor.condemn(launch_id, reason)

    async def halt(self, launch_id: str, reason: str) -> None:
        """End what runs of a launch without a word in the log, which cannot be written now.

        It has no end yet, and gets one from whoever takes it up.
        """
        await self._supervisor.cancel(launch_id, reason)

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
        """Run a launch; where it cannot begin now, for the cluster's sake, again and again."""
        told = ""
        while why := await self._try(launch_id):
            if why != told:
                told = why
                _log.warning("launch_postponed", launch_id=launch_id, detail=why)
                with suppress(GatewayError):
                    entry = Entry("launch.postponed", {"reason": why}, launch_id=launch_id)
                    await self._parts.log.append(entry)
            await asyncio.sleep(_AGAIN_AFTER)
        await self._release(launch_id)

    async def _try(self, launch_id: str) -> str:
        """Take a launch to its end, or return why it has to wait."""
        log = _log.bind(launch_id=launch_id)
        try:
            record = self._records[launch_id] = await self._record(launch_id)
            if record.state is LaunchState.CANCELLING:
                await self._abandon(launch_id, record.outcome or "cancelled before it ran")
            elif not record.state.final:
                await self._refuse_endless(record)
                order = await self._order(record, await self._warrants.read(record))
                self._refuse_forbidden(launch_id)
                await self._supervisor.start(order)  # step 8; it awaits `bind`, step 7, first
                return await self._supervisor.wait(launch_id)
        except GatewayError as error:
            log.warning("run_stopped", code=error.code, step=error.step, detail=str(error))
            await self._abandon(launch_id, f"{error.step or 'run'}: {error.public_message}")
        except Exception:
            log.exception("run_broken")
            await self._abandon(launch_id, "run: an internal error stopped it; see the log")
        return ""

    def _forget(self, launch_id: str) -> None:
        self._running.pop(launch_id, None)
        self._records.pop(launch_id, None)

    def _refuse_forbidden(self, launch_id: str) -> None:
        if why := self._forbidden.get(launch_id):
            raise Conflict("launch_cut", why, step="run")

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
            pipeline = catalogued(policy, warrant.plan["pipeline"])
            shed = declassified(pipeline, warrant.graph.code_digest)
        rows = await parts.database.read(partial(launches.tasks, launch_id=record.id))
        running = frozenset(key for key, row in rows.items() if row.state == "running")
        again = running if self._executors.adopts else frozenset()  # the same attempt, taken up
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
            bind=partial(self._binding.bind, record, warrant, workspace),
            pods=pod_plan(warrant),
            alive=again,
            done=frozenset(key for key, row in rows.items() if row.state == "done"),
            declassifying=frozenset(
                key for key, node in warrant.graph.nodes.items() if node.family in shed
            ),
            attempts={key: row.attempt - (key in again) for key, row in rows.items()},
        )

    # --- small moves ----------------------------------------------------------------------------

    async def _abandon(self, launch_id: str, reason: str) -> None:
        """End a launch that will not run (any more), through ``cancelling``, with what lives of it.

        Raises nothing: what cannot be done now is tried again by the next sweep of recovery.
        """
        parts = self._parts
        try:
            record = await self._record(launch_id)
            if record.state.final:
                return
            if record.state is not LaunchState.CANCELLING:
                await move(
                    parts, launch_id, LaunchState.CANCELLING, "launch.cancelling",
                    {"reason": reason},
                )  # fmt: skip
            await self._executors.clear(launch_id)
            await move(
                parts, launch_id, LaunchState.CANCELLED, "launch.cancelled", {"reason": reason},
                outcome=reason,
            )  # fmt: skip
        except GatewayError as error:
            _log.warning("launch_not_ended", launch_id=launch_id, detail=str(error))

    async def _release(self, launch_id: str) -> None:
        """Let go of the profiles of a launch that has ended."""
        try:
            if (await self._record(launch_id)).state.final:
                await self._parts.binder.release(launch_id)
        except GatewayError as error:
            _log.warning("profiles_not_released", launch_id=launch_id, detail=str(error))

    async def _record(self, launch_id: str) -> LaunchRecord:
        return await self._parts.database.read(partial(launches.get, launch_id=launch_id))
