"""What Luigi's worker takes for the process of a task.

Each has what ``Worker`` (Luigi 3.8.1) reads of a ``TaskProcess``; the contract test reads Luigi's
source to hold that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

from gateway.runs.protocol import Kill, Message, Start

LuigiTask: TypeAlias = Any  # Luigi ships no types


class Attempt:
    """What Luigi takes for a task's process: the attempt that the gateway runs for it.

    Has what ``Worker`` reads of a ``TaskProcess``; ``exitcode`` stays None because every end,
    a crash included, comes as a result.
    """

    use_multiprocessing = True  # Luigi then calls ``start`` and does not wait
    status_reporter = None
    exitcode = None

    def __init__(
        self, task: LuigiTask, number: int, timeout: int, send: Callable[[Message], None]
    ) -> None:
        """Luigi's clock runs from here, as in its own ``TaskProcess``."""
        self.task = task
        self.number = number
        self.worker_timeout = timeout
        self.timeout_time = time.time() + timeout if timeout else None
        self._send = send
        self._open = False

    def start(self) -> None:
        """Ask the gateway for a process."""
        self._open = True
        self._send(Start(self.task.task_id, self.number))

    def is_alive(self) -> bool:
        """Whether its result still counts."""
        return self._open

    def close(self) -> None:
        """The gateway has reported its end."""
        self._open = False

    def terminate(self) -> None:
        """Luigi's time-out: the gateway ends the process, and what it still says is void."""
        self._open = False
        self._send(Kill(self.task.task_id, self.number))


class NoProcess:
    """What Luigi takes for the process of a wrapper: done at once, here."""

    use_multiprocessing = False  # Luigi then calls ``run`` and goes on
    exitcode = None
    timeout_time = None

    def __init__(self, task: LuigiTask, finish: Callable[[str], None]) -> None:
        """``finish`` takes the node's key."""
        self._task = task
        self._finish = finish

    def run(self) -> None:
        """Finish."""
        self._finish(self._task.task_id)

    def is_alive(self) -> bool:
        """Never: what it has to say is in the queue."""
        return False
