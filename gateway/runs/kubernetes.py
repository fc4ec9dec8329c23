"""Runs each attempt in a pod of its own, whose network profile was in force before it.

The pod gets exactly its task and gives back a message of at most 4,096 bytes. Its name is made of
launch, task and attempt, so the same attempt is the same pod, whoever asks: after a restart it is
adopted. It is deleted only when its outcome is on record.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.canonical import Json
from gateway.cluster.delivery import Deliveries
from gateway.cluster.ending import PodEnd
from gateway.cluster.marks import (
    DECISION_ID,
    LAUNCH_ID,
    PLAN_DIGEST,
    PROBE,
    TASK,
    pod_name,
)
from gateway.cluster.message import PROBE_MOST, MessageError, known_for, parse_probe, parse_run
from gateway.cluster.patience import Patience
from gateway.cluster.pods import PodOrder, PodShape
from gateway.cluster.running import LeftRunning, Pods
from gateway.errors import Misconfigured, Retryable
from gateway.model import TaskGraph
from gateway.runs.executor import Assignment, Cut, Outcome, PodPlan, Progress, RunOrder
from gateway.runs.halt import StoppedError
from gateway.runs.report import named
from gateway.settings import ClusterSettings, RunSettings, SandboxSettings

_LAYERS: Mapping[str, Json] = {
    "pod": True,
    "read_only_root": True,
    "no_privilege_escalation": True,
    "seccomp_runtime_default": True,
    "no_service_account_token": True,
    "network_profile": True,
}
_PROBE_NUMBERS = 10**9
_QUESTION_BYTES = 800_000  # a Secret holds 1 MiB
_QUESTION_SECONDS = 3600.0  # that all complete() of one pod may take


class KubernetesExecutor:
    """The pods of one run."""

    enforcement = "cilium"
    warning = ""
    adopts = True

    def __init__(
        self,
        launch_id: str,
        pods: Pods,
        deliveries: Deliveries,
        cluster: ClusterSettings,
        runs: RunSettings,
        sandbox: SandboxSettings,
    ) -> None:
        """``pods`` and ``deliveries`` are shared by all runs."""
        self._launch_id = launch_id
        self._pods = pods
        self._deliveries = deliveries
        self._cluster = cluster
        self._runs = runs
        self._sandbox = sandbox
        self._order: RunOrder | None = None
        self._shape: PodShape | None = None
        self._left = False
        self._closed = False
        self._ended: set[tuple[str, int]] = set()  # attempts that may not begin any more
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._questions: dict[str, asyncio.Task[PodEnd]] = {}  # by pod; never cancelled

    @property
    def layers(self) -> Mapping[str, Json]:
        """What stands between a task and its node."""
        return {**_LAYERS, "canary": bool(self._shape and self._shape.canary)}

    async def prepare(self, order: RunOrder) -> None:
        """Bring code and entry point to the cluster, and end old questions of this launch."""
        plan = _plan(order)
        (order.scratch / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
        tree = None if plan.folder else order.code_path
        shape = await Patience(self._cluster.patience_seconds, step="run").call(
            lambda: self._deliveries.shape(plan.image, tree, cpu=plan.cpu, memory=plan.memory)
        )
        claim = self._cluster.workspace_claim
        self._shape = replace(
            shape,
            workspace=(claim, plan.workspace) if claim else None,
            variables=plan.variables,
            volumes=plan.volumes,
        )
        self._order = order
        await self._pods.clear(name for name, task in self._mine() if task == PROBE)

    async def probe(self, tasks: Sequence[Assignment]) -> Mapping[str, bool | str]:
        """Ask ``complete()``, in one pod for each profile."""
        plan = _plan(self._order)
        by_profile: defaultdict[str, list[Assignment]] = defaultdict(list)
        for task in tasks:
            by_profile[plan.profiles[task.node.egress]].append(task)
        answers: dict[str, bool | str] = {}
        asked = (
            self._probe(profile, some)
            for profile, all_ in by_profile.items()
            for some in _pieces(all_)
        )
        for said in await asyncio.gather(*asked):
            answers.update(said)
        return answers

    async def run(
        self,
        task: Assignment,
        attempt: int,
        report: Callable[[Progress], None],  # noqa: ARG002 -- a pod has no way to say it
    ) -> Outcome:
        """Run one attempt to its end, after the end of any earlier one of the same task."""
        key = task.node.key
        async with self._one_at_a_time[key]:
            if not self._left:
                await self._end_others(key, attempt)
            if self._left:  # then another attempt may live: this one must not begin
                raise StoppedError
            if self._closed or (key, attempt) in self._ended:
                return Outcome("FAILED", "it was ended before it began")
            known, families = known_for(self._approved(task), key)
            nodes = task.graph.nodes
            payload: dict[str, Json] = {
                "mode": "run",
                "node": task.to_json(),
                "known": [task.graph.luigi_id(item) for item in known],
                "families": [
                    [nodes[item].module, nodes[item].family, list(nodes[item].egress)]
                    for item in families
                ],
            }
            # Luigi's ids of other tasks spell parameters out, and what it yields is not known yet.
            masked = bool(task.graph.sealed or families)
            order = self._pod(key, attempt, task.node.egress, payload, masked=masked)
            end = await self._end(order, f"{key}.{attempt}")
            if end.failure and not end.message:
                return Outcome("FAILED", end.failure)
            try:
                said = parse_run(end.message, task.graph, known, families)
            except MessageError as error:
                return Outcome("FAILED", end.failure or str(error))
            if end.failure and said.status != "FAILED":
                return Outcome("FAILED", end.failure)
            return Outcome(said.status, said.explanation, said.outputs, said.yields)

    async def kill(self, key: str, attempt: int) -> None:
        """Delete the attempt's pod; ``run`` returns when it is gone, and begins none after."""
        self._ended.add((key, attempt))
        await self._pods.stop(self._name(key, attempt), "it was ended")

    def settled(self, key: str, attempt: int) -> None:
        """Delete the pod, whose outcome is on record."""
        self._pods.discard(self._name(key, attempt))

    def leave(self) -> None:
        """Let the pods live: the next gateway adopts them."""
        self._left = True
        self._pods.leave(self._launch_id)

    async def close(self) -> None:
        """Delete all pods of the launch and return when none is left, unless they were left."""
        self._closed = True
        for name in list(self._questions):
            await self._pods.stop(name, "the run was stopped")
        if self._questions:
            await asyncio.wait(self._questions.values())
        if not self._left:
            await self._pods.clear(name for name, _ in self._mine())

    # --- pods -----------------------------------------------------------------------------------

    async def _probe(self, profile: str, tasks: list[Assignment]) -> dict[str, bool | str]:
        """Ask in one pod; where the pod fails, and not the tasks, again as Luigi would."""
        for _ in range(self._runs.retry_count - 1):
            answers, failed = await self._ask(profile, tasks)
            if not failed:
                return answers
            await asyncio.sleep(self._runs.retry_delay_seconds)
        return (await self._ask(profile, tasks))[0]

    async def _ask(
        self, profile: str, tasks: list[Assignment]
    ) -> tuple[dict[str, bool | str], bool]:
        """Return what each task answered, and whether nobody could be asked at all."""
        if self._left:
            raise StoppedError
        keys = [task.node.key for task in tasks]
        number = secrets.randbelow(_PROBE_NUMBERS)
        payload: dict[str, Json] = {"mode": "probe", "nodes": [task.to_json() for task in tasks]}
        masked = bool(tasks[0].graph.sealed)
        order = self._pod(PROBE, number, tasks[0].node.egress, payload, masked=masked)
        order = replace(order, profile=profile, seconds=_QUESTION_SECONDS)
        asking = asyncio.create_task(self._end(order, f"{PROBE}.{number}"))
        self._questions[order.name] = asking
        asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        end = await asyncio.shield(asking)
        del self._questions[order.name]
        self._pods.discard(order.name)
        try:
            return named(keys, parse_probe(end.message, len(keys))), False
        except MessageError as error:
            return named(keys, [end.failure or str(error)] * len(keys)), bool(end.failure)

    def _pod(
        self,
        task: str,
        attempt: int,
        egress: tuple[str, ...],
        payload: Mapping[str, Json],
        *,
        masked: bool,
    ) -> PodOrder:
        order, shape = self._order, self._shape
        plan = _plan(order)
        if order is None or shape is None:
            raise Retryable("run_not_prepared", "the run is not ready, or has ended", step="run")
        return PodOrder(
            name=pod_name(order.launch_id, task, attempt),
            profile=plan.profiles[egress],
            annotations={
                LAUNCH_ID: order.launch_id,
                TASK: task,
                DECISION_ID: plan.decision_id,
                PLAN_DIGEST: plan.plan_digest,
            },
            shape=shape,
            payload={
                "v": 1,
                "module": order.module,
                "code_digest": order.code_digest,
                "image": plan.image if plan.folder else None,
                "tree": plan.folder,
                "workdir": "/workspace",
                "max_nodes": self._sandbox.max_nodes,
                "max_edges": self._sandbox.max_edges,
                **payload,
            },
            masked=masked,
        )

    async def _end(self, order: PodOrder, log: str) -> PodEnd:
        """Return how the pod ended, with its log on file."""
        try:
            end = await self._pods.run(order)
        except LeftRunning as left:
            raise StoppedError from left
        if end.ran and self._order is not None:
            data = await self._pods.log(order.name, self._runs.keep_log_bytes)
            await asyncio.to_thread(_keep, self._order.scratch / "logs" / f"{log}.log", data)
        return end

    async def _end_others(self, key: str, attempt: int) -> None:
        """End pods of other attempts of a task: of a gateway that crashed between two of them."""
        mine = self._name(key, attempt)
        await self._pods.clear(name for name, task in self._mine() if task == key and name != mine)

    def _approved(self, task: Assignment) -> TaskGraph:
        """Return the graph that a task's indices are about: the same after a restart."""
        first = self._order.graph if self._order else task.graph
        return first if task.node.key in first.nodes else task.graph

    def _name(self, key: str, attempt: int) -> str:
        return pod_name(self._launch_id, key, attempt)

    def _mine(self) -> list[tuple[str, str]]:
        """Return name and task of each pod of this launch that the cluster shows."""
        return _of_launch(self._pods, self._launch_id)


