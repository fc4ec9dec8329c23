"""One run's scheduler: Luigi's stock ``Worker`` and ``Scheduler`` in a process of its own.

``python -I -m gateway.runs.driver FD``, with an empty environment. It knows node keys and numbers,
and nothing else: no parameter, no path, no credential, no pipeline code, no database. Order,
priorities, resources, retries, time-outs, disabled tasks and dynamic dependencies are Luigi's own
doing; what decides nothing is replaced in two places, private to Luigi 3.8.1, which is pinned, and
held by ``tests/contract/test_contract_luigi.py``. ``Worker._create_task_process``: here a started
task is a line to the gateway, and its end is a line back. ``Scheduler.count_pending``: see there.

There is one thread. Luigi waits on its result queue, so the queue is where the socket is read:
nothing touches the scheduler, which is not thread-safe, behind Luigi's back.

The process ends when the run has, or as soon as the gateway closes the socket.
"""

from __future__ import annotations

import logging
import queue
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import luigi
from luigi.configuration.cfg_parser import LuigiConfigParser
from luigi.execution_summary import LuigiRunResult
from luigi.parameter import Parameter
from luigi.scheduler import Scheduler
from luigi.task_status import DONE, FAILED, PENDING
from luigi.worker import Worker

from gateway.runs.protocol import Exited, Finished, Message, Plan, PlanNode, Settled
from gateway.runs.stand_ins import Attempt, LuigiTask, NoProcess
from gateway.runs.wire import Wire

_PROXY = "Proxy"  # the family under which Luigi's ``load_task`` finds the stand-ins
_FOREVER = 10 * 365 * 86_400  # seconds; for limits that only make sense in a shared scheduler
_WAIT = 0.25  # seconds between two looks at time-outs and retries; results never wait for it

Result = tuple[str, str, str, list[str], list[tuple[None, str, dict[str, str]]]]


class LoneScheduler(Scheduler):
    """Luigi's scheduler, for one worker."""

    def count_pending(self, worker: str) -> dict[str, Any]:
        """Count nothing.

        Luigi counts all pending and lists all running tasks each time a task begins or ends, for
        lines in its log and for workers that wait for each other's tasks: at 1,000 tasks that was
        two fifths of this process's time, and it grows with the square of their number.
        """
        return {
            "n_pending_tasks": 0,
            "n_unique_pending": 0,
            "n_pending_last_scheduled": 0,
            "worker_state": self._state.get_worker(worker).state,
            "running_tasks": [],
        }


class GatewayWorker(Worker):
    """Luigi's worker, with the one method replaced."""

    _task_result_queue: Any
    _get_work_response_history: Any

    def __init__(
        self, create: Callable[[LuigiTask], Attempt | NoProcess], inbox: Driver, **options: object
    ) -> None:
        """Replace the queue that needs a second process, and the history that never forgets.

        The history of answers to ``get_work`` serves only to tell what other workers ran; there
        are none, and kept whole it reached 1.4 GB for 10,000 tasks.
        """
        super().__init__(**options)
        self._task_result_queue.close()
        self._task_result_queue = inbox
        self._get_work_response_history = deque(maxlen=2)
        self._create = create

    def _create_task_process(self, task: LuigiTask) -> Attempt | NoProcess:
        return self._create(task)


