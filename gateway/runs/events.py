"""What a run tells: each event is awaited before the run's next act, so nothing acts unlogged.

``TaskProgress`` alone is fleeting. Texts in ``explanation``, ``message`` and ``tracking_url``, and
all ``outputs``, come from pipeline code: bounded in length, data to be escaped, never more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.canonical import Json
from gateway.model import TaskNode
from gateway.runs.protocol import AttemptStatus

RunStatus = Literal["succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The code is in its sandbox and was asked what is complete; no task has run yet."""

    launch_id: str
    layers: Mapping[str, Json]
    skipped: tuple[str, ...]  # keys of the tasks that are complete already


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """An attempt is about to get its process; attempts of one task are numbered from 1."""

    launch_id: str
    key: str
    attempt: int


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """What a running task says of itself. Shown, and forgotten."""

    launch_id: str
    key: str
    attempt: int
    percent: int | None = None
    message: str | None = None
    tracking_url: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the form that watchers get: what was said, and nothing else."""
        said = {"percent": self.percent, "message": self.message, "tracking_url": self.tracking_url}
        return {
            "task": self.key,
            "attempt": self.attempt,
            **{name: value for name, value in said.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class TaskFinished:
    """An attempt has ended and nothing of it is alive.

    ``PENDING``: it yielded tasks, waits for them, and will run again from its start (Luigi's own
    meaning of dynamic dependencies). Attempt 0 is a wrapper, which has no process.
    """

    launch_id: str
    key: str
    attempt: int
    status: AttemptStatus
    explanation: str = ""
    outputs: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskRefused:
    """A task yielded something that was not approved; its attempt counts as failed."""

    launch_id: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class NodesAdded:
    """Tasks that were approved as a possibility have become known."""

    launch_id: str
    yielder: str
    nodes: tuple[TaskNode, ...]


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run has ended: why, in one sentence, and how many tasks stand where.

    ``counts`` has ``done``, ``skipped``, ``failed`` and ``not_run``; ``outputs`` are the root's.
    """

    launch_id: str
    status: RunStatus
    reason: str
    outputs: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


RunEvent = (
    RunStarted | TaskStarted | TaskProgress | TaskFinished | TaskRefused | NodesAdded | RunFinished
)