class KubernetesExecutors:
    """Makes executors that share one cluster."""

    adopts = True

    def __init__(self, pods: Pods, make: Callable[[str], KubernetesExecutor]) -> None:
        """``make`` gives the executor of a launch, which uses ``pods``."""
        self._pods = pods
        self._make = make

    def executor(self, launch_id: str) -> KubernetesExecutor:
        """Return a new one."""
        return self._make(launch_id)

    async def clear(self, launch_id: str) -> None:
        """Delete the launch's pods, and return when none is left."""
        await self._pods.clear(name for name, _ in _of_launch(self._pods, launch_id))

    async def cut(self, launch_id: str) -> Cut:
        """Relabel the launch's pods so that everything is denied to them; no other pod comes."""
        began = time.monotonic()
        severed = await self._pods.cut(launch_id.replace("-", ""))
        return Cut(severed.pods, time.monotonic() - began, severed.left, severed.why)


def _pieces(tasks: list[Assignment]) -> Iterator[list[Assignment]]:
    """Divide a question so that it fits a Secret, and each answer a report."""
    piece: list[Assignment] = []
    size = 0
    for task in tasks:
        more = len(json.dumps(task.to_json()))
        if piece and (len(piece) == PROBE_MOST or size + more > _QUESTION_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(task)
        size += more
    if piece:
        yield piece


def _plan(order: RunOrder | None) -> PodPlan:
    if order is None or order.pods is None:
        raise Misconfigured("no_pod_plan", "the run was not planned for a cluster", step="run")
    return order.pods


def _of_launch(pods: Pods, launch_id: str) -> list[tuple[str, str]]:
    found = []
    for name, pod in pods.seen.items():
        notes = pod["metadata"].get("annotations") or {}
        if notes.get(LAUNCH_ID) == launch_id:
            found.append((name, str(notes.get(TASK))))
    return found


def _keep(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)
