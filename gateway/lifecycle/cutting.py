"""Cutting: first the network goes from what runs, then what runs is stopped, then all is on record.

The one act that may come before its log entry. Taking the network away needs neither the store nor
the log, only what this process knows of the launches that it runs; the order is in a journal first,
and stays open there until the log holds it for each launch. An open order is carried out again
after a crash: cutting twice is as good as once, and the log gets it once.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog

from gateway.canonical import Json
from gateway.clock import new_id, rfc3339
from gateway.decisionlog.log import Entry
from gateway.errors import Conflict, GatewayError, NotFound
from gateway.lifecycle.cancellation import Cancellation
from gateway.lifecycle.execution import Execution
from gateway.lifecycle.journal import CutKind, CutOrder, Journal, OpenCut
from gateway.lifecycle.parts import Parts
from gateway.model import Principal
from gateway.runs.executor import Cut, Executors
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.connection import unavailable
from gateway.store.database import Work
from gateway.store.launches import LaunchRecord

_log = structlog.get_logger()
_T = TypeVar("_T")
_EVERY = 2.0  # seconds between two looks at what is open
_DISK_WITHIN = 1.0  # seconds for which journal and store are waited for before a cut
_FIRST_WITHIN = 5.0  # seconds for which a start waits for what the former process left open
_PAGE = 1000
_TRIES = 3
_ALIVE = tuple(state for state in LaunchState if not state.final)


@dataclass(frozen=True, slots=True)
class CutTarget:
    """What is cut: a launch by its id, all of an account's, or all of a pipeline."""

    kind: CutKind
    name: str

    def covers(self, record: LaunchRecord) -> bool:
        """Whether a launch is meant. An account is meant wherever it stands in the chain."""
        match self.kind:
            case "launch_id":
                return record.id == self.name
            case "principal":
                return self.name in {member.account for member in record.principal.chain}
            case "pipeline":
                return record.pipeline == self.name


@dataclass(frozen=True, slots=True)
class LaunchCut:
    """How it went with one launch. ``state`` is ``unknown`` while the store cannot be asked."""

    launch_id: str
    cut: Cut
    state: str
    logged: bool


@dataclass(frozen=True, slots=True)
class CutReport:
    """How it all went; ``seconds`` from the command to the last task that lost its network."""

    launches: tuple[LaunchCut, ...]
    seconds: float
    warning: str = ""


