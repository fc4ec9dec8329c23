"""The seam behind which tasks become processes: here, on a cluster, wherever.

An executor serves one run. It obeys ``run`` and ``kill`` and decides nothing; Luigi does, through
the driver. What it MUST hold, and ``tests/contract/test_contract_executor.py`` asks of every one:

1. ``run`` returns only when nothing of the attempt is alive any more, whatever ended it.
2. Two attempts of one task are never alive at once: a later one waits for the former one's end.
3. A task that declares no egress has no network; any other has the reach of its profile, or the
   executor says in ``warning`` that it enforces none.
4. What a task says is bounded and parsed strictly; nonsense is a failed attempt with a reason.
5. After a crash of the gateway, ``prepare`` waits until nothing of the old run is alive, or, where
   attempts outlive the gateway (``adopts``), ``run`` of the same attempt takes up what lives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gateway.canonical import Json
from gateway.cluster.pods import ReadOnlyVolume, SecretVariable
from gateway.model import Receipt, TaskGraph, TaskNode
from gateway.runs.protocol import AttemptStatus


@dataclass(frozen=True, slots=True)
class PodPlan:
    """What the pods of a run are made of, beside the graph; all of it was approved.

    ``profiles`` maps each egress set to its network profile. ``image`` by digest; empty for the
    installation's own. ``folder`` is where the image holds the pipeline, None when we do.
    ``workspace`` is the path in the installation's volume.
    """

    profiles: Mapping[tuple[str, ...], str]
    decision_id: str
    plan_digest: str
    image: str
    folder: str | None
    cpu: str
    memory: str
    workspace: str
    variables: tuple[SecretVariable, ...] = ()
    volumes: tuple[ReadOnlyVolume, ...] = ()


@dataclass(frozen=True, slots=True)
class RunOrder:
    """All that a run needs to know. ``receipt`` is the log's word that it was decided.

    ``bind`` is step 7: awaited once the run has its place, before any of its code is loaded; what
    it raises ends the run. ``done`` holds the keys that this launch finished before a restart,
    ``attempts`` the last attempt number of each task, ``declassifying`` the tasks that are never
    skipped as complete, ``alive`` those whose attempt may have outlived the former gateway.
    """

    launch_id: str
    graph: TaskGraph
    code_path: Path
    code_digest: str
    module: str
    workspace: Path
    scratch: Path
    receipt: Receipt
    bind: Callable[[], Awaitable[None]] | None = None
    pods: PodPlan | None = None
    done: frozenset[str] = frozenset()
    declassifying: frozenset[str] = frozenset()
    alive: frozenset[str] = frozenset()
    attempts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One task as its own process needs it: with all parameters in clear, so never logged."""

    node: TaskNode
    parameters: Mapping[str, str] = field(repr=False)
    deps: tuple[str, ...] = field(repr=False)  # Luigi's ids of the approved ones: to find drift
    graph: TaskGraph = field(repr=False)  # as it is now, with what was yielded so far

    @staticmethod
    def of(graph: TaskGraph, key: str) -> Assignment:
        """Return the task ``key`` of ``graph``."""
        node = graph.nodes[key]
        deps = (dep for dep in node.deps if graph.nodes[dep].kind != "possible")
        return Assignment(
            node=node,
            parameters=graph.clear_parameters(key),
            deps=tuple(graph.luigi_id(dep) for dep in deps),
            graph=graph,
        )

    def to_json(self) -> dict[str, Json]:
        """Return the task in clear, as the guest takes it: by a private way, never an argument."""
        return {
            "module": self.node.module,
            "family": self.node.family,
            "task_id": self.graph.luigi_id(self.node.key),
            "parameters": dict(self.parameters),
            "deps": list(self.deps),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. ``yields`` is raw and unapproved; it comes with ``PENDING`` only."""

    status: AttemptStatus
    explanation: str = ""
    outputs: tuple[str, ...] = ()
    yields: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running task said: a percentage, a message or an address to follow it."""

    percent: int | None = None
    message: str | None = None
    tracking_url: str | None = None


class Executor(Protocol):
    """Runs the tasks of one run."""

    enforcement: str
    """Who enforces network policy on the tasks: ``none``, ``cilium``."""

    warning: str
    """What an operator must know about that; empty when nothing is missing."""

    adopts: bool
    """Whether attempts outlive the gateway, and are taken up again after its restart."""

    @property
    def layers(self) -> Mapping[str, Json]:
        """The walls between a task and the machine, after ``prepare``."""
        ...

    async def prepare(self, order: RunOrder) -> None:
        """Make ready. Raises ``GatewayError`` when the code cannot be run at all."""
        ...

    async def probe(self, tasks: Sequence[Assignment]) -> Mapping[str, bool | str]:
        """Ask each task's ``complete()`` with its own reach: its answer, or what it raised."""
        ...

    async def run(
        self, task: Assignment, attempt: int, report: Callable[[Progress], None]
    ) -> Outcome:
        """Run one attempt to its end. Never raises for what the task did."""
        ...

    async def kill(self, key: str, attempt: int) -> None:
        """End an attempt, surely and soon; ``run`` then returns. One that has ended is ignored."""
        ...

    def settled(self, key: str, attempt: int) -> None:
        """Forget an attempt whose outcome is on record: what was kept of it may go."""
        ...

    def leave(self) -> None:
        """Let what runs live on, where it ``adopts``; each ``run`` then raises ``StoppedError``."""
        ...

    async def close(self) -> None:
        """End everything, and return when nothing of the run is alive."""
        ...


class Executors(Protocol):
    """Makes an executor for each run, and looks after what may outlive them."""

    adopts: bool

    def executor(self, launch_id: str) -> Executor:
        """Return a new one, for the run of a launch."""
        ...

    async def clear(self, launch_id: str) -> None:
        """End what lives of a launch that nobody drives; return when nothing does."""
        ...

    async def cut(self, launch_id: str) -> Cut:
        """Take the network away from what runs of a launch, at once and for good.

        Nothing of the launch is started from the call on. Raises nothing for what cannot be cut:
        that is counted in the answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """How a cut went: how many tasks lost their network, and after how long the last of them.

    ``left`` have it still. ``why`` says why, or what an operator should know besides.
    """

    tasks: int
    seconds: float
    left: int = 0
    why: str = ""
