"""No pod of a launch that was cut comes to be, however far its making had got."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
from bed.api import Api, Object
from pods_bed import IMAGE, PROFILES, MuteDoor, PodRig, rig

from gateway.cluster.marks import DECISION_ID, LAUNCH_ID, PLAN_DIGEST, TASK, pod_name
from gateway.cluster.pods import PodOrder, PodShape
from gateway.cluster.severing import WAS_CUT

pytestmark = pytest.mark.usefixtures("fake_nodes")
Rigs = Callable[..., AbstractAsyncContextManager[PodRig]]


@pytest.fixture
def rigs(api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path) -> Rigs:
    """Pods in a namespace of this test."""
    return partial(rig, api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig")


def held(runs: PodRig, launch_id: str, attempt: int = 1) -> PodOrder:
    """Return a pod that runs until it is ended."""
    task = "a" * 64
    return PodOrder(
        name=pod_name(launch_id, task, attempt),
        profile=PROFILES[()],
        annotations={
            LAUNCH_ID: launch_id,
            TASK: task,
            DECISION_ID: "the-decision",
            PLAN_DIGEST: "0" * 64,
            "bed.sluice/hold": "running",
        },
        shape=PodShape(runs.cluster.namespace, "default", IMAGE, "guest", None, "1m", "1Mi", 600),
        payload={"v": 1},
    )


async def listed(runs: PodRig) -> list[Object]:
    """Return all pods that the API server has."""
    found: list[Object] = (await asyncio.to_thread(runs.api.get, runs.path))["items"]
    return found


async def test_severing_forbids(rigs: Rigs) -> None:
    """After a cut no pod of that launch is even asked for; other launches are made as ever."""
    launch_id, other = str(uuid.uuid4()), str(uuid.uuid4())
    async with rigs() as runs:
        severed = await runs.pods.cut(launch_id.replace("-", ""))
        assert (severed.pods, severed.left) == (0, 0)
        before = runs.client.requests
        assert (await runs.pods.run(held(runs, launch_id))).failure == WAS_CUT
        assert runs.client.requests == before
        task = asyncio.create_task(runs.pods.run(held(runs, other)))
        await runs.pod("Running")
        await runs.pods.stop(pod_name(other, "a" * 64, 1), "enough")
        assert (await task).failure == "enough"


async def test_severing_waits_for_what_is_being_made(rigs: Rigs) -> None:
    """A creation that is on its way when the cut comes loses its network before the cut returns."""
    launch_id = str(uuid.uuid4())
    async with rigs() as runs:
        requests = runs.client.requests
        task = asyncio.create_task(runs.pods.run(held(runs, launch_id)))
        while runs.client.requests == requests:  # noqa: ASYNC110 -- until it is sent
            await asyncio.sleep(0)
        assert not runs.pods.seen
        severed = await runs.pods.cut(launch_id.replace("-", ""))
        assert (severed.pods, severed.left) == (1, 0)
        assert (await task).failure == WAS_CUT
        assert len(runs.witness.made) == 1
        assert await listed(runs) == []


async def test_severing_an_unanswered_creation(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> None:
    """A creation that was obeyed and not answered is found out, cut and ended, and not repeated."""
    launch_id, eyes = str(uuid.uuid4()), Path(cluster["KUBECONFIG"])
    async with MuteDoor(api.server) as door:
        through = door.kubeconfig(eyes, tmp_path)
        async with rig(api, through, namespace, tmp_path / "rig", eyes=eyes) as runs:
            await runs.client.get(runs.path)
            door.mute = True  # the connection that stands takes the next request, and is silent
            task = asyncio.create_task(runs.pods.run(held(runs, launch_id)))
            await runs.pod("Running")
            cutting = asyncio.create_task(runs.pods.cut(launch_id.replace("-", "")))
            await asyncio.sleep(0)
            door.mute = False
            await door.hang_up()
            severed = await asyncio.wait_for(cutting, 60)
            assert (severed.pods, severed.left) == (1, 0)
            assert (await asyncio.wait_for(task, 60)).failure == WAS_CUT
            assert len(runs.witness.made) == 1
            assert await listed(runs) == []