class Cutting:
    """Cuts launches, and sees to it that the log hears of it."""

    def __init__(
        self, parts: Parts, execution: Execution, executors: Executors, journal: Journal
    ) -> None:
        """``executors`` takes the network away, ``execution`` ends what is left."""
        self._parts = parts
        self._execution = execution
        self._executors = executors
        self._journal = journal
        self._cancellation = Cancellation(parts, execution)
        self._open: dict[str, OpenCut] = {}
        self._doing: set[asyncio.Task[Any]] = set()

    async def at_start(self) -> None:
        """Take up what the former process left open, before any launch is taken up."""
        for case in await self._journal.open():
            self._open[case.order.id] = case
            self._forbid(case.order)
        if self._open:
            await asyncio.wait({self._do(self.finish(), "finish cuts")}, timeout=_FIRST_WITHIN)

    async def run(self) -> None:
        """Look at what is open until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            await self.finish()

    async def close(self) -> None:
        """Let go; the journal has what is open."""
        for task in list(self._doing):
            task.cancel()
        await asyncio.gather(*self._doing, return_exceptions=True)

    async def known(self, launch_id: str) -> LaunchRecord:
        """Return a launch from memory where it runs, else from the store.

        Raises ``NotFound``, or another ``GatewayError`` when the store cannot say.
        """
        if running := self._execution.records.get(launch_id):
            return running
        return await self._read(partial(launches.get, launch_id=launch_id))

    async def cut(self, principal: Principal, target: CutTarget, reason: str) -> CutReport:
        """Take the network from the launches that are meant, and stop them.

        Returns when they have lost it, or when the cluster's patience has ended: see ``left`` of
        each. What is stopped may take longer to end. Raises ``NotFound`` for an unknown launch.
        """
        began = time.monotonic()
        meant, warning = await self._meant(target)
        ids = tuple(meant)
        if not ids:
            return CutReport(await self._ended(target), time.monotonic() - began, warning)
        at = rfc3339(self._parts.clock())
        order = CutOrder(new_id(), at, principal, target.kind, target.name, reason, ids)
        case = self._open[order.id] = OpenCut(order)
        case.busy = True
        self._forbid(order)
        await self._on_disk(self._journal.ordered(order))
        said = await asyncio.shield(self._do(self._carry_out(case, began), f"cut {order.id}"))
        return CutReport(said, max(item.cut.seconds for item in said), warning)

    async def finish(self) -> None:
        """Carry out once more what is open, and give the log what it lacks. Raises nothing."""
        await asyncio.gather(*(self._again(case) for case in list(self._open.values())))

    # --- what is meant --------------------------------------------------------------------------

    async def _meant(self, target: CutTarget) -> tuple[list[str], str]:
        """Return the launches that are meant, and what is not known of them."""
        if target.kind == "launch_id":
            try:
                record = await self.known(target.name)
            except NotFound:
                raise
            except GatewayError as error:
                _log.warning("cut_without_store", detail=str(error))
                return [target.name], "the store cannot be read; the launch was taken at its word"
            return [] if record.state.final else [record.id], ""
        found, warning = dict(self._execution.records), ""
        try:
            stored = await self._read(partial(launches.in_states, states=_ALIVE))
            found.update((record.id, record) for record in stored)
        except GatewayError as error:
            _log.warning("cut_without_store", detail=str(error))
            warning = "the store cannot be read; launches that wait for people were not looked at"
        return sorted(item.id for item in found.values() if target.covers(item)), warning

    async def _ended(self, target: CutTarget) -> tuple[LaunchCut, ...]:
        """Return what there is to say of a launch that had ended before."""
        if target.kind != "launch_id":
            return ()
        record = await self.known(target.name)
        return (LaunchCut(record.id, Cut(0, 0.0), record.state, logged=True),)

    def _forbid(self, order: CutOrder) -> None:
        for launch_id in order.launches:
            self._execution.forbid(launch_id, _sentence(order))

    # --- carrying out ---------------------------------------------------------------------------

    async def _carry_out(self, case: OpenCut, began: float) -> tuple[LaunchCut, ...]:
        """Cut all launches at once; when all have lost their network, log and stop each."""
        ids = case.order.launches
        try:
            cuts = await asyncio.gather(*(self._sever(launch_id, began) for launch_id in ids))
            case.done = dict(zip(ids, cuts, strict=True))
            await self._on_disk(self._journal.done(case.order.id, case.done))
            settled = (self._settle(case, launch_id, late=False) for launch_id in ids)
            said = await asyncio.gather(*settled)
            await self._closed(case, [item.launch_id for item in said if item.logged])
        finally:
            case.busy = False
        return tuple(said)

    async def _sever(self, launch_id: str, began: float) -> Cut:
        """Take the network away; ``seconds`` of the answer count from the command on."""
        try:
            cut = await self._executors.cut(launch_id)
        except GatewayError as error:
            _log.error("cut_failed", launch_id=launch_id, detail=str(error))
            cut = Cut(0, 0.0, 1, error.public_message)
        seconds = time.monotonic() - began
        if cut.tasks or cut.left:
            _log.warning("launch_cut", launch_id=launch_id, tasks=cut.tasks, left=cut.left)
        return Cut(cut.tasks, seconds, cut.left, cut.why)

    async def _settle(self, case: OpenCut, launch_id: str, *, late: bool) -> LaunchCut:
        """Give the log what it lacks of one launch, and stop what is left of it in any case."""
        cut, why = case.done[launch_id], _sentence(case.order)
        within = self._parts.settings.log.append_within_seconds + _DISK_WITHIN
        state, logged = "unknown", False
        try:
            async with asyncio.timeout(within):
                state = await self._record(case.order, launch_id, cut, late=late)
            logged = True
        except NotFound:
            _log.error("cut_of_unknown_launch", launch_id=launch_id)
            logged = True  # as far as can be: there is nothing to say it of
        except Conflict:  # it is being decided: it may not run, and is looked at again
            state = LaunchState.RECEIVED
        except (GatewayError, TimeoutError, sqlite3.Error) as error:
            _log.error("cut_not_logged", launch_id=launch_id, detail=str(error))
        if state == LaunchState.CANCELLING:
            self._do(self._execution.stop(launch_id), f"stop {launch_id}")
        elif not logged:
            self._do(self._execution.halt(launch_id, why), f"halt {launch_id}")
        return LaunchCut(launch_id, cut, state, logged)

    async def _record(self, order: CutOrder, launch_id: str, cut: Cut, *, late: bool) -> str:
        """Append the cut, and with it that the launch is to end; return where it stands then."""
        body: dict[str, Json] = {
            "order": order.id,
            "by": order.by.subject.account,
            "at": order.at,
            order.kind: order.name,
            "reason": order.reason,
            "tasks": cut.tasks,
            "milliseconds": round(cut.seconds * 1000),
            "left": cut.left,
            "why": cut.why,
            "journaled": late,
        }
        entry = Entry("launch.cut", body, launch_id, requested_by=order.by.to_json())
        announce = partial(
            self._cancellation.announce, order.by, launch_id, _sentence(order), entry
        )
        for _ in range(_TRIES):
            with suppress(Conflict):  # it moved between the look and the write: look again
                return await announce()
        return await announce()

    # --- what stayed open -----------------------------------------------------------------------

    async def _again(self, case: OpenCut) -> None:
        if case.busy:
            return
        case.busy = True
        try:
            left = sorted(case.left)
            logged = await asyncio.gather(*(self._late(case, launch_id) for launch_id in left))
            await self._closed(case, [one for one, yes in zip(left, logged, strict=True) if yes])
        except Exception:  # noqa: BLE001 -- whatever it was, the next look has to come
            _log.exception("cut_not_finished", order=case.order.id)
        finally:
            case.busy = False

    async def _late(self, case: OpenCut, launch_id: str) -> bool:
        """Cut one launch again, and log it unless that was done; return whether the log has it."""
        cut = await self._sever(launch_id, time.monotonic())
        case.done.setdefault(launch_id, cut)
        try:
            if await self._logged(case.order, launch_id):
                return True
            return (await self._settle(case, launch_id, late=True)).logged
        except (GatewayError, sqlite3.Error) as error:
            _log.warning("cut_still_open", launch_id=launch_id, detail=str(error))
            return False

    async def _logged(self, order: CutOrder, launch_id: str) -> bool:
        """Whether the log has this order for the launch, appends that were given up included."""
        await self._parts.database.write(lambda _: None)  # what was queued before it has settled
        found = await self._parts.log.entries(
            0, _PAGE, launch_id=launch_id, event_prefix="launch.cut"
        )
        return any(entry.value["body"].get("order") == order.id for entry in found)

    async def _closed(self, case: OpenCut, launch_ids: list[str]) -> None:
        """Note for which launches nothing is open any more."""
        if launch_ids:
            case.left -= set(launch_ids)
            await self._on_disk(self._journal.logged(case.order.id, launch_ids))
        if not case.left:
            self._open.pop(case.order.id, None)

    # --- small things ---------------------------------------------------------------------------

    async def _read(self, query: Work[_T]) -> _T:
        """Ask the store, for a moment only: one that hangs must not keep a cut waiting."""
        try:
            async with asyncio.timeout(_DISK_WITHIN):
                return await self._parts.database.read(query)
        except (TimeoutError, sqlite3.Error) as error:
            raise unavailable(error) from error

    async def _on_disk(self, writing: Awaitable[None]) -> None:
        """Wait for the journal, for a moment only: a full disk must not keep a cut waiting."""
        try:
            async with asyncio.timeout(_DISK_WITHIN):
                await writing
        except OSError as error:  # TimeoutError is one
            _log.error("journal_not_written", detail=f"{type(error).__name__}: {error}")

    def _do(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        task = asyncio.create_task(work, name=name)
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)
        return task


def _sentence(order: CutOrder) -> str:
    why = f": {order.reason}" if order.reason else ""
    return f"cut by {order.by.subject.account}{why}"
