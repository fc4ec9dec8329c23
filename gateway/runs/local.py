"""Runs tasks on this machine: a process for each attempt, forked from a warm one in a sandbox.

Unsafe because of the network: a task that declares no egress has none at all, but a task that
declares any has the host's whole network. Two warm processes at most, by reach, each started when
first needed. Everything else that ``executor.Executor`` demands holds.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from gateway.canonical import Json
from gateway.errors import GatewayError, Retryable
from gateway.runs.executor import Assignment, Cut, Outcome, Progress, RunOrder
from gateway.runs.report import Limit, Report, named
from gateway.runs.tasklog import TaskLog
from gateway.runs.warm import WarmProcess
from gateway.sandbox.guest import guest_sandbox, guest_spec
from gateway.sandbox.spec import Limits
from gateway.settings import RunSettings, SandboxSettings

WARNING = (
    "no network policy is enforced: a task that declares egress reaches everything that this "
    "machine reaches, and not only what was approved; a task that declares none reaches nothing"
)
NO_CUT = "this machine cannot take the network away from a running task: it is ended at once"
_DEAD_WITHIN = 30.0  # seconds; what a crashed gateway left is killed at once by its keepers


class _Attempt:
    """One attempt: waiting for its process, then in it."""

    def __init__(self, name: str) -> None:
        """``name`` is unique in the run."""
        self.name = name
        self._killed = False
        self._waiting: asyncio.Future[WarmProcess] | None = None
        self._warm: WarmProcess | None = None

    async def given(self, process: Awaitable[WarmProcess]) -> WarmProcess | None:
        """Return the process that this is waiting for, or None when it was ended meanwhile."""
        self._waiting = asyncio.ensure_future(process)
        if self._killed:
            self._waiting.cancel()
        await asyncio.wait([self._waiting])
        if not self._waiting.cancelled():
            warm = self._waiting.result()
            self._warm = None if self._killed else warm
        return self._warm

    async def kill(self) -> None:
        """End it, wherever it is."""
        self._killed = True
        if self._warm:
            await self._warm.kill(self.name)
        elif self._waiting:
            self._waiting.cancel()


class UnsafeLocalExecutor:
    """Local processes; see the module's docstring for what is unsafe."""

    enforcement = "none"
    warning = WARNING
    adopts = False

    def __init__(
        self,
        sandbox: SandboxSettings,
        runs: RunSettings,
        required_layers: frozenset[str] = frozenset(),
    ) -> None:
        """``required_layers`` of the sandbox must be had, or no code runs."""
        self._sandbox = sandbox
        self._runs = runs
        self._required_layers = required_layers
        self._limit = Limit(sandbox.task_cpu_seconds, sandbox.task_memory_mb)
        self._order: RunOrder | None = None
        self._logs = Path()
        self._lock: int | None = None
        self._warm: dict[bool, asyncio.Task[WarmProcess]] = {}  # by whether it has the network
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._probes = 0
        self._layers: Mapping[str, Json] = {}

    @property
    def layers(self) -> Mapping[str, Json]:
        """The walls round the first warm process; another differs in its network alone."""
        return self._layers

    async def prepare(self, order: RunOrder) -> None:
        """Make the folders, wait for the end of a former run, and load the pipeline."""
        self._order = order
        self._logs = order.scratch / "logs"
        for folder in (order.scratch, self._logs, order.workspace):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = await _locked(order.scratch)
        tasks = [node for node in order.graph.nodes.values() if node.kind in ("task", "external")]
        if tasks:
            first = await self._process(all(node.egress for node in tasks))
            self._layers = dict(first.layers)

    async def probe(self, tasks: Sequence[Assignment]) -> Mapping[str, bool | str]:
        """Ask ``complete()``, in one process for each distinct egress set."""
        by_reach: defaultdict[tuple[str, ...], list[Assignment]] = defaultdict(list)
        for task in tasks:
            by_reach[task.node.egress].append(task)
        answers: dict[str, bool | str] = {}
        for said in await asyncio.gather(*(self._probe(some) for some in by_reach.values())):
            answers.update(said)
        return answers

    async def run(
        self, task: Assignment, attempt: int, report: Callable[[Progress], None]
    ) -> Outcome:
        """Run one attempt to its end, after the end of any earlier one of the same task."""
        key, network = task.node.key, bool(task.node.egress)
        here = self._attempts[key, attempt] = _Attempt(f"{key}.{attempt}")
        try:
            async with self._one_at_a_time[key]:
                warm = await here.given(self._process(network))
                if warm is None:
                    return Outcome("FAILED", "the task was ended before it began")
                said = Report(report)
                with self._log(here.name) as log:
                    end = await warm.call("run", here.name, {"node": task.to_json()}, log, said)
                return said.outcome(end, self._limit)
        except GatewayError as error:  # no process for it; the task is not at fault, and may retry
            return Outcome("FAILED", error.public_message)
        finally:
            del self._attempts[key, attempt]

    async def kill(self, key: str, attempt: int) -> None:
        """End an attempt, and its warm process where that does not obey."""
        if found := self._attempts.get((key, attempt)):
            await found.kill()

    def settled(self, key: str, attempt: int) -> None:
        """Do nothing: a process leaves nothing behind."""

    def leave(self) -> None:
        """Do nothing: processes of ours end with us."""

    async def close(self) -> None:
        """End everything of this run and give up its lock."""
        lock, self._lock = self._lock, None  # without it nothing is started any more
        for starting in list(self._warm.values()):
            starting.cancel()
            await asyncio.wait([starting])
            if warm := _result(starting):
                await warm.close()
        if lock is not None:
            os.close(lock)

    async def _probe(self, tasks: list[Assignment]) -> dict[str, bool | str]:
        keys = [task.node.key for task in tasks]
        self._probes += 1
        name = f"probe.{self._probes}"
        said = Report(lambda _: None)
        try:
            warm = await self._process(bool(tasks[0].node.egress))
        except GatewayError as error:
            return named(keys, [error.public_message] * len(keys))
        payload: Json = {"nodes": [task.to_json() for task in tasks]}
        with self._log(name) as log:
            end = await warm.call("probe", name, payload, log, said)
        return named(keys, said.answers(len(keys), end, self._limit))

    async def _process(self, network: bool) -> WarmProcess:
        """Return a warm process of this reach, a new one where the former has died.

        Who stops waiting for it does not stop its start, which others may wait for.
        """
        former = self._warm.get(network)
        warm = former and former.done() and _result(former)
        if former is None or (former.done() and not (warm and warm.alive)):
            starting = asyncio.create_task(self._start(network, warm or None))
            self._warm[network] = starting
        return await asyncio.shield(self._warm[network])

    async def _start(self, network: bool, former: WarmProcess | None) -> WarmProcess:
        if former:
            await former.close()
        order, settings = self._order, self._sandbox
        if order is None or self._lock is None:
            raise Retryable("run_not_prepared", "the run is not ready, or has ended", step="run")
        sandbox = guest_sandbox(
            order.code_path,
            order.workspace,
            Limits(
                cpu_seconds=settings.task_cpu_seconds,
                memory_mb=settings.task_memory_mb,
                file_mb=settings.max_file_mb,
                processes=settings.max_processes,
            ),
            network=network,
            required_layers=self._required_layers,
        )
        spec = guest_spec(
            order.module,
            order.code_digest,
            max_nodes=settings.max_nodes,
            max_edges=settings.max_edges,
        )
        try:
            return await WarmProcess.start(sandbox, spec, self._lock, settings.resolve_seconds)
        finally:
            os.close(spec)

    def _log(self, name: str) -> TaskLog:
        return TaskLog(self._logs / f"{name}.log", self._runs.keep_log_bytes)


