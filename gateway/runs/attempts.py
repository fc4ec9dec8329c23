"""The attempts of one run that are under way: each from its entry in the log to its end.

An attempt's process is started only after ``TaskStarted`` is durable, and the driver hears of its
end only after ``TaskFinished`` is. What a task yields is admitted, or makes it fail, in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from gateway.errors import IntegrityViolation, Rejected
from gateway.model import TaskGraph, TaskNode
from gateway.runs.book import Book
from gateway.runs.events import NodesAdded, TaskFinished, TaskRefused, TaskStarted
from gateway.runs.executor import Assignment, Executor, Outcome, Progress
from gateway.runs.halt import Halt, StoppedError
from gateway.runs.protocol import Exited, PlanNode
from gateway.runs.teller import Teller

AdmitYield = Callable[
    [TaskGraph, str, Mapping[str, Any], frozenset[str]],
    tuple[list[TaskNode], list[str], Mapping[str, Mapping[str, str]]],
]
"""``(graph, yielder, raw yields, keys of the instances so far) -> (new nodes, roots, sealed)``."""


def out_of_turn() -> IntegrityViolation:
    """Return the error for a driver that asks for what it cannot ask for."""
    return IntegrityViolation(
        "driver_protocol", "the run's scheduler asked for what is not in the graph", step="run"
    )


TIMED_OUT = "it ran longer than its time-out allows, and was ended"


class Attempts:
    """Starts, follows and ends the attempts of one run."""

    def __init__(
        self,
        book: Book,
        executor: Executor,
        teller: Teller,
        halt: Halt,
        admit_yield: AdmitYield,
        task_timeout: int,
    ) -> None:
        """``task_timeout`` in seconds, for tasks without their own; 0 is none."""
        self._book = book
        self._executor = executor
        self._teller = teller
        self._halt = halt
        self._admit_yield = admit_yield
        self._task_timeout = task_timeout
        self._running: dict[tuple[str, int], asyncio.Task[Exited | None]] = {}
        self._ended_because: dict[tuple[str, int], str] = {}
        self._kills: set[asyncio.Task[None]] = set()
        self._instances: set[str] = set()  # keys of the tasks that were yielded
        self._growing = asyncio.Lock()

    def begin(self, key: str, number: int, done: Callable[[Exited], None]) -> None:
        """Start an attempt; ``done`` hears of its end. Raises for a task that is not approved."""
        node = self._book.graph.nodes.get(key)
        if node is None or node.kind in ("possible", "wrapper") or (key, number) in self._running:
            raise out_of_turn()
        if key in self._book.done:  # Luigi's time-out crossed the news of its end
            done(Exited(key, number, "DONE"))
            return
        attempt = asyncio.create_task(self._attempt(key, number))
        self._running[key, number] = attempt

        def ended(task: asyncio.Task[Exited | None]) -> None:
            del self._running[key, number]
            if not task.cancelled() and (exited := task.result()):
                done(exited)

        attempt.add_done_callback(ended)

    def end(self, key: str, number: int, why: str) -> None:
        """End an attempt; it then counts as failed because of ``why``, whatever it says."""
        if (key, number) in self._running and (key, number) not in self._ended_because:
            self._ended_because[key, number] = why
            kill = asyncio.create_task(self._executor.kill(key, number))
            self._kills.add(kill)
            kill.add_done_callback(self._kills.discard)

    async def end_all(self, why: str) -> None:
        """End all attempts and see them out."""
        for key, number in list(self._running):
            self.end(key, number, why)
        await self.finish()

    async def finish(self) -> None:
        """Return when no attempt is under way.

        Also without a driver, whose death takes Luigi's time-outs along: they are kept here.
        """
        await asyncio.gather(*(self._see_out(*name) for name in list(self._running)))
        if self._kills:
            await asyncio.wait(self._kills)

    async def _see_out(self, key: str, number: int) -> None:
        attempt = self._running[key, number]
        timeout = self._book.graph.nodes[key].worker_timeout
        seconds = self._task_timeout if timeout is None else timeout
        await asyncio.wait([attempt], timeout=seconds or None)
        self.end(key, number, TIMED_OUT)
        await asyncio.wait([attempt])

    async def _attempt(self, key: str, number: int) -> Exited | None:
        """Return what the driver is to hear, or None when the run stops."""
        book, teller = self._book, self._teller
        try:
            book.started(key, number)
            await teller.tell(TaskStarted(teller.launch_id, key, number))
            began = time.monotonic()
            outcome = await self._run(key, number)
            seconds = time.monotonic() - began
            waits_for: tuple[str, ...] = ()
            fresh: tuple[PlanNode, ...] = ()
            if outcome.status == "PENDING":
                outcome, waits_for, fresh = await self._yielded(key, outcome)
            book.ended(key, outcome)
            end = TaskFinished(
                teller.launch_id,
                key,
                number,
                outcome.status,
                outcome.explanation,
                outcome.outputs,
                seconds,
            )
            await teller.tell(end)
            self._executor.settled(key, number)
            return Exited(key, number, outcome.status, waits_for, fresh)
        except StoppedError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the run
            self._halt.stop(error)
            return None
        finally:
            teller.forget(key, number)
            self._ended_because.pop((key, number), None)

    async def _run(self, key: str, number: int) -> Outcome:
        """Run the process; what it wrote comes back without masked values."""
        book = self._book

        def report(said: Progress) -> None:
            message = book.clean(key, said.message) if said.message else None
            url = book.clean(key, said.tracking_url) if said.tracking_url else None
            self._teller.progress(key, number, Progress(said.percent, message, url))

        if self._halt.why is None and (key, number) not in self._ended_because:
            task = Assignment.of(book.graph, key)
            outcome = await self._executor.run(task, number, report)
        if why := self._ended_because.get((key, number)):
            return Outcome("FAILED", why)
        if self._halt.why is not None:
            return Outcome("FAILED", "the run was stopped")
        return Outcome(
            outcome.status,
            book.clean(key, outcome.explanation),
            tuple(book.clean(key, path) for path in outcome.outputs),
            outcome.yields,
        )

    async def _yielded(
        self, key: str, outcome: Outcome
    ) -> tuple[Outcome, tuple[str, ...], tuple[PlanNode, ...]]:
        """Admit what a task yielded; what was not approved as a possibility makes it fail."""
        book, launch_id = self._book, self._teller.launch_id
        async with self._growing:
            try:
                nodes, roots, sealed = await asyncio.to_thread(
                    self._admit_yield,
                    book.graph,
                    key,
                    outcome.yields or {},
                    frozenset(self._instances),
                )
            except Rejected as error:
                reason = book.clean(key, error.public_message)
                await self._teller.tell(TaskRefused(launch_id, key, reason))
                return Outcome("FAILED", reason), (), ()
            fresh = tuple(node for node in nodes if node.key not in book.graph.nodes)
            if fresh:
                await self._teller.tell(NodesAdded(launch_id, key, fresh))
                self._instances.update(node.key for node in fresh)
                book.grow(fresh, sealed)
                asked = self._executor.probe(book.questions(fresh))
                book.answer(fresh, await self._halt.unless_stopped(asked))
        if not roots or book.going_in_circles(key, roots):
            why = "it yields tasks that are done, and does not find them complete"
            return Outcome("FAILED", why), (), ()
        news = [node for node in book.needed_by(roots) if node.key in self._instances]
        text = f"waits for {len(roots)} that it yielded"
        return Outcome("PENDING", text), tuple(roots), book.plan_nodes(news)
