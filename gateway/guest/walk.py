"""From tasks to records, breadth first, each task once however many paths lead to it.

Asks ``deps()``, which is what Luigi's worker asks (``_requires`` included). Never asks
``complete()`` and never runs anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import luigi

from . import declared, tasks
from .failure import GuestError, wrap
from .names import Task, TaskClass, Value

Record = dict[str, Any]
_Identity = tuple[str, str, tuple[tuple[str, str], ...]]


class Walk:
    """One graph under construction. Raises ``GuestError`` as soon as a bound is passed."""

    def __init__(self, tree: str, max_nodes: int, max_edges: int) -> None:
        self.records: list[Record] = []
        self._families = tasks.Families(tree)
        self._tree = tree
        self._max_nodes = max_nodes
        self._max_edges = max_edges
        self._edges = 0
        self._by_object: dict[int, int] = {}
        self._by_identity: dict[_Identity, int] = {}
        self._possible: dict[TaskClass, int] = {}
        self._queue: deque[tuple[int, Task]] = deque()
        self._kept: list[Task] = []  # so that no id() is used twice

    def build(self, family: str, texts: dict[str, str]) -> Task:
        """Make one task of texts; see ``tasks.Families.build``."""
        return self._families.build(family, texts)

    def describe(self, task: Task) -> Record:
        """Return what identifies one task, its parameters in clear and without privacy."""
        texts = self._families.texts(task)
        return {
            "module": task.task_module,
            "family": task.get_task_family(),
            "task_id": task.task_id,
            "parameters": {name: text for name, (text, _) in texts.items()},
        }

    def add(self, roots: Iterable[Task]) -> list[int]:
        """Add tasks and all that they require; return the indices of ``roots``."""
        indices = [self._place(root, "a yield") for root in roots]
        while self._queue:
            index, task = self._queue.popleft()
            record = self.records[index]
            deps = list(self._required(task, record["family"]))
            deps += self._yielded(task, record)
            record["deps"] = sorted(set(deps))
            self._edges += len(record["deps"])
            if self._edges > self._max_edges:
                raise GuestError(
                    "too_many_edges", f"the graph has more than {self._max_edges} dependencies"
                )
        return indices

    def _required(self, task: Task, family: str) -> list[int]:
        what = f"{family}.requires()"
        try:
            required = task.deps()
        except BaseException as error:
            raise wrap("requires_failed", what, error, self._tree) from error
        return [self._place(item, what) for item in required]

    def _place(self, task: Task, what: str) -> int:
        index = self._by_object.get(id(task))
        if index is not None:
            return index
        if not isinstance(task, luigi.Task):
            raise GuestError("requires_failed", f"{what} gave a {type(task).__name__}, not a task")
        family = task.get_task_family()
        if not task.initialized():
            raise GuestError(
                "task_invalid", f"{family}.__init__ does not call super().__init__(*args, **kwargs)"
            )
        texts = self._families.texts(task)
        plain = tuple((name, text) for name, (text, _) in texts.items())
        identity = (task.task_module, family, plain)
        index = self._by_identity.get(identity)
        if index is None:
            index = self._append(
                module=task.task_module,
                family=family,
                task_id=task.task_id,
                kind=tasks.kind(task),
                parameters={
                    name: {"value": text, "private": private}
                    for name, (text, private) in texts.items()
                },
                egress=declared.egress(task, family, self._tree),
                **declared.scheduling(task, family, self._tree),
            )
            self._by_identity[identity] = index
            self._queue.append((index, task))
        self._by_object[id(task)] = index
        self._kept.append(task)
        return index

    def _yielded(self, owner: Task | TaskClass, record: Record) -> list[int]:
        """Add the families that ``owner`` may yield; one node stands for all tasks of a family."""
        pairs = declared.may_yield(owner, record["family"], self._tree)
        record["may_yield"] = [[cls.get_task_family(), limit] for cls, limit in pairs]
        return [self._place_possible(cls) for cls, _ in pairs]

    def _place_possible(self, cls: TaskClass) -> int:
        index = self._possible.get(cls)
        if index is None:
            family = cls.get_task_family()
            index = self._append(
                module=cls.__module__,
                family=family,
                task_id="",
                kind="possible",
                parameters={},
                egress=declared.egress(cls, family, self._tree),
                priority=0,
                resources={},
                retry_count=None,
                worker_timeout=None,
                disabled=False,
            )
            self._possible[cls] = index  # before its own: a family may yield itself
            deps = set(self._yielded(cls, self.records[index])) - {index}
            self.records[index]["deps"] = sorted(deps)
            self._edges += len(deps)
        return index

    def _append(self, **fields: Value) -> int:
        if len(self.records) >= self._max_nodes:
            raise GuestError("too_many_tasks", f"the graph has more than {self._max_nodes} tasks")
        self.records.append({"may_yield": [], "deps": [], **fields})
        return len(self.records) - 1
