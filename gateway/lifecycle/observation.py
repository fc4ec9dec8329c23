"""Step 9: what a run does goes to the log and its rows before the run goes on.

The supervisor awaits ``observe`` before its next act, so a task never starts, and an outcome is
never believed, without a durable entry. Progress is the exception: it is shown and forgotten.
"""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath
from sqlite3 import Connection

import structlog

from gateway.canonical import Json
from gateway.clock import rfc3339
from gateway.decisionlog.log import Entry
from gateway.lifecycle.parts import Parts
from gateway.runs.events import (
    NodesAdded,
    RunEvent,
    RunFinished,
    RunStarted,
    RunStatus,
    TaskFinished,
    TaskProgress,
    TaskRefused,
    TaskStarted,
)
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.launches import LaunchRecord, TaskRow

_log = structlog.get_logger()
_TRIES = 3  # a launch moves at most twice on its way to an end
_NODES = 100  # in one entry, which holds 256 KiB at the most


class Observer:
    """Writes each run event to the log, with the rows that follow from it."""

    def __init__(self, parts: Parts) -> None:
        """``parts`` gives the log, the store and the hub."""
        self._parts = parts

    async def observe(self, event: RunEvent) -> None:
        """Make one event durable. Raises ``GatewayError`` when that failed: the run then stops."""
        match event:
            case TaskProgress():
                self._parts.hub.tell(event.launch_id, event.to_json())
                return
            case RunStarted():
                await self._run_started(event)
            case TaskStarted():
                await self._task(event.launch_id, "task.started", event.key, event.attempt, {})
            case TaskFinished():
                await self._task_finished(event)
            case TaskRefused():
                body: dict[str, Json] = {"task": event.key, "reason": event.reason}
                await self._append(event.launch_id, "task.refused", body)
            case NodesAdded():
                await self._nodes_added(event)
            case RunFinished():
                await self._run_finished(event)
        self._parts.hub.wake(event.launch_id)

    async def _run_started(self, event: RunStarted) -> None:
        now = rfc3339(self._parts.clock())
        body: dict[str, Json] = {
            "enforcement": self._parts.binder.enforcement,
            "warning": self._parts.binder.warning,
            "layers": dict(event.layers),
            "complete_already": list(event.skipped),
        }
        record = await self._parts.database.read(partial(launches.get, launch_id=event.launch_id))
        again = record.state is LaunchState.RUNNING

        def change(connection: Connection, _: int) -> None:
            if not again:
                launches.transition(connection, event.launch_id, LaunchState.RUNNING, now)
            for key in event.skipped:
                row = TaskRow(key, 0, "done", "complete already", (), now)
                launches.put_task(connection, event.launch_id, row)

        entry = Entry("run.recovered" if again else "run.started", body, launch_id=event.launch_id)
        await self._parts.log.append(entry, change=change)

    async def _nodes_added(self, event: NodesAdded) -> None:
        entries = [
            Entry(
                "task.yielded",
                {
                    "task": event.yielder,
                    "nodes": [node.to_json() for node in event.nodes[start : start + _NODES]],
                },
                launch_id=event.launch_id,
            )
            for start in range(0, len(event.nodes), _NODES)
        ]
        await self._parts.log.append_all(entries)

    async def _task_finished(self, event: TaskFinished) -> None:
        more: dict[str, Json] = {
            "status": event.status,
            "explanation": event.explanation,
            "outputs": list(event.outputs),
            "milliseconds": round(event.seconds * 1000),
        }
        await self._task(event.launch_id, "task.finished", event.key, event.attempt, more)

    async def _task(
        self, launch_id: str, name: str, key: str, attempt: int, more: dict[str, Json]
    ) -> None:
        now = rfc3339(self._parts.clock())
        outputs = tuple(str(path) for path in more.get("outputs", ()))  # type: ignore[union-attr]
        state = str(more.get("status", "running")).lower()
        row = TaskRow(key, attempt, state, str(more.get("explanation", "")), outputs, now)
        entry = Entry(name, {"task": key, "attempt": attempt, **more}, launch_id=launch_id)
        await self._parts.log.append(
            entry, change=lambda connection, _: launches.put_task(connection, launch_id, row)
        )

    async def _run_finished(self, event: RunFinished) -> None:
        """End the launch. Its state may change until the entry is written: then look again."""
        for _ in range(_TRIES):
            record = await self._parts.database.read(
                partial(launches.get, launch_id=event.launch_id)
            )
            try:
                await self._end(record, event)
            except _MovedError:
                continue
            _log.info("run_finished", launch_id=event.launch_id, status=event.status)
            return

    async def _end(self, record: LaunchRecord, event: RunFinished) -> None:
        now = rfc3339(self._parts.clock())
        way = _way(record.state, event.status)
        body: dict[str, Json] = {
            "status": event.status,
            "reason": event.reason,
            "outputs": list(event.outputs),
            "counts": dict(event.counts),
        }
        names = ["run.finished"]
        if way[-1] is LaunchState.CANCELLED:  # the log says what the row says
            names = ["launch.cancelling"] * (len(way) - 1) + ["launch.cancelled"]

        def change(connection: Connection, _: int) -> None:
            if launches.get(connection, record.id).state is not record.state:
                raise _MovedError
            for state in way[:-1]:
                launches.transition(connection, record.id, state, now)
            launches.transition(
                connection,
                record.id,
                way[-1],
                now,
                outcome=event.reason,
                outputs=tuple(located(record.workspace, path) for path in event.outputs),
                tasks=event.counts,
            )
            launches.forget_sealed(connection, record.id)

        entries = [Entry(name, body, launch_id=record.id) for name in names]
        await self._parts.log.append_all(entries, change=change)

    async def _append(self, launch_id: str, name: str, body: dict[str, Json]) -> None:
        await self._parts.log.append(Entry(name, body, launch_id=launch_id))


class _MovedError(Exception):
    """The launch was moved, by a cancel, between the look and the write."""


def _way(state: LaunchState, status: RunStatus) -> tuple[LaunchState, ...]:
    """Return the states that an end leads through, from where the launch stands."""
    if state is LaunchState.CANCELLING:
        return (LaunchState.CANCELLED,)  # it was asked to stop: that is what happened to it
    if state is LaunchState.QUEUED or status == "cancelled":
        return (LaunchState.CANCELLING, LaunchState.CANCELLED)  # it may not run any more
    end = LaunchState.SUCCEEDED if status == "succeeded" else LaunchState.FAILED
    return (LaunchState.RUNNING, end) if state is LaunchState.BINDING else (end,)


def located(workspace: str, path: str) -> str:
    """Return where an output is found: paths that stay in the workspace, by their full name.

    ``path`` is the pipeline's word. One that leaves the workspace, or is an address of another
    kind, is shown as it came and points at no file of ours.
    """
    inside = path.removeprefix("/workspace/")
    parts = PurePosixPath(inside).parts
    if not workspace or not parts or inside.startswith("/") or ".." in parts or "://" in inside:
        return path
    return str(PurePosixPath(workspace, *parts))