class Driver:
    """One plan, from the first ``start`` to ``finished``. Also Luigi's result queue: see above."""

    def __init__(self, wire: Wire, plan: Plan) -> None:
        """Take over the conversation after ``plan``."""
        self._wire = wire
        self._plan = plan
        self._nodes: dict[str, PlanNode] = {}
        self._done: set[str] = set()
        self._failed: set[str] = set()  # whose last result was FAILED
        self._attempts: dict[str, Attempt] = {}
        self._numbers: dict[str, int] = {}
        self._results: deque[Result] = deque()
        self._register(plan.nodes)
        self._proxy = self._proxy_class()

    def run(self) -> Finished:
        """Let Luigi schedule the root and all that it needs; return what Luigi says of it.

        Luigi's worker returns when it has nothing to run and nothing to wait for, which a failed
        task's retry is not to it. Staying alive (``keep_alive``) would also wait for what can
        never come, such as missing external data; so it is asked again when a retry is due.
        """
        settings = self._plan.settings
        scheduler = LoneScheduler(
            prune_on_get_work=True,  # this is what makes a failed task pending again
            retry_delay=settings.retry_delay,
            retry_count=settings.retry_count,
            worker_disconnect_delay=_FOREVER,  # the worker is silent while tasks run
            remove_delay=_FOREVER,
            disable_window=_FOREVER,  # failures count however long a task takes
            disable_hard_timeout=_FOREVER,
            disable_persist=_FOREVER,
        )
        worker = GatewayWorker(
            self._create,
            self,
            scheduler=scheduler,
            worker_processes=settings.parallel_tasks,
            timeout=settings.task_timeout,
            wait_interval=_WAIT,
            wait_jitter=0.0,
            no_install_shutdown_handler=True,
            send_failure_email=False,
        )
        scheduled = worker.add(self._proxy(key=self._plan.root))
        while True:
            worker.run()
            tasks = scheduler.task_list(limit=False)
            delay = self._until_retry(tasks)
            if delay is None:
                break
            self._wire.receive(delay)  # nothing runs: only the end of the socket can come
        states = {key: str(task["status"]) for key, task in tasks.items()}
        return Finished(LuigiRunResult(worker, scheduled).status.name, states)

    # --- Luigi's result queue ----------------------------------------------------------------

    def put(self, result: Result) -> None:
        """Take a result that Luigi itself found: a time-out."""
        self._results.append(result)

    def get(self, timeout: float | None = None) -> Result:
        """Return the next result, reading the socket for it. Raises ``queue.Empty``."""
        if not self._results:
            for message in self._wire.receive(timeout):
                self._on(message)
            if not self._results:
                raise queue.Empty
        result = self._results.popleft()
        (self._failed.add if result[1] == FAILED else self._failed.discard)(result[0])
        return result

    def _on(self, message: Message) -> None:
        if not isinstance(message, Exited):
            raise SystemExit(1)
        attempt = self._attempts.get(message.node)
        if attempt is None or attempt.number != message.attempt or not attempt.is_alive():
            return  # Luigi's time-out came first
        attempt.close()
        self._register(message.new_nodes)
        if message.status == DONE:
            self._done.add(message.node)
        waits_for = [(None, _PROXY, {"key": key}) for key in message.new_deps]
        self._results.append((message.node, message.status, "", [], waits_for))

    # --- what Luigi asks of us ---------------------------------------------------------------

    def _create(self, task: LuigiTask) -> Attempt | NoProcess:
        key = task.task_id
        if self._nodes[key].kind == "wrapper":
            return NoProcess(task, self._settle)
        self._numbers[key] += 1
        timeout = self._plan.settings.task_timeout
        if task.worker_timeout is not None:
            timeout = task.worker_timeout
        attempt = Attempt(task, self._numbers[key], timeout, self._wire.send)
        self._attempts[key] = attempt
        return attempt

    def _settle(self, key: str) -> None:
        self._done.add(key)
        self._wire.send(Settled(key))
        self._results.append((key, DONE, "", [], []))

    def _register(self, nodes: tuple[PlanNode, ...]) -> None:
        for node in nodes:
            if node.kind != "possible" and node.key not in self._nodes:  # no task, or known
                self._nodes[node.key] = node
                self._numbers[node.key] = node.attempts
                if node.complete:
                    self._done.add(node.key)
        # Luigi walks chains of dependencies recursively, in its summary and when it raises
        # priorities; from Python 3.11 on that costs memory, not stack.
        sys.setrecursionlimit(10_000 + 4 * len(self._nodes))

    def _until_retry(self, tasks: dict[str, Any]) -> float | None:
        """Return the seconds until Luigi runs a failed task again, None when it never will."""
        states = [tasks[key] for key in self._failed if tasks[key]["status"] in (FAILED, PENDING)]
        if not states:
            return None
        if any(task["status"] == PENDING for task in states):
            return 0.0
        due = min(float(task["last_updated"]) for task in states) + self._plan.settings.retry_delay
        return max(0.0, due - time.time()) + 0.005  # past the moment: Luigi compares with <

    def _proxy_class(self) -> type:
        """Return the one task class of this process; instances differ by node key."""
        nodes, done = self._nodes, self._done

        class Proxy(luigi.Task):
            """Stands for one approved node: Luigi's questions, answered from the plan."""

            key = Parameter()

            def __init__(self, key: str) -> None:
                super().__init__(key=key)
                node = nodes[key]
                self.task_id = key  # Luigi's own id has 40 bits and would not tell tasks apart
                self.priority = node.priority
                self.resources = dict(node.resources)
                self.worker_timeout = node.worker_timeout
                self.disabled = node.disabled
                if node.kind == "external":
                    self.run = None  # how Luigi knows external data

            @property
            def retry_count(self) -> int | None:
                return nodes[self.key].retry_count

            def requires(self) -> list[luigi.Task]:
                return [Proxy(key=dep) for dep in nodes[self.key].deps if dep in nodes]

            def complete(self) -> bool:
                if self.key in done:
                    return True
                if nodes[self.key].complete is None:
                    raise RuntimeError("complete() raised")
                return False

        return Proxy


def forget_configuration() -> None:
    """Have Luigi work with its defaults and what it is told.

    It reads files in /etc/luigi and in the working directory; none may change what was approved.
    """
    LuigiConfigParser._config_paths = []  # noqa: SLF001 - Luigi has no other way
    LuigiConfigParser._instance = None  # noqa: SLF001 - same


def main() -> None:
    """Receive a plan, run it, say how it went."""
    logging.disable(logging.WARNING)
    forget_configuration()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        wire = Wire(connection)
        messages: list[Message] = []
        while not messages:
            messages = wire.receive(None)
        plan = messages[0]
        if not isinstance(plan, Plan):
            raise SystemExit(1)
        wire.send(Driver(wire, plan).run())


if __name__ == "__main__":
    main()
