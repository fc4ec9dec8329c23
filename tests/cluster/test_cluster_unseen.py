"""A pod that may be there counts as running for as long as the gateway may not, or cannot, look.

Being refused is no answer to the question whether it is there, and neither is having no token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bed.api import Api
from pods_bed import PodRig, rig, when
from relay_bed import Asked, Relay, token_for

from gateway.cluster import client as client_module
from gateway.cluster.marks import PROBE, TASK
from gateway.runs.events import RunEvent, TaskStarted
from gateway.runs.executor import Assignment, Progress

pytestmark = pytest.mark.usefixtures("fake_nodes")
HELD = "hold=running"
UNANSWERED, FORBIDDEN = 504, 403


@pytest.fixture
async def relay(api: Api) -> AsyncIterator[Relay]:
    """The gateway's way to the API server."""
    async with Relay(api) as made:
        yield made


@pytest.fixture
def token(api: Api, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The gateway's token, whose file is read for each request."""
    monkeypatch.setattr(client_module, "_TOKEN_LIVES", 0.0)
    return token_for(api, namespace, tmp_path)


@pytest.fixture
async def runs(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path, relay: Relay, token: Path
) -> AsyncIterator[PodRig]:
    """Runs in a namespace of this test."""
    eyes, kubeconfig = Path(cluster["KUBECONFIG"]), relay.kubeconfig(tmp_path)
    async with rig(api, kubeconfig, namespace, tmp_path / "rig", eyes=eyes, token=token) as made:
        yield made


def for_a_task(asked: Asked) -> bool:
    """Whether somebody asks for a pod, questions aside."""
    if asked.method != "POST" or not asked.path.endswith("/pods"):
        return False
    return str(asked.object["metadata"]["annotations"][TASK]) != PROBE


class Obeyed:
    """Requests for a task's pod are obeyed, and answered otherwise; who looks for it is refused."""

    def __init__(self, relay: Relay, answer: int | None = UNANSWERED) -> None:
        """``answer`` None has the server answer, once more: the pod is there already."""
        self.refused = 0
        self._answer = answer
        self._relay = relay
        relay.touch = self._touch

    async def _touch(self, asked: Asked) -> int | None:
        if for_a_task(asked):
            await self._relay.pass_on(asked)
            return self._answer
        if asked.method == "GET" and asked.path.endswith("-1"):
            self.refused += 1
            return FORBIDDEN
        return None


def _deaf(_: Progress) -> None:
    """Hear of no progress."""


async def test_pod_that_the_gateway_may_not_look_at(runs: PodRig, relay: Relay) -> None:
    """Ended before its creation was answered, and then without rights: it has not ended yet."""
    obeyed = Obeyed(relay)
    order = await runs.order(play=f"{HELD};")
    executor = runs.executor(order.launch_id)
    await executor.prepare(order)
    task = Assignment.of(order.graph, order.graph.root)
    first = asyncio.create_task(executor.run(task, 1, _deaf))
    await runs.pod()
    await executor.kill(task.node.key, 1)
    await when(lambda: obeyed.refused)
    await asyncio.sleep(1)
    assert not first.done()
    relay.touch = None
    assert (await asyncio.wait_for(first, 60)).status == "FAILED"
    assert await runs.listed() == []
    await executor.close()


async def test_pod_of_a_former_gateway_that_may_not_be_looked_at(
    runs: PodRig, relay: Relay
) -> None:
    """It is there, and what it is nobody says: the attempt goes on, and takes it up in the end."""
    obeyed = Obeyed(relay, answer=None)
    order = await runs.order(play=f"{HELD};")
    executor = runs.executor(order.launch_id)
    await executor.prepare(order)
    task = Assignment.of(order.graph, order.graph.root)
    first = asyncio.create_task(executor.run(task, 1, _deaf))
    await when(lambda: obeyed.refused)
    await asyncio.sleep(1)
    assert not first.done()
    relay.touch = None
    (pod,) = await runs.listed()
    await executor.kill(task.node.key, 1)
    assert (await asyncio.wait_for(first, 60)).status == "FAILED"
    assert pod not in await runs.listed()
    await executor.close()


async def test_token_that_is_gone_when_a_pod_is_to_be_made(runs: PodRig, token: Path) -> None:
    """It is waited for, like a server that is away: nothing has failed."""
    text = token.read_text()

    async def lose(event: RunEvent) -> None:
        if isinstance(event, TaskStarted):
            token.unlink()

    runs.hook = lose
    order = await runs.order(play="")
    await runs.supervisor.start(order)
    await when(lambda: runs.told(TaskStarted))
    await asyncio.sleep(1)
    token.write_text(text)
    assert (await runs.end(order)).status == "succeeded"
    assert (runs.failures, runs.witness.attempts()) == ([], 1)


async def test_token_that_is_gone_when_a_pod_waits_for_its_secret(
    runs: PodRig, relay: Relay, token: Path
) -> None:
    """The pod is there already, and gets its Secret when the token is there again."""
    text = token.read_text()

    async def lose(asked: Asked) -> int | None:
        if for_a_task(asked):
            token.unlink()
        return None

    relay.touch = lose
    order = await runs.order("Keeper", token="hush-hush", shown=("name", "play"))
    await runs.supervisor.start(order)
    await when(lambda: runs.witness.attempts() == 1)
    relay.touch = None
    await asyncio.sleep(1)
    token.write_text(text)
    assert (await runs.end(order)).status == "succeeded"
    assert (runs.failures, runs.witness.attempts()) == ([], 1)
