"""A launch's move from one state to the next: the entry and the row in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from sqlite3 import Connection
from typing import Any

from gateway.clock import rfc3339
from gateway.decisionlog.log import Entry
from gateway.lifecycle.parts import Parts
from gateway.states import LaunchState
from gateway.store import launches


async def move(
    parts: Parts,
    launch_id: str,
    target: LaunchState,
    event: str,
    body: Mapping[str, Any],
    **fields: Any,  # noqa: ANN401 -- of LaunchRecord
) -> None:
    """Move a launch on, and tell those who watch it. An end forgets what was sealed."""
    now = rfc3339(parts.clock())

    def change(connection: Connection, _: int) -> None:
        launches.transition(connection, launch_id, target, now, **fields)
        if target.final:
            launches.forget_sealed(connection, launch_id)

    await parts.log.append(Entry(event=event, launch_id=launch_id, body=dict(body)), change=change)
    parts.hub.wake(launch_id)
