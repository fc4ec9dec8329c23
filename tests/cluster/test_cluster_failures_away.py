"""The API server goes away: what was asked of it may have happened, and is asked until it is known.

Each test watches beside the gateway: no task ever has two living pods, and none is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from bed.api import Api
from failures_bed import HELD, TWICE, Rigs, once, quota
from pods_bed import MuteDoor, PodRig, rig, when

from gateway.runs.events import TaskStarted

pytestmark = pytest.mark.usefixtures("fake_nodes")


@pytest.fixture
async def door(api: Api) -> AsyncIterator[MuteDoor]:
    """The way to the API server, which can be shut."""
    async with MuteDoor(api.server) as made:
        yield made


@pytest.fixture
def through(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path, door: MuteDoor
) -> Rigs:
    """Make runs that reach the API server through the door; the witness has another."""
    eyes = Path(cluster["KUBECONFIG"])
    kubeconfig = door.kubeconfig(eyes, tmp_path)
    return partial(rig, api, kubeconfig, namespace, tmp_path / "rig", eyes=eyes)


async def test_away_while_a_task_runs(through: Rigs, door: MuteDoor) -> None:
    """What ends meanwhile is heard of afterwards; nothing failed."""
    async with through() as runs:
        order = await runs.order("Scene", plays=f"{HELD}|{HELD}")
        await runs.supervisor.start(order)
        await when(lambda: runs.witness.attempts() == 2)
        pods = await runs.listed()
        await door.shut()
        await runs.wish(pods[0], hold="go")
        await when(lambda: runs.watch.away)
        await asyncio.sleep(1)
        await door.open()
        await runs.wish(pods[1], hold="go")
        assert (await runs.end(order)).status == "succeeded"
        assert (runs.failures, runs.witness.attempts()) == ([], 2)
        assert runs.watch.away == ""


async def test_away_for_a_moment_when_a_pod_is_to_be_made(through: Rigs, door: MuteDoor) -> None:
    """A short absence is waited out."""
    async with through(patience_seconds=20) as runs:
        runs.hook = once(TaskStarted, door.shut)
        order = await runs.order(play="")
        await runs.supervisor.start(order)
        await when(lambda: runs.told(TaskStarted))
        await asyncio.sleep(1)
        await door.open()
        assert (await runs.end(order)).status == "succeeded"
        assert (runs.failures, runs.witness.attempts()) == ([], 1)


async def test_away_for_longer_than_patience(through: Rigs, door: MuteDoor) -> None:
    """Then the attempt has failed with a reason, and the next begins when the former is settled."""
    async with through(patience_seconds=0.5) as runs:
        runs.hook = once(TaskStarted, door.shut)
        order = await runs.order(play="")
        await runs.supervisor.start(order)
        await when(lambda: runs.told(TaskStarted))
        await asyncio.sleep(2)
        await door.open()
        assert (await runs.end(order)).status == "succeeded"
        assert runs.failures == [
            "its pod could not be made: the cluster's API server does not answer; try again"
        ]


async def test_pod_whose_creation_was_not_answered(through: Rigs, door: MuteDoor) -> None:
    """It was made all the same: it is the one that is taken up, and no other."""
    async with through() as runs:

        async def muted() -> None:
            door.mute = True

        runs.hook = once(TaskStarted, muted)
        order = await runs.order(play=HELD)
        await runs.supervisor.start(order)
        pod = await runs.pod()
        door.mute = False
        await door.hang_up()
        await runs.wish(pod, hold="go")
        assert (await runs.end(order)).status == "succeeded"
        assert (runs.failures, runs.witness.attempts()) == ([], 1)


async def test_unanswered_pod_that_fills_the_quota(
    through: Rigs, door: MuteDoor, namespace: str
) -> None:
    """Asked again, the server says that the quota is used up: by the very pod that it had made."""
    async with through() as runs:

        async def muted() -> None:
            quota(runs.api, namespace, pods=1)
            door.mute = True

        runs.hook = once(TaskStarted, muted)
        order = await runs.order(play=HELD)
        await runs.supervisor.start(order)
        pod = await runs.pod()
        door.mute = False
        await door.hang_up()
        await runs.wish(pod, hold="go")
        assert (await runs.end(order)).status == "succeeded"
        assert (runs.failures, runs.witness.attempts()) == ([], 1)


async def test_ended_while_its_pod_was_being_made(through: Rigs, door: MuteDoor) -> None:
    """A time-out before the answer: the pod is found and ended, then Luigi tries again."""
    async with through() as runs:

        async def muted() -> None:
            door.mute = True

        runs.hook = once(TaskStarted, muted)
        order = await runs.order(play=f"{HELD};", seconds=4)
        await runs.supervisor.start(order)
        await runs.pod()
        await asyncio.sleep(4.5)
        door.mute = False
        await door.hang_up()
        assert (await runs.end(order)).status == "succeeded"
        assert runs.failures == ["it ran longer than its time-out allows, and was ended"]
        assert runs.witness.attempts() == TWICE


async def test_cancelled_while_the_server_is_away(through: Rigs, door: MuteDoor) -> None:
    """A cancel holds until the server is back, and then nothing is left."""
    async with through() as runs:
        order = await runs.order(play=HELD)
        await runs.supervisor.start(order)
        await runs.pod()
        await door.shut()
        cancelling = asyncio.create_task(runs.supervisor.cancel(order.launch_id))
        await asyncio.sleep(1)
        assert not cancelling.done()
        await door.open()
        await cancelling
        assert await runs.listed() == []


async def test_gateway_stops_while_the_server_is_away(through: Rigs, door: MuteDoor) -> None:
    """Stopping waits for nobody: the pod lives on, for the next gateway."""
    async with through() as runs:
        order = await runs.order(play=HELD)
        await runs.supervisor.start(order)
        pod = await runs.pod()
        await door.shut()
        await asyncio.wait_for(runs.supervisor.close(), 10)
        await door.open()
        assert await runs.living() == [pod["metadata"]["name"]]
        await runs.gone(pod)


async def test_watch_from_a_version_that_is_forgotten(runs: PodRig) -> None:
    """The server no longer knows where to begin: the list is read again, and nothing is missed."""
    await runs.watch.close()
    runs.watch._task = asyncio.create_task(runs.watch._follow("1"))  # as after a long break
    assert (await runs.play("")).status == "succeeded"
    assert runs.failures == []
