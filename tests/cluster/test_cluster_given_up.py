"""An attempt that was given up: it begins nothing any more, and what comes of it late is ended.

Requests are lost and delivered late by a relay; the server, its answers and the pods are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
from bed.api import Api, Object
from pods_bed import PodRig, rig, when
from relay_bed import Asked, Relay, token_for

from gateway.cluster import running
from gateway.cluster.marks import PROBE, TASK
from gateway.runs.events import RunEvent, TaskFinished
from gateway.runs.executor import Assignment, Outcome, Progress, RunOrder
from gateway.runs.halt import StoppedError
from gateway.runs.kubernetes import KubernetesExecutor

pytestmark = pytest.mark.usefixtures("fake_nodes")
HELD = "hold=running"
UNANSWERED = 504  # of a load balancer that waited for the server in vain
Rigs = Callable[..., AbstractAsyncContextManager[PodRig]]


@pytest.fixture
async def relay(api: Api) -> AsyncIterator[Relay]:
    """The gateway's way to the API server."""
    async with Relay(api) as made:
        yield made


@pytest.fixture
def rigs(api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path, relay: Relay) -> Rigs:
    """Make runs in a namespace of this test, whose requests the relay sees."""
    return partial(
        rig,
        api,
        relay.kubeconfig(tmp_path),
        namespace,
        tmp_path / "rig",
        eyes=Path(cluster["KUBECONFIG"]),
        token=token_for(api, namespace, tmp_path),
    )


class Lost:
    """The requests for the pod of a first attempt, which nobody answers and the server never saw.

    ``look`` is what is answered to who looks for the pod; 0 has the server answer.
    """

    def __init__(self, relay: Relay, look: int = 0) -> None:
        self.asked: list[Asked] = []
        self.looked = 0
        self._look = look
        self._relay = relay
        relay.touch = self._touch

    async def _touch(self, asked: Asked) -> int | None:
        if asked.method == "POST" and asked.path.endswith("/pods"):
            meta = asked.object["metadata"]
            if meta["annotations"][TASK] != PROBE and meta["name"].endswith("-1"):
                self.asked.append(asked)
                return UNANSWERED
        elif asked.method == "GET" and asked.path.endswith("-1"):
            self.looked += 1
            return self._look or None
        return None

    async def found(self) -> None:
        """Have the server see the first of them after all."""
        self._relay.touch = None
        assert await self._relay.pass_on(self.asked[0]) == 201


def root(order: RunOrder) -> Assignment:
    """Return the one task of an order."""
    return Assignment.of(order.graph, order.graph.root)


def deaf(_: Progress) -> None:
    """Hear of no progress."""


async def left_by_a_crash(rigs: Rigs) -> tuple[RunOrder, Object]:
    """Return an order, and the pod of its first attempt that a gateway left running."""
    async with rigs() as dead:
        order = await dead.order(play=f"{HELD}+terminating;")
        executor = dead.executor(order.launch_id)
        await executor.prepare(order)
        first = asyncio.create_task(executor.run(root(order), 1, deaf))
        pod = await dead.pod()
        executor.leave()
        await asyncio.wait([first])
        assert isinstance(first.exception(), StoppedError)
    return order, pod


async def kill(executor: KubernetesExecutor, order: RunOrder) -> None:
    """End the second attempt, as Luigi's time-out does."""
    await executor.kill(order.graph.root, 2)


async def close(executor: KubernetesExecutor, _: RunOrder) -> None:
    """End the run, as a cancel does."""
    await executor.close()


@pytest.mark.parametrize("end", [kill, close])
async def test_attempt_that_is_ended_while_its_forerunner_is_cleared_away(
    rigs: Rigs, end: Callable[[KubernetesExecutor, RunOrder], asyncio.Future[None]]
) -> None:
    """It never begins: no pod of it is ever made, however long the older one takes to go."""
    order, former = await left_by_a_crash(rigs)
    name = former["metadata"]["name"]
    async with rigs() as runs:
        executor = runs.executor(order.launch_id)
        await executor.prepare(order)
        second = asyncio.create_task(executor.run(root(order), 2, deaf))
        await when(lambda: "deletionTimestamp" in runs.pods.seen[name]["metadata"])
        ending = asyncio.ensure_future(end(executor, order))
        await asyncio.sleep(0.3)
        assert not second.done()
        await runs.wish(former, hold="go")
        assert await second == Outcome("FAILED", "it was ended before it began")
        await ending
        await executor.close()
        assert await runs.listed() == []
        assert runs.witness.attempts() == 0


async def test_pod_that_comes_after_its_attempt_was_given_up(
    rigs: Rigs, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be running, so it has its grace: the next attempt begins when it has really ended."""
    monkeypatch.setattr(running, "_OBEYED_WITHIN", 0.2)
    lost = Lost(relay)
    async with rigs(patience_seconds=0.2) as runs:

        async def come_late(event: RunEvent) -> None:
            if isinstance(event, TaskFinished) and event.attempt == 1:
                await lost.found()
                name = (await runs.pod())["metadata"]["name"]
                await when(lambda: runs.pods.seen[name]["status"].get("phase") == "Running")

        runs.hook = come_late
        order = await runs.order(play=f"{HELD}+terminating;")
        await runs.supervisor.start(order)
        await when(lambda: runs.failures)
        await when(lambda: any("deletionTimestamp" in p["metadata"] for p in ours(runs)))
        (late,) = await runs.listed()
        assert late["metadata"]["deletionGracePeriodSeconds"] == runs.cluster.stop_seconds
        await asyncio.sleep(0.5)
        assert runs.witness.attempts() == 1
        await runs.wish(late, hold="go")
        assert (await runs.end(order)).status == "succeeded"
        (failure,) = runs.failures
        assert failure.startswith("its pod could not be made: the cluster's API server is overl")
        assert runs.witness.attempts() == 2


def ours(runs: PodRig) -> list[Object]:
    """Return the pods that the gateway sees, questions aside."""
    return [p for p in runs.pods.seen.values() if p["metadata"]["annotations"][TASK] != PROBE]


@pytest.mark.parametrize("look", [0, UNANSWERED])
async def test_gateway_that_stops_while_it_looks_for_a_late_pod(
    rigs: Rigs, relay: Relay, look: int
) -> None:
    """Whether the server says that there is none yet, or nothing: the attempt has no end.

    The pod that comes is the next gateway's, and is left in peace.
    """
    lost = Lost(relay, look)
    async with rigs() as runs:
        order = await runs.order(play=HELD)
        executor = runs.executor(order.launch_id)
        await executor.prepare(order)
        first = asyncio.create_task(executor.run(root(order), 1, deaf))
        await when(lambda: lost.asked)
        await executor.kill(order.graph.root, 1)
        await when(lambda: lost.looked)
        executor.leave()
        await asyncio.wait([first], timeout=60)
        assert isinstance(first.exception(), StoppedError)
        await executor.close()
        await lost.found()
        pod = await runs.pod()
        assert "deletionTimestamp" not in pod["metadata"]
        await runs.gone(pod)
