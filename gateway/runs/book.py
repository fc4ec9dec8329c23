"""What one run knows of its tasks: the plan it gives to a driver, and the verdict at the end.

Pure bookkeeping, no I/O. A driver holds nothing that is not here, so a dead one is rebuilt from
it: done stays done, attempts keep their numbers, and failures keep counting against the retries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from gateway.model import TaskNode
from gateway.runs.events import RunStatus
from gateway.runs.executor import Assignment, Outcome, RunOrder
from gateway.runs.protocol import Finished, Plan, PlanNode, PlanSettings
from gateway.runs.report import MAX_OUTPUT_BYTES, within

_NAMED = 3  # tasks that a reason names; the others are counted
_REASON = 300  # characters of one task's reason
_SUCCESS = frozenset({"SUCCESS", "SUCCESS_WITH_RETRY"})
_SECRET = 4  # characters; cutting shorter values out of texts hides nothing and spoils everything
_MASKED = "hmac-sha256:"


class Book:
    """The state of one run, by node key."""

    def __init__(self, order: RunOrder, retry_count: int) -> None:
        """``retry_count`` counts the failures after which Luigi disables a task."""
        self.graph = order.graph
        self.done = set(order.done)  # finished by this launch, now or before a restart
        self.skipped: set[str] = set()  # complete before the run began
        self.failed: dict[str, str] = {}  # last outcome was a failure: why
        self._unclear: dict[str, str] = {}  # complete() raised: what
        self._never_asked = order.declassifying | order.alive
        self._attempts = Counter(order.attempts)
        self._failures: Counter[str] = Counter()
        self._outputs: dict[str, tuple[str, ...]] = {}
        self._retry_count = retry_count
        self._idle_yields: set[str] = set()

    # --- completeness ------------------------------------------------------------------------

    def questions(self, nodes: Iterable[TaskNode]) -> list[Assignment]:
        """Return those of ``nodes`` whose ``complete()`` has to be asked.

        A wrapper is complete when what it wraps is. A declassifying task is never skipped: what
        it is trusted to do must have been done by this launch. Nor is one that may be running: it
        is waited for.
        """
        return [
            Assignment.of(self.graph, node.key)
            for node in nodes
            if node.kind in ("task", "external")
            and node.key not in self.done
            and node.key not in self._never_asked
        ]

    def answer(self, nodes: Iterable[TaskNode], answers: Mapping[str, bool | str]) -> None:
        """Take what ``complete()`` said, and work out the wrappers; dependencies come first."""
        self.skipped.update(key for key, said in answers.items() if said is True)
        self._unclear.update(
            (key, self.clean(key, said)) for key, said in answers.items() if isinstance(said, str)
        )
        for node in nodes:
            if node.kind == "wrapper" and node.key not in self.done:
                real = [dep for dep in node.deps if self.graph.nodes[dep].kind != "possible"]
                if all(self.complete(dep) for dep in real):
                    self.skipped.add(node.key)

    def complete(self, key: str) -> bool:
        """Whether Luigi may take the task as complete."""
        return key in self.done or key in self.skipped

    def is_wrapper(self, key: str) -> bool:
        """Whether there is such a node, and it needs no process."""
        return key in self.graph.nodes and self.graph.nodes[key].kind == "wrapper"

    # --- attempts ----------------------------------------------------------------------------

    def started(self, key: str, attempt: int) -> None:
        """An attempt begins."""
        self._attempts[key] = attempt

    def ended(self, key: str, outcome: Outcome) -> None:
        """An attempt has ended."""
        self.failed.pop(key, None)
        if outcome.status == "DONE":
            self.done.add(key)
            self._outputs[key] = outcome.outputs
        elif outcome.status == "FAILED":
            self.failed[key] = outcome.explanation
            self._failures[key] += 1

    def grow(self, nodes: Iterable[TaskNode], sealed: Mapping[str, Mapping[str, str]]) -> None:
        """Add tasks that were approved as a possibility and are known now."""
        self.graph = self.graph.grown(nodes, sealed)

    def needed_by(self, keys: Iterable[str]) -> list[TaskNode]:
        """Return some nodes and all that they depend on."""
        found = dict.fromkeys(keys)
        ahead = list(found)
        while ahead:
            fresh = [dep for dep in self.graph.nodes[ahead.pop()].deps if dep not in found]
            found.update(dict.fromkeys(fresh))
            ahead += fresh
        return [self.graph.nodes[key] for key in found]

    def going_in_circles(self, key: str, waits_for: Iterable[str]) -> bool:
        """Whether the task yields, for the second time, only tasks that are complete.

        Luigi would run it again at once, for ever: it must be wrong about its dependencies.
        """
        if not all(self.complete(dep) for dep in waits_for):
            self._idle_yields.discard(key)
            return False
        again = key in self._idle_yields
        self._idle_yields.add(key)
        return again

    # --- the plan ----------------------------------------------------------------------------

    def plan(self, settings: PlanSettings) -> Plan:
        """Return everything that a driver needs, as things stand now."""
        return Plan(self.graph.root, self.plan_nodes(self.graph.nodes.values()), settings)

    def plan_nodes(self, nodes: Iterable[TaskNode]) -> tuple[PlanNode, ...]:
        """Return the plan's form of some nodes."""
        return tuple(self._plan_node(node) for node in nodes)

    def _plan_node(self, node: TaskNode) -> PlanNode:
        left = node.retry_count
        if failures := self._failures[node.key]:
            left = (self._retry_count if left is None else left) - failures
        return PlanNode(
            key=node.key,
            kind=node.kind,
            deps=node.deps,
            complete=None if node.key in self._unclear else self.complete(node.key),
            priority=node.priority,
            resources=node.resources,
            retry_count=left,
            worker_timeout=node.worker_timeout,
            disabled=node.disabled or (bool(failures) and left is not None and left <= 0),
            attempts=self._attempts[node.key],
        )

    # --- the verdict -------------------------------------------------------------------------

    def verdict(self, finished: Finished) -> tuple[RunStatus, str]:
        """Return how the run went, and why in one sentence.

        Luigi's word decides, with one exception: it calls a run whose root is disabled a success.
        """
        if finished.status in _SUCCESS and self.complete(self.graph.root):
            if self.graph.root in self.skipped:
                return "succeeded", f"nothing to do: {self.name(self.graph.root)} is complete"
            return "succeeded", _count(self.counts()["done"], "task") + " done"
        reasons = [
            *self._why("failed", "task", self.failed),
            *self._why("cannot be judged complete or not", "task", self._met(finished, "UNKNOWN")),
            *self._why("disabled", "task", self._met(finished, "DISABLED")),
            *self._why("missing", "external data", self._missing(finished)),
        ]
        if not reasons:
            reasons = self._why("never started", "task", self._met(finished, "PENDING"))
        return "failed", "; ".join(reasons) or f"Luigi ended the run with {finished.status}"

    def counts(self) -> dict[str, int]:
        """Return how many tasks stand where."""
        real = {key for key, node in self.graph.nodes.items() if node.kind != "possible"}
        done, skipped = self.done & real, (self.skipped - self.done) & real
        failed = (self.failed.keys() - self.done) & real
        return {
            "done": len(done),
            "skipped": len(skipped),
            "failed": len(failed),
            "not_run": len(real - done - skipped - failed),
        }

    def outputs(self) -> tuple[str, ...]:
        """Return what the root wrote; where it is a wrapper, what the tasks below it wrote."""
        found: dict[str, None] = {}
        ahead, seen = [self.graph.root], {self.graph.root}
        while ahead:
            key = ahead.pop(0)
            found.update(dict.fromkeys(self._outputs.get(key, ())))
            if self.graph.nodes[key].kind == "wrapper":
                fresh = [dep for dep in self.graph.nodes[key].deps if dep not in seen]
                seen.update(fresh)
                ahead += fresh
        return within(found, MAX_OUTPUT_BYTES)

    def _met(self, finished: Finished, state: str) -> dict[str, str]:
        met = [key for key, value in finished.states.items() if value == state]
        known = [key for key in met if key in self.graph.nodes and key not in self.failed]
        return {key: self._unclear.get(key, self._hindrance(key)) for key in known}

    def _missing(self, finished: Finished) -> dict[str, str]:
        pending = self._met(finished, "PENDING")
        return {
            key: why for key, why in pending.items() if self.graph.nodes[key].kind == "external"
        }

    def _hindrance(self, key: str) -> str:
        """What Luigi never grants: capacity of a resource is 1 where nobody configured it."""
        much = [name for name, count in self.graph.nodes[key].resources.items() if count > 1]
        return f"needs more than the 1 there is of {', '.join(much)}" if much else ""

    def _why(self, verb: str, noun: str, tasks: Mapping[str, str]) -> list[str]:
        if not tasks:
            return []
        named = [f"{self.name(key)}{_brief(why)}" for key, why in list(tasks.items())[:_NAMED]]
        if more := len(tasks) - _NAMED:
            named += [f"and {more} more"] if more > 0 else []
        head = f"{noun} {verb}" if noun == "external data" else f"{_count(len(tasks), noun)} {verb}"
        return [f"{head}: {', '.join(named)}"]

    # --- texts -------------------------------------------------------------------------------

    def name(self, key: str) -> str:
        """Return a name for people: the family, with the parameters that may be shown."""
        node = self.graph.nodes[key]
        shown = [
            f"{name}={value[:40]}"
            for name, value in node.parameters.items()
            if not value.startswith(_MASKED)
        ]
        return f"{node.family}({', '.join(shown[:_NAMED])})" if shown else node.family

    def clean(self, key: str, text: str) -> str:
        """Cut masked values of the task and its dependencies out of a text that it wrote.

        Luigi's ids of such tasks are sealed with the values, and go too.
        """
        sealed = self.graph.sealed
        values = {v for k in (key, *self.graph.nodes[key].deps) for v in sealed.get(k, {}).values()}
        for value in sorted(values, key=len, reverse=True):
            if len(value) >= _SECRET:
                text = text.replace(value, "***")
        return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _brief(text: str) -> str:
    """The last line says it: what stands above it is a traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f" ({lines[-1][:_REASON]})" if lines else ""
