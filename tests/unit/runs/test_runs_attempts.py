"""How attempts are begun, where no whole run is needed to see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import IntegrityViolation
from gateway.model import Receipt, TaskGraph, TaskNode
from gateway.runs.attempts import Attempts
from gateway.runs.book import Book
from gateway.runs.events import RunEvent
from gateway.runs.executor import RunOrder
from gateway.runs.halt import Halt
from gateway.runs.local import UnsafeLocalExecutor
from gateway.runs.protocol import Exited
from gateway.runs.teller import Teller
from gateway.settings import RunSettings, SandboxSettings


class Stage:
    """The attempts of a run that consists of a task, a wrapper and a possible task."""

    def __init__(self, folder: Path, done: frozenset[str] = frozenset()) -> None:
        self.told: list[RunEvent] = []
        nodes = [
            TaskNode(key=kind, module="m", family=kind, task_id=kind, kind=kind, parameters={})
            for kind in ("task", "wrapper", "possible")
        ]
        order = RunOrder(
            launch_id="l",
            graph=TaskGraph("task", {node.key: node for node in nodes}, "c", "d"),
            code_path=folder / "code",
            code_digest="c",
            module="m",
            workspace=folder / "workspace",
            scratch=folder / "scratch",
            receipt=Receipt(1, "e", "h", "v"),
            done=done,
        )
        halt = Halt()
        self.attempts = Attempts(
            Book(order, 2),
            UnsafeLocalExecutor(SandboxSettings(), RunSettings()),
            Teller("l", self._observe, halt),
            halt,
            lambda *_: ([], [], {}),
            0,
        )

    async def _observe(self, event: RunEvent) -> None:
        self.told.append(event)


async def test_done_already(tmp_path: Path) -> None:
    """A task that was done when Luigi timed it out is not run again; Luigi hears that it is."""
    stage = Stage(tmp_path, done=frozenset({"task"}))
    heard: list[Exited] = []
    stage.attempts.begin("task", 2, heard.append)
    await stage.attempts.finish()
    assert heard == [Exited("task", 2, "DONE")]
    assert stage.told == []


@pytest.mark.parametrize("key", ["wrapper", "possible", "unknown"])
async def test_not_a_task(tmp_path: Path, key: str) -> None:
    """Only a task of the graph can be started, whatever the driver says."""
    stage = Stage(tmp_path)
    with pytest.raises(IntegrityViolation):
        stage.attempts.begin(key, 1, lambda _: None)
    assert stage.told == []


async def test_the_same_attempt_twice(tmp_path: Path) -> None:
    """An attempt that is under way is not started again."""
    stage = Stage(tmp_path)
    heard: list[Exited] = []
    stage.attempts.begin("task", 1, heard.append)
    with pytest.raises(IntegrityViolation):
        stage.attempts.begin("task", 1, heard.append)
    await stage.attempts.finish()
    assert heard == [Exited("task", 1, "FAILED")]  # the executor was never prepared
