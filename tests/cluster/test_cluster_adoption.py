"""A pod outlives the gateway: the next one takes up the same pod, and never makes a second."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api
from bed.installation import TASKS, Installation
from bed.objects import pod
from cut_bed import PODS, alive, cleared, settings
from gateway_bed import ROOT
from pods_bed import PodRig, rig, when, witness

from gateway.cluster.marks import LAUNCH_ID, PLAN_DIGEST, PROBE, TASK, pod_name
from gateway.commands.client import GatewayClient
from gateway.identity.development import DevIssuer
from gateway.runs.events import RunFinished, TaskFinished, TaskStarted
from gateway.runs.executor import RunOrder
from gateway.settings import Settings

pytestmark = pytest.mark.usefixtures("fake_nodes")
HELD = "hold=running"
Rigs = Callable[..., AbstractAsyncContextManager[PodRig]]


@pytest.fixture
def rigs(api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path) -> Rigs:
    """Make runs in a namespace of this test: one gateway after the other."""
    return partial(rig, api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig")


async def left(rigs: Rigs, order: RunOrder, pods: int) -> tuple[RunOrder, list[Any]]:
    """Run an order until its pods run, stop, and return what the next gateway is told to do."""
    async with rigs() as first:
        await first.supervisor.start(order)
        await when(lambda: first.witness.attempts() == pods)
        for task in {event.key for event in first.told(TaskStarted)}:
            await first.pod(task=task)
        await first.supervisor.close()
        assert first.told(RunFinished) == []
        ended = {e.key for e in first.told(TaskFinished)}
        again = {e.key: e.attempt for e in first.told(TaskStarted) if e.key not in ended}
        known = replace(
            order,
            alive=frozenset(again),
            attempts={key: attempt - 1 for key, attempt in again.items()},
        )
        return known, await first.listed()


async def test_running_pods_are_taken_up(rigs: Rigs) -> None:
    """The next gateway finds the pods, waits for their end, and makes no other."""
    async with rigs() as first:
        order = await first.order("Scene", plays=f"{HELD}|{HELD}")
    known, pods = await left(rigs, order, 2)
    async with rigs() as second:
        await second.supervisor.start(known)
        await when(lambda: len(second.told(TaskStarted)) == 2)
        for each in pods:
            await second.wish(each, hold="go")
        assert (await second.end(known)).status == "succeeded"
        assert (second.failures, second.witness.attempts()) == ([], 0)


async def test_what_ended_meanwhile_is_read_off_the_pod(rigs: Rigs) -> None:
    """Outcomes that came while nobody was there are not lost, good or bad."""
    async with rigs() as first:
        order = await first.order("Scene", plays=f"{HELD};|{HELD};")
    known, pods = await left(rigs, order, 2)
    async with rigs() as idle:
        await idle.wish(pods[0], hold="go")
        await idle.wish(pods[1], hold="go", exit_code="7")
        await idle.pod("Succeeded")
        await idle.pod("Failed")
    async with rigs() as second:
        assert (await second.carry(known)).status == "succeeded"
        assert second.failures == ["its process ended with exit code 7"]
        assert second.witness.attempts() == 1  # the retry of the one that failed


async def test_masked_task_is_taken_up(rigs: Rigs) -> None:
    """So is a pod whose task came by a Secret: it is known by everything but the Secret."""
    async with rigs() as first:
        order = await first.order("Keeper", token="hush-hush", shown=("name", "play"))
        assert order.graph.sealed
        await first.supervisor.start(order)
        await when(lambda: first.witness.attempts() == 1)
        await first.supervisor.close()
    (key,) = order.graph.sealed
    async with rigs() as second:
        end = await second.carry(replace(order, alive=frozenset({key}), attempts={key: 0}))
        assert (end.status, second.failures, second.witness.attempts()) == ("succeeded", [], 0)


async def test_pod_that_fills_the_quota_is_taken_up(rigs: Rigs, api: Api, namespace: str) -> None:
    """Creating is refused before names are compared; the pod is found all the same."""
    async with rigs() as first:
        order = await first.order(play=HELD)
    known, (held,) = await left(rigs, order, 1)
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    meta = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    hard = {"pods": "1"}
    api.create(path, {**meta, "spec": {"hard": hard}})
    api.merge(f"{path}/few/status", {"status": {"hard": hard, "used": hard}})
    await asyncio.sleep(0.5)
    async with rigs() as second:
        await second.supervisor.start(known)
        await when(lambda: second.told(TaskStarted))
        await second.wish(held, hold="go")
        assert (await second.end(known)).status == "succeeded"
        assert (second.failures, second.witness.attempts()) == ([], 0)


CHANGES = {
    "annotation": {"metadata": {"annotations": {PLAN_DIGEST: "another"}}},
    "label": {"metadata": {"labels": {"sluice/profile": f"p-{'9' * 32}"}}},
    "second label": {"metadata": {"labels": {"app": "web"}}},
    "specification": {"spec": {"activeDeadlineSeconds": 3600}},
}


@pytest.mark.parametrize("name", CHANGES)
async def test_pod_that_was_tampered_with_is_refused(rigs: Rigs, name: str) -> None:
    """It is not the one that was approved: it is ended, unheard, and Luigi retries."""
    async with rigs() as first:
        order = await first.order(play=f"{HELD};")
    known, (held,) = await left(rigs, order, 1)
    async with rigs() as second:
        await second.admin("merge", held["metadata"]["name"], CHANGES[name])
        await second.supervisor.start(known)
        assert (await second.end(known)).status == "succeeded"
        assert second.failures == [
            "a pod of that name is there, and is not the one that was approved"
        ]


async def test_old_questions_are_ended(rigs: Rigs) -> None:
    """A pod that asked what is complete, for a gateway that is gone, is deleted first."""
    async with rigs() as runs:
        order = await runs.order(play="")
        old = pod(pod_name(order.launch_id, PROBE, 5), hold="running")
        old["metadata"]["annotations"] |= {LAUNCH_ID: order.launch_id, TASK: PROBE}
        await runs.admin("create", "", old)
        await when(lambda: old["metadata"]["name"] in runs.pods.seen)
        assert (await runs.carry(order)).status == "succeeded"
        await when(lambda: not runs.pods.seen)


# --- the whole gateway, under the installed guard rails -------------------------------------------


@pytest.fixture
def site(guarded: Installation, tmp_path: Path) -> Iterator[Settings]:
    """What a gateway of its own process needs; no pod is left afterwards."""
    with cleared(guarded.admin):
        yield settings(guarded, tmp_path)


@asynccontextmanager
async def process(site: Settings) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run ``sluice serve`` until the block ends."""
    cluster = site.cluster
    environment = {
        "PATH": os.environ["PATH"],
        "SLUICE_STATE_DIR": str(site.state_dir),
        "SLUICE_HTTP__PORT": "0",
        "SLUICE_IDENTITY__DEVELOPMENT_ISSUER": "true",
        "SLUICE_POLICY__DIRECTORY": str(site.policy.directory),
        "SLUICE_RUNS__PARALLEL_TASKS": "20",
        "SLUICE_CLUSTER__ENABLED": "true",
        "SLUICE_CLUSTER__KUBECONFIG": str(cluster.kubeconfig),
        "SLUICE_CLUSTER__RUNNER_TOKEN": str(cluster.runner_token),
        "SLUICE_CLUSTER__BINDER_TOKEN": str(cluster.binder_token),
        "SLUICE_CLUSTER__IMAGE": cluster.image,
    }
    with (site.state_dir.parent / "gateway.log").open("ab") as log:
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve"),
            cwd=ROOT,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert started.stdout is not None
    line = (await asyncio.wait_for(started.stdout.readline(), 60)).decode()
    found = re.search(r"http://\S+", line)
    assert found, (line, (site.state_dir.parent / "gateway.log").read_text()[-2000:])
    try:
        yield started, found.group()
    finally:
        if started.returncode is None:
            started.send_signal(signal.SIGTERM)
            await asyncio.wait_for(started.wait(), 60)


