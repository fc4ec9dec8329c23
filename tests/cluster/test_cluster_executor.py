"""What every executor promises (``gateway/runs/executor.py``), as far as played pods can show it.

Beside it: where a masked value goes, which is into the attempt's Secret and nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from bed.api import Api
from bed.installation import TASKS, Installation
from bed.objects import collection
from cordon_bed import cordon
from cut_bed import cleared, settings
from gateway_bed import ROOT, serve
from pods_bed import PodRig, rig, when

from gateway.errors import Misconfigured
from gateway.runs.executor import Assignment, Outcome, Progress, RunOrder
from tests.fixtures.luigi_ids import luigi_id

pytestmark = pytest.mark.usefixtures("fake_nodes")
HELD = "hold=running"
SECRET = "hush-hush-7731"
SPELLED = "hush_hush_7731"  # of it in Luigi's id of a task


@pytest.fixture
async def runs(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> AsyncIterator[PodRig]:
    """Runs in a namespace of this test."""
    async with rig(api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig") as made:
        yield made


def _root(order: RunOrder) -> Assignment:
    return Assignment.of(order.graph, order.graph.root)


def _deaf(_: Progress) -> None:
    """Hear no progress."""


async def test_a_run(runs: PodRig) -> None:
    """One pod for each attempt, and none is left when the outcomes are on record."""
    end = await runs.carry(await runs.order("Scene", plays="||"))
    assert (end.status, end.reason) == ("succeeded", "4 tasks done")
    assert runs.witness.attempts() == 3
    await when(lambda: not runs.pods.seen)


async def test_says_what_it_enforces(runs: PodRig) -> None:
    """Cilium enforces, pods outlive the gateway, and the walls are named."""
    executor = runs.executor("a launch")
    assert (executor.enforcement, executor.warning, executor.adopts) == ("cilium", "", True)
    assert executor.layers["network_profile"] is True
    assert executor.layers["canary"] is False


async def test_runs_and_asks(runs: PodRig) -> None:
    """A prepared executor asks what is complete, and runs a task to its outcome."""
    order = await runs.order(play="")
    executor = runs.executor(order.launch_id)
    await executor.prepare(order)
    task = _root(order)
    assert await executor.probe([task]) == {task.node.key: False}
    assert await executor.run(task, 1, _deaf) == Outcome("DONE", "", ())
    await executor.close()


async def test_nothing_is_alive_after_run(runs: PodRig) -> None:
    """(1) ``run`` returns when the killed pod is gone, and not before."""
    order = await runs.order(play=f"{HELD}+terminating")
    executor = runs.executor(order.launch_id)
    await executor.prepare(order)
    running = asyncio.create_task(executor.run(_root(order), 1, _deaf))
    pod = await runs.pod()
    await executor.kill(order.graph.root, 1)
    await asyncio.sleep(0.5)
    assert not running.done()
    await runs.wish(pod, hold="go")
    assert (await running).status == "FAILED"
    assert await runs.listed() == []
    await executor.close()


async def test_never_two_at_once(runs: PodRig) -> None:
    """(2) A second attempt begins when the first has ended; killed before that, it never begins."""
    order = await runs.order(play=HELD)
    executor = runs.executor(order.launch_id)
    await executor.prepare(order)
    first = asyncio.create_task(executor.run(_root(order), 1, _deaf))
    await runs.pod()
    second = asyncio.create_task(executor.run(_root(order), 2, _deaf))
    third = asyncio.create_task(executor.run(_root(order), 3, _deaf))
    await asyncio.sleep(0.3)
    assert runs.witness.attempts() == 1
    await executor.kill(order.graph.root, 3)
    await executor.kill(order.graph.root, 1)
    await first
    await runs.pod()
    await executor.kill(order.graph.root, 2)
    assert {(await second).status, (await third).status} == {"FAILED"}
    assert runs.witness.attempts() == 2
    await executor.close()


async def test_kill_of_nobody_and_of_what_has_not_begun(runs: PodRig) -> None:
    """Neither is an error; what is killed as it begins leaves no pod."""
    order = await runs.order(play=HELD)
    executor = runs.executor(order.launch_id)
    await executor.prepare(order)
    await executor.kill(order.graph.root, 7)
    running = asyncio.create_task(executor.run(_root(order), 1, _deaf))
    await asyncio.sleep(0)
    await executor.kill(order.graph.root, 1)
    assert (await running).status == "FAILED"
    assert await runs.listed() == []
    await executor.close()


async def test_close_ends_everything(runs: PodRig) -> None:
    """A closed executor has nothing alive, and starts nothing more."""
    order = await runs.order(play=HELD)
    executor = runs.executor(order.launch_id)
    await executor.prepare(order)
    running = asyncio.create_task(executor.run(_root(order), 1, _deaf))
    await runs.pod()
    began = time.monotonic()
    await executor.close()
    assert time.monotonic() - began < 10
    assert await runs.living() == []
    assert (await running).status == "FAILED"
    assert (await executor.run(_root(order), 2, _deaf)).status == "FAILED"
    assert runs.witness.attempts() == 1


async def test_a_run_that_was_not_planned_for_a_cluster(runs: PodRig) -> None:
    """Without a plan of what its pods are, nothing is made."""
    order = await runs.order(pods=None)
    with pytest.raises(Misconfigured) as caught:
        await runs.executor(order.launch_id).prepare(order)
    assert caught.value.code == "no_pod_plan"


async def test_masked_values_are_in_the_attempts_secret_alone(runs: PodRig, namespace: str) -> None:
    """Not in the pod, and gone with it: the pod owns the Secret."""
    order = await runs.order("Keeper", token=SECRET, shown=("name", "play"))
    executor = runs.executor(order.launch_id)
    await executor.prepare(order)
    async with cordon(runs.api) as nodes:
        await nodes.shut()
        running = asyncio.create_task(executor.run(_root(order), 1, _deaf))
        await runs.wish(await runs.pod("Pending"), hold="running")
    pod = await runs.pod()
    secrets = runs.api.get(collection(namespace, "secrets"))["items"]
    (secret,) = (each for each in secrets if each["metadata"]["name"] == pod["metadata"]["name"])
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Pod", pod["metadata"]["uid"])
    assert secret["immutable"] is True
    assert SECRET not in json.dumps(pod)
    assert SPELLED not in json.dumps(pod)
    await runs.wish(pod, hold="go")
    assert (await running).status == "DONE"
    executor.settled(order.graph.root, 1)
    await when(lambda: not runs.pods.seen)
    path = collection(namespace, "secrets")
    await asyncio.to_thread(
        runs.api.when, path, lambda found: pod["metadata"]["name"] not in str(found["items"])
    )
    await executor.close()


async def test_masked_tasks_are_named_to_their_pods_as_luigi_does(
    runs: PodRig, namespace: str
) -> None:
    """Itself, what it waits for and what it may name: its guest knows them by no other id."""
    order = await runs.order("Reader", token=SECRET, shown=("name", "play"))
    executor = runs.executor(order.launch_id)
    await executor.prepare(order)
    async with cordon(runs.api) as nodes:
        await nodes.shut()
        running = asyncio.create_task(executor.run(_root(order), 1, _deaf))
        pod = await runs.pod("Pending")
        secrets, name = collection(namespace, "secrets"), pod["metadata"]["name"]
        await asyncio.to_thread(  # it comes after the pod
            runs.api.when,
            secrets,
            lambda found: name in {item["metadata"]["name"] for item in found["items"]},
        )
        secret = await asyncio.to_thread(runs.api.get, f"{secrets}/{name}")
    told = json.loads(base64.b64decode(secret["data"]["task.json"]))
    keeper = luigi_id("Keeper", name="it", play="", token=SECRET)
    own = {"name": "it", "play": "", "seconds": "0", "token": SECRET, "tries": "0"}
    assert SPELLED in keeper
    assert told["node"]["task_id"] == luigi_id("Reader", **own)
    assert (told["node"]["deps"], told["known"]) == ([keeper], [keeper])
    await executor.kill(order.graph.root, 1)
    await running
    await executor.close()


async def test_masked_values_are_in_no_record(
    guarded: Installation,
    cluster: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither decision log, nor database, nor the server's audit log, nor our own holds one."""
    monkeypatch.chdir(ROOT)
    chosen = settings(guarded, tmp_path)
    catalogue = chosen.policy.directory / "data" / "pipelines.yaml"
    rows = yaml.safe_load(catalogue.read_text())
    given = {"name": "what to call it", "token": "what nobody sees"}
    rows["keeper"] = rows["scene"] | {
        "task": "Keeper",
        "parameters": {
            name: {"description": text, "shown": name == "name"} for name, text in given.items()
        },
    }
    catalogue.write_text(json.dumps(rows))  # JSON is YAML, without aliases
    parameters = {"token": SECRET, "name": "shown"}
    body = {"pipeline": "keeper", "parameters": parameters, "reason": "test"}
    with cleared(guarded.admin):
        async with serve(chosen) as served, served.client("ada") as ada:
            launch_id = (await ada.post("/v1/launches", body))["id"]
            async for event in ada.events(launch_id):
                last = event
            assert last.data["state"] == "succeeded", last.data
            shown = json.dumps(await ada.get(f"/v1/launches/{launch_id}"))
            entries = await served.gateway.parts.log.entries(0, 500)
    out = capsys.readouterr()
    record = cluster.get("SLUICE_CLUSTER_AUDIT_LOG")  # which a cluster that was given may not have
    audit = Path(record).read_text() if record else ""
    told = shown + json.dumps([entry.value for entry in entries]) + audit + out.out + out.err
    for word in (SECRET, SPELLED):
        assert word not in told
        for path in chosen.state_dir.rglob("*"):
            assert not path.is_file() or word.encode() not in path.read_bytes(), path
    left = guarded.admin.get(collection(TASKS, "secrets"))["items"]
    assert launch_id.replace("-", "") not in json.dumps([each["metadata"]["name"] for each in left])
