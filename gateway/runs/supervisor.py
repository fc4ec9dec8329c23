"""Which runs run: a bounded number at once, in order, and one at a time in each workspace.

Holds no truth: what a run did is in the log, and after a stop or a crash the same order, with what
the log says of it, continues where it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from gateway.errors import Conflict, Retryable
from gateway.runs.attempts import AdmitYield
from gateway.runs.executor import Executors, RunOrder
from gateway.runs.halt import CancelledByRequest, GatewayStopping
from gateway.runs.run import Run
from gateway.runs.teller import Observe
from gateway.settings import RunSettings


class RunSupervisor:
    """Starts, cancels and awaits runs. One for a gateway process."""

    def __init__(
        self,
        executors: Executors,
        settings: RunSettings,
        admit_yield: AdmitYield,
        observe: Observe,
    ) -> None:
        """``executors`` gives each run an executor of its own.

        ``admit_yield`` turns what a task yielded into approved nodes, or raises ``Rejected``; it
        is called in a thread. ``observe`` returns when an event is durable.
        """
        self._executors = executors
        self._settings = settings
        self._admit_yield = admit_yield
        self._observe = observe
        self._runs: dict[str, tuple[Run, asyncio.Task[None]]] = {}
        self._slots = asyncio.Semaphore(settings.parallel_runs)
        self._workspaces: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._closed = False

    async def start(self, order: RunOrder) -> None:
        """Take an order; it runs when there is room.

        Raises ``Conflict`` for a launch that is under way, ``Retryable`` when we are closing.
        """
        if self._closed:
            raise Retryable("stopping", "the gateway is stopping", step="run")
        if order.launch_id in self._runs:
            raise Conflict("run_under_way", "the launch is running already", step="run")
        executor = self._executors.executor(order.launch_id)
        run = Run(order, executor, self._settings, self._admit_yield, self._observe)
        task = asyncio.create_task(
            run.carry(self._place(order.workspace)), name=f"run {order.launch_id}"
        )
        self._runs[order.launch_id] = run, task
        task.add_done_callback(lambda _: self._runs.pop(order.launch_id, None))

    def condemn(self, launch_id: str, why: str) -> None:
        """See to it that a run, should it end before it is cancelled, ends cancelled all the same.

        Without its network it may fail in many ways, none of which is why it ended.
        """
        if found := self._runs.get(launch_id):
            found[0].condemn(why)

    async def cancel(self, launch_id: str, reason: str = "cancelled") -> None:
        """Stop a run and return when nothing of it is alive; an unknown one has ended already."""
        if found := self._runs.get(launch_id):
            run, task = found
            run.stop(CancelledByRequest(reason))
            await asyncio.wait([task])

    async def wait(self, launch_id: str) -> str:
        """Return when the run has ended; an unknown one has.

        Returns why it has not begun and has to be tried again, empty for a run that did begin.
        """
        if found := self._runs.get(launch_id):
            run, task = found
            await asyncio.wait([task])
            return run.postponed
        return ""

    async def close(self) -> None:
        """End all processes and return; the runs have no end yet and can be recovered.

        Pods are left running.
        """
        self._closed = True
        runs = list(self._runs.values())
        for run, _ in runs:
            run.stop(GatewayStopping())
            run.leave()
        await asyncio.gather(*(task for _, task in runs))

    @asynccontextmanager
    async def _place(self, workspace: Path) -> AsyncIterator[None]:
        lock = self._workspaces.get(workspace)
        if lock is None:
            lock = self._workspaces[workspace] = asyncio.Lock()
        async with lock, self._slots:
            yield
