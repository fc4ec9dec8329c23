"""Code that nobody needs goes from the cluster; what is needed stays, or is back.

On a real API server. Each test has a namespace of its own, a clock that it moves, and a store of
launches; the last ones have the installed guard rails and the gateway's own accounts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from bed.api import Api, ApiError, Object
from bed.attempts import refused
from bed.installation import TASKS, Installation
from bed.objects import collection, pod
from cut_bed import HELD, cleared, ended, launch, settings
from gateway_bed import ROOT, serve
from payloads_bed import Ahead, Yard, may_delete, stored, through
from pods_bed import MuteDoor, rig, when
from structlog.testing import capture_logs

from gateway.cluster.client import ClusterAway, ClusterClient
from gateway.cluster.collector import PayloadCollector
from gateway.cluster.delivery import Deliveries
from gateway.cluster.marks import payload_name
from gateway.ground import find_cluster
from gateway.runs.events import RunEvent, TaskStarted
from gateway.settings import Settings
from gateway.states import LaunchState

pytestmark = pytest.mark.usefixtures("fake_nodes")
OLD_GUEST = payload_name("guest", "0" * 64)
OLD_CODE = payload_name("code", "1" * 64)
FOREIGN = ("settings", "sluice-code-mine", f"sluice-code-{'1' * 31}", f"my-sluice-code-{'1' * 32}")


@pytest.fixture
async def yard(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> AsyncIterator[Yard]:
    """Runs of a gateway that keeps code for a day and is patient for two minutes."""
    async with (
        rig(api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig") as runs,
        stored(tmp_path) as database,
    ):
        yield Yard(runs, database, Settings(state_dir=tmp_path), Ahead())


async def test_collected_when_nobody_needs_it(yard: Yard) -> None:
    """Code of ended runs goes; entry points, of older versions too, and others' things stay."""
    assert (await yard.runs.play("")).status == "succeeded"
    order = await yard.runs.order()
    yard.make(OLD_GUEST, OLD_CODE, *FOREIGN)
    yard.clock.advance(hours=25)
    shape = await yard.shape(yard.deliveries())
    with capture_logs() as logs:
        assert await yard.collect() == {OLD_CODE, shape.code}
    (told,) = [line for line in logs if line["event"] == "payloads_collected"]
    assert set(told["config_maps"]) == {OLD_CODE, shape.code}
    assert yard.there() == {shape.guest, OLD_GUEST, "kube-root-ca.crt", *FOREIGN}
    yard.clock.advance(days=30)
    assert await yard.collect() == set()
    assert order.code_path.is_dir()


async def test_kept_while_it_is_young(yard: Yard) -> None:
    """The day, and the time for which a pod may be tried, begin anew with each delivery."""
    code = await yard.code()
    yard.make(OLD_CODE)
    yard.clock.advance(hours=23)
    assert await yard.collect() == set()
    assert await yard.code() == code
    yard.clock.advance(hours=1, seconds=60)
    assert await yard.collect() == set()
    yard.clock.advance(seconds=120)
    assert await yard.collect() == {OLD_CODE}
    yard.clock.advance(hours=22, minutes=55)
    assert await yard.collect() == set()
    yard.clock.advance(minutes=5)
    assert await yard.collect() == {code}


VOLUMES: dict[str, Object] = {
    "volume": {"configMap": {"name": OLD_CODE}},
    "projected": {"projected": {"sources": [{"configMap": {"name": OLD_CODE}}]}},
}


