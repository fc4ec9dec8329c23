"""Stopping a launch: easier than starting one, and always an entry first."""

from __future__ import annotations

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


class Cancellation:
    """Ends a launch that waits for people, and stops one that is queued or runs."""

    def __init__(self, parts: Parts, execution: Execution) -> None:
        """``execution`` stops what runs."""
        self._parts = parts
        self._execution = execution

    async def cancel(self, principal: Principal, launch_id: str) -> LaunchRecord:
        """Stop a launch; one that has ended, or is being stopped, is returned as it is.

        Raises ``Conflict`` while the launch is being decided.
        """
        record = await self._read(launch_id)
        if record.state is LaunchState.RECEIVED:
            raise Conflict("launch_state", "the launch is being decided; try again", step="run")
        if record.state.final or record.state is LaunchState.CANCELLING:
            return record
        waits = record.state is LaunchState.AWAITING_APPROVAL
        reason = f"cancelled by {principal.subject.account}"
        now = rfc3339(self._parts.clock())

        def change(connection: Connection, _: int) -> None:
            if waits:
                desk.close(connection, launch_id, "cancelled")
                launches.forget_sealed(connection, launch_id)
            target = LaunchState.CANCELLED if waits else LaunchState.CANCELLING
            launches.transition(connection, launch_id, target, now, outcome=reason)

        entry = Entry(
            event="launch.cancelled" if waits else "launch.cancelling",
            launch_id=launch_id,
            requested_by=principal.to_json(),
            body={"reason": reason},
        )
        await self._parts.log.append(entry, change=change)
        self._parts.hub.wake(launch_id)
        if not waits:
            await self._execution.stop(launch_id)
        return await self._read(launch_id)

    async def _read(self, launch_id: str) -> LaunchRecord:
        return await self._parts.database.read(partial(launches.get, launch_id=launch_id))
