"""After a stop or a crash: every launch that was under way gets an owner or an end.

At start-up, and then every few seconds for what an unconfirmed append left behind: nothing that
the log holds is forgotten, and nothing runs that it does not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from sqlite3 import Connection

import structlog

from gateway.clock import rfc3339
from gateway.decisionlog.log import Entry
from gateway.lifecycle.approval import Approval
from gateway.lifecycle.execution import Execution
from gateway.lifecycle.parts import Parts
from gateway.lifecycle.sweeping import sweeping
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.launches import LaunchRecord

_log = structlog.get_logger()
_EVERY = 2.0  # seconds
_ORPHAN_AFTER = timedelta(seconds=30)  # an append that was not confirmed has settled by then
_STARTED = (LaunchState.QUEUED, LaunchState.BINDING, LaunchState.RUNNING, LaunchState.CANCELLING)


class Recovery:
    """Looks for launches that nobody owns."""

    def __init__(
        self,
        parts: Parts,
        execution: Execution,
        approval: Approval,
        deciding: Callable[[str], bool],
    ) -> None:
        """``execution`` takes over runs, ``approval`` ends requests that expired.

        ``deciding`` says whether this process is deciding a launch: that one is not abandoned.
        """
        self._being_decided = deciding
        self._parts = parts
        self._execution = execution
        self._approval = approval

    async def at_start(self) -> None:
        """Take over what the former process left: it is dead, so nothing of it is under way."""
        found = await self._in_states(LaunchState.RECEIVED)
        for record in found:
            await self._deny_abandoned(record)
        await self.sweep()

    async def sweep(self) -> None:
        """Start or end what has no owner, and expire approvals."""
        await self._approval.expire()
        for record in await self._in_states(*_STARTED):
            if not self._execution.under_way(record.id):
                _log.info("launch_recovered", launch_id=record.id, state=record.state)
                self._execution.start(record.id)
        before = rfc3339(self._parts.clock() - _ORPHAN_AFTER)
        for record in await self._in_states(LaunchState.RECEIVED):
            if record.updated_at < before and not self._being_decided(record.id):
                await self._deny_abandoned(record)

    async def run(self) -> None:
        """Sweep until cancelled."""
        await sweeping(self.sweep, _EVERY, "recovery")

    async def _deny_abandoned(self, record: LaunchRecord) -> None:
        now = rfc3339(self._parts.clock())
        reason = "abandoned: the gateway stopped before it decided; launch again"

        def change(connection: Connection, _: int) -> None:
            launches.transition(connection, record.id, LaunchState.DENIED, now, outcome=reason)

        entry = Entry("launch.abandoned", {"reason": reason}, launch_id=record.id)
        await self._parts.log.append(entry, change=change)
        self._parts.hub.wake(record.id)

    async def _in_states(self, *states: LaunchState) -> list[LaunchRecord]:
        return await self._parts.database.read(partial(launches.in_states, states=states))