@pytest.mark.parametrize(
    ("volume", "phase"),
    [("volume", "Pending"), ("projected", "Running"), ("volume", "Succeeded")],
)
async def test_kept_while_a_pod_mounts_it(yard: Yard, volume: str, phase: str) -> None:
    """Whosever pod it is, and until it is gone: it may not have been started yet."""
    yard.make(OLD_CODE)
    held = {} if phase == "Succeeded" else {"hold": phase.lower()}
    wanted = pod("mounts", **held)
    wanted["spec"]["volumes"] = [{"name": "code", **VOLUMES[volume]}]
    yard.runs.api.create(yard.runs.path, wanted)
    mine = f"{yard.runs.path}/mounts"
    yard.runs.api.when(mine, lambda found: found["status"].get("phase") == phase)
    yard.clock.advance(days=3)
    assert await yard.collect_anew() == set()
    yard.runs.api.delete(mine, gracePeriodSeconds="0")
    assert await yard.collect_anew() == {OLD_CODE}


async def test_kept_while_our_own_pod_runs(yard: Yard) -> None:
    """A gateway that was just started finds the pods of the former one, and what they mount."""
    order = await yard.runs.order(play=HELD)
    await yard.runs.supervisor.start(order)
    await yard.runs.pod()
    yard.clock.advance(days=3)
    assert await yard.collect_anew() == set()
    await yard.runs.supervisor.cancel(order.launch_id)
    assert len(await yard.collect_anew()) == 1


async def test_kept_while_a_launch_may_need_it(yard: Yard) -> None:
    """A stopped gateway's launches stand in the store; those that have not ended count."""
    code = await yard.code()
    digest = (await yard.runs.order()).code_digest
    await yard.launch(LaunchState.QUEUED, "2" * 64, "lives in an image")
    for state in LaunchState:
        await yard.launch(state, digest)
        for collect in (yard.collect, yard.collect_anew):
            yard.clock.advance(days=3)
            assert await collect() == ({code} if state.final else set()), state
            assert await yard.code() == code  # for whoever comes next


async def test_kept_through_a_run_of_days(yard: Yard) -> None:
    """Between two pods of a run nothing mounts its code, however long that takes."""
    order = await yard.runs.order("Sequel")
    await yard.launch(LaunchState.RUNNING, order.code_digest, order.launch_id)
    swept = []

    async def sweep(event: RunEvent) -> None:
        if isinstance(event, TaskStarted):
            await when(lambda: not yard.runs.watch.pods)
            yard.clock.advance(days=3)
            swept.append(await yard.collect())

    yard.runs.hook = sweep
    assert (await yard.runs.carry(order)).status == "succeeded"
    assert swept == [set(), set()]
    await yard.launch(LaunchState.SUCCEEDED, order.code_digest, order.launch_id)
    assert len(await yard.collect()) == 1


async def test_delivered_again_after_it_was_collected(yard: Yard) -> None:
    """Nobody remembers that it was there: the next run brings it, and succeeds."""
    for _ in range(3):
        end = await yard.runs.play("")
        assert end.status == "succeeded", end
        assert len(yard.there()) == 3  # with the cluster's own
        yard.clock.advance(days=3)
        assert len(await yard.collect()) == 1


async def test_delivery_while_it_is_collected(yard: Yard) -> None:
    """Whichever comes first, what a delivery names is there when it returns, and stays."""
    collecting = yard.collecting()
    for attempt in range(16):
        await yard.code()
        yard.clock.advance(days=3)

        async def late(pause: float) -> str:
            await asyncio.sleep(pause)
            return await yard.code()

        _, code = await asyncio.gather(collecting.sweep(), late(attempt * 0.002))
        assert code in yard.there()
        assert await yard.collect() == set()


async def test_delivery_waits_for_a_deletion_under_way(yard: Yard) -> None:
    """It does not find what goes a moment later; and what was asked for first does not go."""
    code = await yard.code()
    yard.clock.advance(days=3)
    holds = yard.runs.deliveries.holds
    with holds.going(code, holds.until()) as free:
        assert free
        delivering = asyncio.create_task(yard.code())
        await asyncio.sleep(0.3)
        assert not delivering.done()
        yard.runs.api.delete(f"{yard.path}/{code}")
    assert await delivering == code
    assert code in yard.there()
    with holds.going(code, holds.until()) as free:
        assert not free