class UnsafeLocalExecutors:
    """Makes local executors, for this machine."""

    adopts = False

    def __init__(
        self,
        sandbox: SandboxSettings,
        runs: RunSettings,
        required_layers: frozenset[str],
        scratch: Callable[[str], Path],
    ) -> None:
        """``scratch`` gives the private folder of a launch."""
        self._make = partial(UnsafeLocalExecutor, sandbox, runs, required_layers)
        self._scratch = scratch

    def executor(self, launch_id: str) -> UnsafeLocalExecutor:  # noqa: ARG002 -- the seam's
        """Return a new one."""
        return self._make()

    async def clear(self, launch_id: str) -> None:
        """Wait until the keepers of a gateway that crashed have killed what it left."""
        await wait_until_dead(self._scratch(launch_id))

    async def cut(self, launch_id: str) -> Cut:  # noqa: ARG002 -- the seam's signature
        """Do nothing: a process here keeps its network until it is ended, which is next."""
        return Cut(0, 0.0, why=NO_CUT)


async def wait_until_dead(scratch: Path, seconds: float = _DEAD_WITHIN) -> None:
    """Return when nothing of a run that used this folder is alive.

    Raises ``Retryable`` (code ``former_run_alive``) when that takes longer than ``seconds``.
    """
    with suppress(FileNotFoundError):
        os.close(await _locked(scratch, seconds))


async def _locked(scratch: Path, seconds: float = _DEAD_WITHIN) -> int:
    """Return a descriptor that holds the run's lock, which lasts until every copy is closed."""
    lock = os.open(scratch / "run.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(0.05)
                else:
                    return lock
    os.close(lock)
    raise Retryable(
        "former_run_alive", "processes of the former run of this launch still live", step="run"
    )


def _result(task: asyncio.Task[WarmProcess]) -> WarmProcess | None:
    return None if task.cancelled() or task.exception() else task.result()
