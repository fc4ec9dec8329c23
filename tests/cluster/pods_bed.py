"""Runs on a real API server with fake nodes: Luigi, driver and executor are real, pods are played.

How a pod is played is its task's own parameter (``manifests/kwok-stages.yaml``), so that no test
races with the nodes. A ``Witness`` watches beside the gateway, with eyes of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bed.api import Api, ApiError, Object
from bed.objects import collection
from binder_bed import Door, _pump

from gateway.clock import new_id
from gateway.cluster.client import ClusterClient
from gateway.cluster.delivery import Deliveries
from gateway.cluster.ending import has_ended
from gateway.cluster.marks import PROBE, TASK
from gateway.cluster.running import Pods
from gateway.cluster.watching import PodWatch
from gateway.graph.resolver import Resolution, SandboxResolver
from gateway.graph.yields import admit_yield
from gateway.model import Receipt
from gateway.runs.events import RunEvent, RunFinished, TaskFinished
from gateway.runs.executor import PodPlan, RunOrder
from gateway.runs.kubernetes import KubernetesExecutor, KubernetesExecutors
from gateway.runs.supervisor import RunSupervisor
from gateway.settings import ClusterSettings, RunSettings, SandboxSettings

PLAYED = Path(__file__).parents[1] / "fixtures" / "pipelines" / "played"
SHOWN = ("name", "play", "plays", "first", "seconds", "tries", "n")
IMAGE = f"sluice.test/task@sha256:{'1' * 64}"
KEY = b"k" * 32
RUNS = RunSettings(retry_delay_seconds=0.05, parallel_tasks=20)
PROFILES = {(): f"p-{'0' * 32}", ("open-data",): f"p-{'1' * 32}"}
SANDBOX = SandboxSettings()
_RESOLVED: dict[tuple[Any, ...], Resolution] = {}

_Event = TypeVar("_Event", bound=RunEvent)


class Witness:
    """Sees every pod of a namespace: which were made, and how many of one task lived at once."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []  # task and uid, questions aside
        self.most = 0  # pods of one task that lived at the same time
        self._alive: defaultdict[str, set[str]] = defaultdict(set)

    def attempts(self, task: str | None = None) -> int:
        """Return how many pods were made, for one task or for all."""
        return sum(task in (None, key) for key, _ in self.made)

    async def look(self, kubeconfig: Path, namespace: str, ready: asyncio.Event) -> None:
        """Look until cancelled."""
        client = await ClusterClient.open(kubeconfig)
        try:
            path = collection(namespace)
            version = (await client.get(path))["metadata"]["resourceVersion"]
            ready.set()
            while True:
                async for kind, pod in client.watch(path, version):
                    version = pod["metadata"]["resourceVersion"]
                    if kind != "BOOKMARK":
                        self._see(pod, kind)
        finally:
            await client.close()

    def _see(self, pod: Object, kind: str) -> None:
        task = (pod["metadata"].get("annotations") or {}).get(TASK)
        uid = pod["metadata"]["uid"]
        if task is None or task == PROBE:
            return
        if kind == "ADDED":
            self.made.append((task, uid))
        if kind == "DELETED" or has_ended(pod):
            self._alive[task].discard(uid)
        else:
            self._alive[task].add(uid)
        self.most = max(self.most, len(self._alive[task]))


@contextlib.asynccontextmanager
async def witness(kubeconfig: Path, namespace: str) -> AsyncIterator[Witness]:
    """Yield a witness; at the end no task may have had two living pods at once."""
    found, ready = Witness(), asyncio.Event()
    looking = asyncio.create_task(found.look(kubeconfig, namespace, ready))
    await ready.wait()
    try:
        yield found
        await asyncio.sleep(0.2)  # what the server has said by now arrives
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        await asyncio.sleep(0.25)  # a TLS connection that was cut off says goodbye
    assert found.most <= 1


