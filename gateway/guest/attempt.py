"""One attempt, in a process of its own: rebuild exactly the approved task, run it, say how it went.

The checks here find drift (a task that depends on the clock, on files, on the environment). They
guard nothing against a hostile pipeline, which could skip them; that is what the walls are for.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import luigi
from luigi.task import DynamicRequirements, flatten
from luigi.worker import DequeQueue, TaskProcess

from .failure import GuestError, describe
from .names import Task, Value
from .pinned import load_module
from .walk import Walk

_EXPLANATION = 8_192
_TEXT = 2_048
_OUTPUTS = 64
_PENDING, _FAILED = "PENDING", "FAILED"


class Work:
    """What an attempt needs to know of the launch; made in the warm process, used in children."""

    def __init__(self, spec: dict[str, Any], tree: str) -> None:
        self._spec = spec
        self._tree = tree

    def do(self, operation: str, payload: int, log: int, report: int) -> None:
        """Do one operation in this process, which is the attempt's own."""
        os.dup2(log, 1, inheritable=True)
        os.dup2(log, 2, inheritable=True)
        os.close(log)
        random.seed()
        with os.fdopen(payload, "rb") as stream:
            stream.seek(0)
            order = json.load(stream)
        reporter = Report(report)
        log_to_stderr()
        if operation == "run":
            reporter.line({"result": self.run(order["node"], reporter)})
        else:
            reporter.line({"complete": [self.probe(node) for node in order["nodes"]]})
        sys.stdout.flush()
        sys.stderr.flush()

    def _walk(self) -> Walk:
        return Walk(self._tree, self._spec["max_nodes"], self._spec["max_edges"])

    def _rebuild(self, node: dict[str, Any]) -> Task:
        """Return the approved task; raises ``GuestError`` when it comes out different."""
        load_module(node["module"], self._tree)
        walk = self._walk()
        task = walk.build(node["family"], node["parameters"])
        now = walk.describe(task)
        for what, approved, rebuilt in (
            ("module", node["module"], now["module"]),
            ("family", node["family"], now["family"]),
            ("parameters", node["parameters"], now["parameters"]),
            ("task id", node["task_id"], now["task_id"]),
        ):
            if approved != rebuilt:
                raise GuestError("drift", f"the {what} of {node['family']} changed since approval")
        return task

    def run(self, node: dict[str, Any], reporter: Report | Silence) -> dict[str, Any]:
        """Run one task; return its result, as the package's docstring has it."""
        try:
            task = self._rebuild(node)
            required = {dep.task_id for dep in task.deps()}
        except Exception as error:  # noqa: BLE001 - a pipeline may raise anything
            return _result(_FAILED, _because(error))
        if required != set(node["deps"]):
            return _result(_FAILED, f"{node['family']} requires other tasks than were approved")
        yielded: list[Any] = []
        if task.run is not None:
            task.run = _remembering(task.run, yielded)
        results: Any = DequeQueue()
        process = TaskProcess(
            task,
            "sluice",
            results,
            reporter,
            check_unfulfilled_deps=False,
            check_complete_on_run=_can_tell(task),
        )
        process.run()
        _, status, explanation, _, _ = results.get()
        result = _result(status, explanation)
        if status == _PENDING:
            try:
                walk = self._walk()
                roots = walk.add(flatten(yielded[-1]))
                result["yields"] = {"roots": roots, "nodes": walk.records}
            except GuestError as failure:
                return _result(_FAILED, failure.message)
        else:
            result["outputs"] = list(_paths(task))
        return result

    def probe(self, node: dict[str, Any]) -> bool | str:
        """Ask one task's ``complete()``; return its answer, or why there is none."""
        try:
            return bool(self._rebuild(node).complete())
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a pipeline may raise anything
            return _because(error)


class Report:
    """Luigi's status reporter, as lines on a pipe instead of calls to a scheduler."""

    scheduler_messages = None

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def line(self, value: dict[str, Any]) -> None:
        """Write one JSON line, whole."""
        data = json.dumps(value).encode() + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]

    def update_progress_percentage(self, percentage: float) -> None:
        """Pass on ``task.set_progress_percentage``."""
        self.line({"progress": max(0, min(100, int(percentage)))})

    def update_status_message(self, message: object) -> None:
        """Pass on ``task.set_status_message``."""
        self.line({"message": str(message)[:_TEXT]})

    def update_tracking_url(self, tracking_url: object) -> None:
        """Pass on ``task.set_tracking_url``."""
        self.line({"tracking_url": str(tracking_url)[:_TEXT]})

    def decrease_running_resources(self, decrease_resources: object) -> None:
        """Do nothing: a run's resources were approved as they are, and stay held to the end."""


class Silence:
    """Luigi's status reporter where nobody can be told before the end."""

    scheduler_messages = None

    def update_progress_percentage(self, percentage: float) -> None:
        """Say nothing."""

    def update_status_message(self, message: object) -> None:
        """Say nothing."""

    def update_tracking_url(self, tracking_url: object) -> None:
        """Say nothing."""

    def decrease_running_resources(self, decrease_resources: object) -> None:
        """Do nothing; see ``Report``."""


def log_to_stderr() -> None:
    """Send Luigi's log to the attempt's own."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    logging.getLogger("luigi-interface").addFilter(_name_tasks)


def _remembering(run: Callable[[], Any], yielded: list[Any]) -> Callable[[], Any]:
    """Wrap ``run`` so that what it yielded last is known: Luigi's result drops private values."""

    def wrapped() -> Value:
        made = run()
        return _replay(made, yielded) if isinstance(made, Generator) else made

    return wrapped


def _replay(made: Generator[Any, Any, Any], yielded: list[Any]) -> Iterator[Any]:
    answer = None
    while True:
        try:
            requirement = made.send(answer)
        except StopIteration:
            return
        if isinstance(requirement, DynamicRequirements):
            yielded[:] = [requirement.requirements]
        else:
            yielded[:] = [requirement]
        answer = yield requirement


def _name_tasks(record: logging.LogRecord) -> bool:
    """Let Luigi's log lines name a task's family only: they spell out every parameter."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            item.get_task_family() if isinstance(item, luigi.Task) else item for item in record.args
        )
    return True


def _can_tell(task: Task) -> bool:
    """Whether ``complete()`` says anything: without outputs Luigi's own is always False.

    Luigi's worker lets such a task end as done; so do we. Every other one has to be complete.
    """
    if type(task).complete is not luigi.Task.complete:
        return True
    try:
        return bool(flatten(task.output()))
    except Exception:  # noqa: BLE001 - a pipeline may raise anything; then complete() shows it
        return True


def _paths(task: Task) -> Iterable[str]:
    try:
        targets = flatten(task.output())
    except Exception:  # noqa: BLE001 - a pipeline may raise anything
        return []
    paths = (getattr(target, "path", None) for target in targets[:_OUTPUTS])
    return [path[:_TEXT] for path in paths if isinstance(path, str)]


def _result(status: str, explanation: object) -> dict[str, Any]:
    text = "" if explanation is None else str(explanation)
    if len(text) > _EXPLANATION:  # whole lines: half a masked value could not be recognised
        text = text[-_EXPLANATION:].partition("\n")[2]
    return {"status": status, "explanation": text, "outputs": [], "yields": None}


def _because(error: BaseException) -> str:
    return error.message if isinstance(error, GuestError) else describe(error)