async def test_delivery_waits_for_one_that_goes_slowly(yard: Yard) -> None:
    """One that somebody deletes, and that stays for a finalizer, is not counted on."""
    code = await yard.code()
    mine = f"{yard.path}/{code}"
    stay: Object = {"metadata": {"finalizers": ["example.com/stay"]}}
    yard.runs.api.merge(mine, stay)
    yard.runs.api.delete(mine)
    with pytest.raises(ClusterAway, match="just going"):
        await yard.shape()
    yard.clock.advance(days=3)
    assert await yard.collect_anew() == set()  # it goes already, and not by us
    yard.runs.api.merge(mine, {"metadata": {"finalizers": None}})
    assert (await yard.shape()).code == code
    assert code in yard.there()


async def test_a_deletion_without_an_answer_may_come_late(
    yard: Yard, cluster: dict[str, str], tmp_path: Path
) -> None:
    """Deliveries wait until it cannot be obeyed any more; then the code is brought again."""
    code = await yard.code()
    yard.clock.advance(days=3)
    (made,) = [
        each["metadata"]["uid"]
        for each in yard.runs.api.get(yard.path)["items"]
        if each["metadata"]["name"] == code
    ]
    async with (
        MuteDoor(yard.runs.api.server) as door,
        through(door, Path(cluster["KUBECONFIG"]), tmp_path) as client,
    ):
        deliveries = yard.runs.deliveries
        collector = PayloadCollector(client, yard.runs.cluster.namespace, deliveries)
        await client.get(yard.path)  # a connection, so that the deletion itself gets through
        door.mute = True
        deleting = asyncio.create_task(collector._delete(code, made, deliveries.holds.until()))
        await when(lambda: code not in yard.there())
        await door.shut()
        delivering = asyncio.create_task(yard.code())
        await asyncio.sleep(1)
        assert not delivering.done()
        with pytest.raises(ClusterAway):
            await deleting
    assert await delivering == code
    assert code in yard.there()


async def test_failures_are_told_and_tried_again(
    yard: Yard, cluster: dict[str, str], tmp_path: Path
) -> None:
    """Nobody answers, nothing goes; when somebody does, the next sweep takes it."""
    yard.make(OLD_CODE)
    yard.clock.advance(days=3)
    quick = yard.settings.cluster.model_copy(update={"audit_seconds": 0.05})
    yard.settings = yard.settings.model_copy(update={"cluster": quick})
    async with (
        MuteDoor(yard.runs.api.server) as door,
        through(door, Path(cluster["KUBECONFIG"]), tmp_path) as client,
    ):
        await door.shut()
        with capture_logs() as logs:
            sweeping = asyncio.create_task(yard.collecting(client=client).run())
            await when(lambda: len([x for x in logs if x["event"] == "collecting_failed"]) > 2)
            assert OLD_CODE in yard.there()
            await door.open()
            await when(lambda: OLD_CODE not in yard.there())
            await when(lambda: "payloads_collected" in [line["event"] for line in logs])
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping


async def test_sweep_that_is_refused_one_takes_the_others(
    yard: Yard, cluster: dict[str, str], tmp_path: Path
) -> None:
    """What the cluster does not let go is told of, and does not stop the rest."""
    kept, taken = payload_name("code", "3" * 64), payload_name("code", "4" * 64)
    yard.make(kept, taken)
    yard.clock.advance(days=3)
    (tmp_path / "token").write_text(may_delete(yard, taken))
    client = await ClusterClient.open(Path(cluster["KUBECONFIG"]), tmp_path / "token")
    try:
        with capture_logs() as logs:
            assert await yard.gone_by(yard.collecting(client=client)) == {taken}
    finally:
        await client.close()
    (told,) = [line for line in logs if line["log_level"] == "warning"]
    assert (told["event"], told["config_map"]) == ("payload_not_collected", kept)


# --- under the guard rails, with the gateway's own accounts ---------------------------------------

MAPS = collection(TASKS, "configmaps")