def client(site: Settings, url: str) -> GatewayClient:
    """Return a client of the gateway at an address."""
    return GatewayClient(url, DevIssuer.open(site.keys_dir).issue(subject="ada"))


def scene(*plays: str) -> dict[str, Any]:
    """Return a launch whose tasks are played so."""
    parameters = {"plays": "|".join(plays)}
    return {"pipeline": "scene", "parameters": parameters, "reason": "test"}


async def outcome(ada: GatewayClient, launch_id: str) -> str:
    """Return how a launch ended."""
    async with asyncio.timeout(90):
        async for event in ada.events(launch_id):
            last = event
    return str(last.data["state"])


@pytest.mark.parametrize("how", ["kill", "terminate"])
async def test_gateway_ends_while_pods_run(
    guarded: Installation, site: Settings, cluster: dict[str, str], how: str
) -> None:
    """By ``kill -9`` or politely: the next one adopts the same pods, and hears what it missed."""
    admin = guarded.admin
    async with witness(Path(cluster["KUBECONFIG"]), TASKS) as seen:
        async with process(site) as (first, url), client(site, url) as ada:
            launch_id = (await ada.post("/v1/launches", scene(HELD, HELD)))["id"]
            running = lambda: [  # noqa: E731 -- a question, asked below
                pod for pod in alive(admin, launch_id) if pod["status"].get("phase") == "Running"
            ]
            await when(lambda: len(running()) == 2, 60)
            pods = running()
            getattr(first, how)()
            await asyncio.wait_for(first.wait(), 60)
        assert {pod["metadata"]["uid"] for pod in running()} == {
            pod["metadata"]["uid"] for pod in pods
        }
        go = {"metadata": {"annotations": {"bed.sluice/hold": "go"}}}
        admin.merge(f"{PODS}/{pods[0]['metadata']['name']}", go)  # ends while nobody is there
        async with process(site) as (_, url), client(site, url) as ada:
            await asyncio.sleep(1)
            admin.merge(f"{PODS}/{pods[1]['metadata']['name']}", go)
            assert await outcome(ada, launch_id) == "succeeded"
            shown = await ada.get(f"/v1/launches/{launch_id}")
        assert shown["tasks"], shown
        assert len(seen.made) == 2
    assert alive(admin, launch_id) == []


async def test_gateway_killed_while_it_cancels(guarded: Installation, site: Settings) -> None:
    """The next one finishes the cancel: no pod is left."""
    admin = guarded.admin
    async with process(site) as (first, url), client(site, url) as ada:
        launch_id = (await ada.post("/v1/launches", scene(f"{HELD}+terminating")))["id"]
        await when(
            lambda: [p for p in alive(admin, launch_id) if p["status"].get("phase") == "Running"],
            60,
        )
        (pod,) = alive(admin, launch_id)
        asking = asyncio.create_task(ada.post(f"/v1/launches/{launch_id}/cancel"))
        await when(lambda: "deletionTimestamp" in alive(admin, launch_id)[0]["metadata"])
        first.kill()
        await first.wait()
        await asyncio.wait([asking])
        asking.exception()
    async with process(site) as (_, url), client(site, url) as ada:
        assert (await ada.get(f"/v1/launches/{launch_id}"))["state"] == "cancelling"
        go = {"metadata": {"annotations": {"bed.sluice/hold": "go"}}}
        admin.merge(f"{PODS}/{pod['metadata']['name']}", go)
        assert await outcome(ada, launch_id) == "cancelled"
    assert alive(admin, launch_id) == []
