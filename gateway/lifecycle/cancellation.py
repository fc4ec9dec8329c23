"""Stopping a launch: easier than starting one, and always an entry first."""

from __future__ import annotations

import asyncio
from functools import partial
from sqlite3 import Connection

from gateway.approvals import desk
from gateway.clock import rfc3339
from gateway.decisionlog.log import Entry
from gateway.errors import Conflict
from gateway.lifecycle.execution import Execution
from gateway.lifecycle.parts import Parts
from gateway.model import Principal
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.launches import LaunchRecord

_ANSWER_WITHIN = 10.0  # seconds


class Cancellation:
    """Ends a launch that waits for people, and stops one that is queued or runs."""

    def __init__(self, parts: Parts, execution: Execution) -> None:
        """``execution`` stops what runs."""
        self._parts = parts
        self._execution = execution
        self._stopping: set[asyncio.Task[None]] = set()

    async def cancel(self, principal: Principal, launch_id: str) -> LaunchRecord:
        """Stop a launch; one that has ended, or is being stopped, is returned as it is.

        Answers ``cancelling`` when something of it takes longer to end: a pod on a silent node does
        not end before its node is back. Raises ``Conflict`` while the launch is being decided.
        """
        record = await self._read(launch_id)
        if record.state.final or record.state is LaunchState.CANCELLING:
            return record
        reason = f"cancelled by {principal.subject.account}"
        if await self.announce(principal, launch_id, reason) is LaunchState.CANCELLING:
            stopping = asyncio.create_task(self._execution.stop(launch_id))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)
            await asyncio.wait({stopping}, timeout=_ANSWER_WITHIN)
        return await self._read(launch_id)

    async def announce(
        self, principal: Principal, launch_id: str, reason: str, *before: Entry
    ) -> LaunchState:
        """Log that a launch is to end, right behind the entries ``before``; return its state then.

        Where that is ``cancelling``, something of it may run and has to be stopped. Of a launch
        that has ended, or is being stopped, only ``before`` is logged. Raises as ``cancel``.
        """
        record = await self._read(launch_id)
        if record.state is LaunchState.RECEIVED:
            raise Conflict("launch_state", "the launch is being decided; try again", step="run")
        if record.state.final or record.state is LaunchState.CANCELLING:
            if before:
                await self._parts.log.append_all(before)
            return record.state
        waits = record.state is LaunchState.AWAITING_APPROVAL
        target = LaunchState.CANCELLED if waits else LaunchState.CANCELLING
        now = rfc3339(self._parts.clock())

        def change(connection: Connection, _: int) -> None:
            if waits:
                desk.close(connection, launch_id, "cancelled")
                launches.forget_sealed(connection, launch_id)
            launches.transition(connection, launch_id, target, now, outcome=reason)

        entry = Entry(
            event="launch.cancelled" if waits else "launch.cancelling",
            launch_id=launch_id,
            requested_by=principal.to_json(),
            body={"reason": reason},
        )
        await self._parts.log.append_all([*before, entry], change=change)
        self._parts.hub.wake(launch_id)
        return target

    async def _read(self, launch_id: str) -> LaunchRecord:
        return await self._parts.database.read(partial(launches.get, launch_id=launch_id))