@pytest.fixture
def named(guarded: Installation, request: pytest.FixtureRequest) -> str:
    """A ConfigMap of a name, made by whoever may."""
    name: str = request.param
    who = "runner" if name.startswith("sluice-") else "admin"
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    with suppress(ApiError):
        guarded.admin.delete(f"{MAPS}/{name}")
    guarded[who].create(MAPS, {**wanted, "immutable": True})
    return name


@pytest.mark.parametrize("named", [*FOREIGN, OLD_GUEST], indirect=True)
def test_guardrails_refuse_that_the_runner_deletes_foreign(
    guarded: Installation, named: str
) -> None:
    """It deletes code and nothing else: who could replace an entry point could run anything."""
    says = "the gateway's runner deletes code, and no other config map"
    refused(lambda: guarded["runner"].delete(f"{MAPS}/{named}"), "sluice-payloads", says)
    guarded.admin.get(f"{MAPS}/{named}")
    refused(
        lambda: guarded["runner"].delete(f"{MAPS}/kube-root-ca.crt", dryRun="All"),
        "sluice-payloads",
        says,
    )


@pytest.mark.parametrize("named", [OLD_CODE], indirect=True)
def test_guardrails_accept_that_the_runner_deletes_code(guarded: Installation, named: str) -> None:
    """Each byte of it is checked by the entry point."""
    guarded["runner"].delete(f"{MAPS}/{named}")
    with pytest.raises(ApiError, match="not found"):
        guarded.admin.get(f"{MAPS}/{named}")


@pytest.mark.parametrize("who", ["admin", "stranger"])
@pytest.mark.parametrize("named", [OLD_CODE, FOREIGN[0]], indirect=True)
def test_guardrails_leave_other_deletions_alone(
    guarded: Installation, named: str, who: str
) -> None:
    """Who has a right to delete ConfigMaps has it still, one by one and all at once."""
    guarded[who].delete(f"{MAPS}/{named}", dryRun="All")
    guarded[who].delete(MAPS, fieldSelector=f"metadata.name={named}")
    with pytest.raises(ApiError, match="not found"):
        guarded.admin.get(f"{MAPS}/{named}")


async def test_whole_gateway_collects_and_delivers_again(
    guarded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is put together: its loop, its runner's rights, the guards, and runs that succeed."""
    monkeypatch.chdir(ROOT)
    chosen = settings(guarded, tmp_path)
    often = chosen.cluster.model_copy(update={"audit_seconds": 0.5})
    chosen = chosen.model_copy(update={"cluster": often})

    def there() -> set[str]:
        names = {each["metadata"]["name"] for each in guarded.admin.get(MAPS)["items"]}
        return {name for name in names if name.startswith("sluice-code-")}

    with cleared(guarded.admin):
        for name in there():
            guarded.admin.delete(f"{MAPS}/{name}")
        async with serve(chosen) as served, AsyncExitStack() as stack:
            assert "collecting" in {task.get_name() for task in asyncio.all_tasks()}
            first = await launch(served, [""], running=0)
            assert (await ended(served, first))["state"] == "succeeded"
            second = await launch(served, [HELD])
            (code,) = there()
            parts = served.gateway.parts
            found = await find_cluster(chosen, parts.database, parts.keys, stack)
            assert found is not None
            ahead = Deliveries(found.runner, chosen.cluster, clock=Ahead(timedelta(days=3)))
            collecting = replace(found, deliveries=ahead).collecting(parts)
            sweeping = asyncio.create_task(collecting.run())
            stack.push_async_callback(partial(stopped, sweeping))
            await asyncio.sleep(2)
            assert there() == {code}
            async with served.client("ada") as ada:
                await ada.post(f"/v1/launches/{second}/cancel", {})
            assert (await ended(served, second))["state"] == "cancelled"
            await when(lambda: not there())
            await stopped(sweeping)
            third = await launch(served, [""], running=0)
            assert (await ended(served, third))["state"] == "succeeded"
            assert there() == {code}


async def stopped(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