async def when(true: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something is true."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < deadline, "it did not come true"
        await asyncio.sleep(0.02)


@dataclass
class PodRig:
    """A supervisor whose runs are pods of one namespace, and a memory of what it told."""

    api: Api
    folder: Path
    client: ClusterClient
    watch: PodWatch
    pods: Pods
    deliveries: Deliveries
    cluster: ClusterSettings
    runs: RunSettings
    witness: Witness
    events: list[RunEvent] = field(default_factory=list)
    hook: Callable[[RunEvent], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        self.path = collection(self.cluster.namespace)
        self.executors = KubernetesExecutors(self.pods, self.executor)
        self.supervisor = RunSupervisor(
            self.executors, self.runs, partial(admit_yield, installation_key=KEY), self._observe
        )

    def executor(self, launch_id: str) -> KubernetesExecutor:
        """Return one for another run."""
        return KubernetesExecutor(
            launch_id, self.pods, self.deliveries, self.cluster, self.runs, SANDBOX
        )

    async def _observe(self, event: RunEvent) -> None:
        if self.hook:
            await self.hook(event)
        self.events.append(event)

    async def order(
        self, family: str = "Act", *, shown: Iterable[str] = SHOWN, **more: Any
    ) -> RunOrder:
        """Resolve a family of the played pipeline; fields of the order may be given too."""
        given = {name: more.pop(name) for name in list(more) if name in RunOrder.__slots__}
        resolution = await _resolve(self.folder.parent / "code", family, tuple(shown), more)
        plan = PodPlan(
            profiles=PROFILES,
            decision_id="the-decision",
            plan_digest="0" * 64,
            image="",
            folder=None,
            cpu="100m",
            memory="64Mi",
            workspace="runs",
        )
        return RunOrder(
            **{
                "launch_id": new_id(),
                "graph": resolution.graph,
                "code_path": resolution.code_path,
                "code_digest": resolution.code_digest,
                "module": "played",
                "workspace": self.folder / "workspace",
                "scratch": self.folder / "scratch",
                "receipt": Receipt(1, "entry", "0" * 64, "decision.allow"),
                "pods": plan,
                **given,
            }
        )

    async def carry(self, order: RunOrder) -> RunFinished:
        """Run an order and return its end; no pod of it may be left."""
        await self.supervisor.start(order)
        return await self.end(order)

    async def end(self, order: RunOrder) -> RunFinished:
        """Wait for the end of a run; no pod of it may be left."""
        await self.supervisor.wait(order.launch_id)
        assert await self.living() == []
        return self.told(RunFinished)[-1]

    async def play(self, *acts: str, **more: Any) -> RunFinished:
        """Run one task whose attempts are played so, and return the run's end."""
        return await self.carry(await self.order(play=";".join(acts), **more))

    def told(self, kind: type[_Event]) -> list[_Event]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def failures(self) -> list[str]:
        """Why attempts failed, in order."""
        return [end.explanation for end in self.told(TaskFinished) if end.status == "FAILED"]

    async def listed(self) -> list[Object]:
        """Return the pods that the API server has, questions aside."""
        found = await asyncio.to_thread(self.api.get, self.path)
        return [
            pod
            for pod in found["items"]
            if (pod["metadata"].get("annotations") or {}).get(TASK) != PROBE
        ]

    async def living(self) -> list[str]:
        """Return the names of the pods that have not ended."""
        return [pod["metadata"]["name"] for pod in await self.listed() if not has_ended(pod)]

    async def pod(self, phase: str = "Running", task: str = "") -> Object:
        """Wait for a pod in a phase and return it."""
        for _ in range(600):
            for found in await self.listed():
                mine = found["metadata"]["annotations"][TASK].startswith(task)
                if mine and found["status"].get("phase") == phase:
                    return found
            await asyncio.sleep(0.05)
        raise TimeoutError(f"no pod is {phase}: {[p['status'] for p in await self.listed()]}")

    async def admin(self, verb: str, name: str, *arguments: Any, **more: Any) -> Object:
        """Do something to a pod, as the administrator: ``merge``, ``delete``, ``create``."""
        call = getattr(self.api, verb)
        found: Object = await asyncio.to_thread(
            call, f"{self.path}/{name}".rstrip("/"), *arguments, **more
        )
        return found

    async def wish(self, pod: Object, **wishes: str | None) -> None:
        """Change how a pod is played: ``hold="go"``."""
        notes = {f"bed.sluice/{name.replace('_', '-')}": text for name, text in wishes.items()}
        await self.admin("merge", pod["metadata"]["name"], {"metadata": {"annotations": notes}})

    async def gone(self, pod: Object) -> None:
        """Delete a pod as somebody who has the right to."""
        with contextlib.suppress(ApiError):
            await self.admin("delete", pod["metadata"]["name"])


@contextlib.asynccontextmanager
async def rig(
    api: Api,
    kubeconfig: Path,
    namespace: str,
    folder: Path,
    *,
    eyes: Path | None = None,
    token: Path | None = None,
    runs: RunSettings = RUNS,
    **settings: Any,
) -> AsyncIterator[PodRig]:
    """Yield a supervisor over a namespace; ``eyes`` is the witness' kubeconfig.

    ``token`` is a file with what the supervisor logs in with instead.
    """
    chosen = ClusterSettings(
        namespace=namespace, image=IMAGE, service_account="default", stop_seconds=1, **settings
    )
    async with contextlib.AsyncExitStack() as stack:
        seen = await stack.enter_async_context(witness(eyes or kubeconfig, namespace))
        client = await ClusterClient.open(kubeconfig, token)
        stack.push_async_callback(client.close)
        watch = PodWatch(client, namespace)
        await watch.start()
        stack.push_async_callback(watch.close)
        pods = Pods(client, watch, chosen, bytes(32))
        stack.push_async_callback(pods.close)
        made = PodRig(
            api, folder, client, watch, pods, Deliveries(client, chosen), chosen, runs, seen
        )
        stack.push_async_callback(made.supervisor.close)
        yield made


async def _resolve(
    store: Path, family: str, shown: tuple[str, ...], parameters: dict[str, str]
) -> Resolution:
    """Resolve each task once for all tests: the answer depends on the code alone."""
    name = (store, family, shown, *sorted(parameters.items()))
    if name not in _RESOLVED:
        resolver = SandboxResolver(SANDBOX, store, KEY)
        _RESOLVED[name] = await resolver.resolve(
            source=PLAYED,
            module="played",
            family=family,
            parameters={key: str(value) for key, value in parameters.items()},
            shown=shown,
            emits={"open-data": ()},
        )
    return _RESOLVED[name]


class MuteDoor(Door):
    """A door that, while ``mute``, lets questions in and no answer out."""

    def __init__(self, server: str) -> None:
        super().__init__(server)
        self.mute = False

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner, outer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        pair = {writer, outer}
        self._through |= pair
        await asyncio.gather(_pump(reader, outer), self._pump_out(inner, writer))
        for end in pair:
            with contextlib.suppress(OSError):
                await end.wait_closed()
        self._through -= pair

    async def _pump_out(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                if not self.mute:
                    sink.write(data)
                    await sink.drain()
        sink.close()

    async def hang_up(self) -> None:
        """Cut who is through; the next may come at once."""
        for writer in tuple(self._through):
            writer.close()


@contextlib.asynccontextmanager
async def tainted(api: Api, node: str, taint: Object) -> AsyncIterator[None]:
    """Put a taint on a node for a while."""
    path = f"/api/v1/nodes/{node}"
    before = api.get(path)["spec"].get("taints") or []
    api.merge(path, {"spec": {"taints": [*before, taint]}})
    try:
        yield
    finally:
        api.merge(path, {"spec": {"taints": before or None}})


def kill_driver() -> bool:
    """Kill the driver process of ours as the kernel would; False when there is none."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1]) == os.getpid()
            if ours and b"gateway.runs.driver" in (path / "cmdline").read_bytes():
                os.kill(int(path.name), signal.SIGKILL)
                return True
    return False
