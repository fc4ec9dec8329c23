"""Holds every pod of the tasks' namespace against the log.

A pod that nobody here waits for is one of three: the attempt of a launch that will be taken up
again, an orphan of one that has ended, which is deleted, or a stranger, which the log does not
explain: an entry and an alarm, and the operator's to deal with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import structlog

from gateway.canonical import Json
from gateway.cluster.ending import has_ended
from gateway.cluster.marks import DECISION_ID, LAUNCH_ID, PROBE, RESOLVE, TASK, is_pod_name
from gateway.cluster.running import Pods
from gateway.decisionlog.log import Entry
from gateway.lifecycle.parts import Parts
from gateway.lifecycle.sweeping import sweeping
from gateway.store import launches
from gateway.store.launches import TaskRow

_log = structlog.get_logger()
_EVERY = 5.0  # seconds
_REMEMBERED = 10_000  # strangers that were told of
_NAMED_LABELS = 20

Place = Literal["stranger", "orphan", "kept"]


class Reconciliation:
    """Looks at the pods that the watch shows, again and again."""

    def __init__(
        self,
        parts: Parts,
        pods: Pods,
        under_way: Callable[[str], bool],
        resolving: Callable[[str], bool],
    ) -> None:
        """``under_way`` says whether this process runs a launch, ``resolving`` asks a pod."""
        self._resolving = resolving
        self._parts = parts
        self._pods = pods
        self._under_way = under_way
        self._told: dict[str, str] = {}  # uid -> name
        self._ending: set[str] = set()
        self.strangers: tuple[str, ...] = ()

    async def run(self) -> None:
        """Sweep until cancelled."""
        await sweeping(self.sweep, _EVERY, "reconciliation")

    async def sweep(self) -> None:
        """Look at every pod that nobody waits for."""
        strangers = []
        for name, pod in list(self._pods.seen.items()):
            if self._pods.waits_for(name) or self._resolving(name) or name in self._ending:
                continue
            match await self._place_of(name, pod):
                case "stranger":
                    strangers.append(name)
                    await self._tell_of_stranger(name, pod)
                case "orphan":
                    await self._end_orphan(name, pod)
        self.strangers = tuple(sorted(strangers))

    async def _place_of(self, name: str, pod: Mapping[str, Any]) -> Place:
        """Say what the log and the launch's rows make of a pod."""
        notes = pod["metadata"].get("annotations") or {}
        if not (is_pod_name(name, notes) and await self._explained(name, notes)):
            return "stranger"
        if notes[TASK] == RESOLVE:
            return "orphan"  # whoever asked has gone; of a dry run there is no row either
        launch_id, attempt = str(notes[LAUNCH_ID]), _attempt(name)
        record = await self._parts.database.read(partial(launches.get, launch_id=launch_id))
        if record.state.final:
            return "orphan"
        row = await self._row(launch_id, str(notes[TASK]))
        if row is None or not self._under_way(launch_id):
            return "kept"  # whoever takes up the launch takes up its pods, and ends old questions
        return "kept" if (attempt, "running") == (row.attempt, row.state) else "orphan"

    async def _explained(self, name: str, notes: Mapping[str, str]) -> bool:
        """Whether the log says that this pod was to be."""
        launch_id, task = str(notes[LAUNCH_ID]), str(notes[TASK])
        if task == RESOLVE:
            return await self._logged(launch_id, "launch.resolving")
        decided = await self._parts.log.find(str(notes.get(DECISION_ID)))
        if decided is None or decided.value["launch_id"] != launch_id:
            return False
        if task == PROBE:
            return await self._logged(launch_id, "network.bound")
        row = await self._row(launch_id, task)
        started = row is not None and _attempt(name) <= row.attempt
        return started and await self._logged(launch_id, "task.started")

    async def _row(self, launch_id: str, task: str) -> TaskRow | None:
        rows = await self._parts.database.read(partial(launches.tasks, launch_id=launch_id))
        return rows.get(task)

    async def _logged(self, launch_id: str, event: str) -> bool:
        return bool(await self._parts.log.entries(0, 1, launch_id=launch_id, event_prefix=event))

    async def _end_orphan(self, name: str, pod: Mapping[str, Any]) -> None:
        launch_id = str(pod["metadata"]["annotations"][LAUNCH_ID])
        if not has_ended(pod):  # one that has ended only waited for somebody to clear it away
            await self._parts.log.append(Entry("pod.orphan", {"pod": name}, launch_id=launch_id))
            _log.warning("pod_orphan", pod=name, launch_id=launch_id)
        self._ending.add(name)
        task = asyncio.create_task(self._pods.clear([name]), name=f"end {name}")
        task.add_done_callback(lambda _: self._ending.discard(name))

    async def _tell_of_stranger(self, name: str, pod: Mapping[str, Any]) -> None:
        meta = pod["metadata"]
        if meta["uid"] in self._told:
            return
        self._told[meta["uid"]] = name
        if len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]
        labels = sorted(meta.get("labels") or {})[:_NAMED_LABELS]
        node = (pod.get("spec") or {}).get("nodeName")
        body: dict[str, Json] = {"pod": name, "uid": meta["uid"], "labels": [*labels], "node": node}
        await self._parts.log.append(Entry("pod.stranger", body))
        _log.error("pod_stranger", **body)


def _attempt(name: str) -> int:
    return int(name.rpartition("-")[2])
