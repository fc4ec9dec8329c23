"""One run, from its order to its end: prepare, ask what is complete, then do what Luigi says.

Whatever ends a run, it returns only when nothing of it is alive, and after telling why it ended.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

import structlog

from gateway.errors import GatewayError, Retryable
from gateway.runs.attempts import TIMED_OUT, AdmitYield, Attempts, out_of_turn
from gateway.runs.book import Book
from gateway.runs.events import RunFinished, RunStarted, RunStatus, TaskFinished
from gateway.runs.executor import Executor, Outcome, RunOrder
from gateway.runs.halt import CancelledByRequest, GatewayStopping, Halt, StoppedError
from gateway.runs.link import DriverLink
from gateway.runs.protocol import Finished, Kill, PlanSettings, Settled, Start
from gateway.runs.teller import LOG_UNAVAILABLE, Observe, Teller
from gateway.settings import RunSettings

REBUILDS = 3  # of a driver that died, in one run

_log = structlog.get_logger(__name__)


class _NotYetError(Exception):
    """Whoever has to make it possible cannot now, and may later."""


class Run:
    """Carries out one order."""

    def __init__(
        self,
        order: RunOrder,
        executor: Executor,
        settings: RunSettings,
        admit_yield: AdmitYield,
        observe: Observe,
    ) -> None:
        """The executor is this run's alone, and is closed by it."""
        self._order = order
        self._executor = executor
        self._book = Book(order, settings.retry_count)
        self._halt = Halt()
        self._left = False
        self._condemned = ""
        self.postponed = ""  # why it could not begin, and has to be tried again
        self._teller = Teller(order.launch_id, observe, self._halt)
        self._attempts = Attempts(
            self._book,
            executor,
            self._teller,
            self._halt,
            admit_yield,
            settings.task_timeout_seconds,
        )
        self._settings = PlanSettings(
            parallel_tasks=settings.parallel_tasks,
            retry_count=settings.retry_count,
            retry_delay=settings.retry_delay_seconds,
            task_timeout=settings.task_timeout_seconds,
        )

    def stop(self, why: Exception) -> None:
        """End the run because of ``why``; ``carry`` then returns within seconds."""
        self._halt.stop(why)

    def condemn(self, why: str) -> None:
        """However the run ends from now on, it ends cancelled, because of ``why``."""
        self._condemned = why

    def leave(self) -> None:
        """Let what runs live on, where it can be taken up again; the run then has no end yet."""
        if self._executor.adopts:
            self._left = True
            self._executor.leave()

    async def carry(self, place: AbstractAsyncContextManager[None]) -> None:
        """Wait for ``place``, run in it, and tell how it ended. Raises nothing."""
        async with AsyncExitStack() as stack:
            try:
                await self._halt.unless_stopped(stack.enter_async_context(place))
                end: RunFinished | None = self._end(*await self._run())
            except StoppedError:
                end = await self._wind_down()
            except _NotYetError as error:
                self.postponed, end = str(error), None
                self.leave()  # of a run that is taken up again something may live
            except Exception as error:  # noqa: BLE001 - whatever it is, it ends the run
                self._halt.stop(error)
                end = await self._wind_down()
            finally:
                await self._executor.close()
                await self._teller.close()
            if end and not self._left:
                with suppress(StoppedError):  # then it has no end yet, and recovery finds it
                    await self._teller.tell(end)

    async def _run(self) -> tuple[RunStatus, str]:
        """Have a driver schedule the plan; have another one go on where one died.

        What ran when a driver died is left to end first. So no task runs twice at once, and none
        in excess of what Luigi would allow.
        """
        self._order.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        for rebuild in range(1 + REBUILDS):
            async with await DriverLink.start(self._order.scratch / "driver.log") as link:
                if rebuild == 0:
                    await self._make_ready()  # while the driver imports Luigi
                await link.send_large(self._book.plan(self._settings))
                finished = await self._obey(link)
            await self._halt.unless_stopped(self._attempts.finish())
            if finished:
                return self._book.verdict(finished)
            _log.warning("driver_died", launch_id=self._order.launch_id)
        raise Retryable(
            "driver_lost", "the run's scheduler process died again and again", step="run"
        )

    async def _make_ready(self) -> None:
        book, halt = self._book, self._halt
        nodes = tuple(self._order.graph.nodes.values())
        try:
            if self._order.bind:
                await halt.unless_stopped(self._order.bind())
            await halt.unless_stopped(self._executor.prepare(self._order))
        except Retryable as error:
            if self._order.bind is None or not self._executor.adopts:
                raise
            raise _NotYetError(f"{error.step or 'run'}: {error.public_message}") from error
        answers = await halt.unless_stopped(self._executor.probe(book.questions(nodes)))
        book.answer(nodes, answers)
        skipped = tuple(node.key for node in nodes if node.key in book.skipped)
        await self._teller.tell(RunStarted(self._order.launch_id, self._executor.layers, skipped))

    async def _obey(self, link: DriverLink) -> Finished | None:
        """Do what the driver says; return its last word, or None when it died before that."""
        while message := await self._halt.unless_stopped(link.receive()):
            match message:
                case Start(node, attempt):
                    self._attempts.begin(node, attempt, link.send)
                case Kill(node, attempt):
                    self._attempts.end(node, attempt, TIMED_OUT)
                case Settled(node) if self._book.is_wrapper(node):
                    self._book.ended(node, Outcome("DONE"))
                    await self._teller.tell(TaskFinished(self._order.launch_id, node, 0, "DONE"))
                case Finished():
                    return message
                case _:
                    raise out_of_turn()
        return None

    async def _wind_down(self) -> RunFinished | None:
        """End what runs; return how the run ended, or None when it is only interrupted."""
        why = self._halt.why
        if isinstance(why, GatewayError) and why.code == LOG_UNAVAILABLE:
            self.leave()  # outcomes that are not on record are with the pods: somebody asks again
        if self._left:
            await self._attempts.finish()
            return None
        await self._attempts.end_all("the run was stopped")
        if isinstance(why, GatewayStopping):
            return None
        if isinstance(why, CancelledByRequest):
            return self._end("cancelled", str(why))
        if isinstance(why, GatewayError):
            _log.warning("run_stopped", launch_id=self._order.launch_id, detail=str(why))
            return self._end("failed", why.public_message)
        _log.error("run_broken", launch_id=self._order.launch_id, exc_info=why)
        return self._end("failed", "an internal error stopped the run")

    def _end(self, status: RunStatus, reason: str) -> RunFinished:
        book = self._book
        if self._condemned:
            status, reason = "cancelled", self._condemned
        return RunFinished(self._order.launch_id, status, reason, book.outputs(), book.counts())
