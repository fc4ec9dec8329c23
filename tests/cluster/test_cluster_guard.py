"""Guard rails that are gone stop launches, and are missed within one round of the check."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import ApiError
from bed.installation import GUARDS, TASKS, Installation
from bed.objects import PROFILES, collection
from cut_bed import alive, cleared, ended, launch, served_api, settings
from gateway_bed import ROOT, Served, serve
from pods_bed import MuteDoor

from gateway.cluster.client import ClusterClient
from gateway.cluster.guard import try_forbidden
from gateway.cluster.running import Pods
from gateway.cluster.watching import PodWatch
from gateway.settings import ClusterSettings

pytestmark = pytest.mark.usefixtures("fake_nodes")
BINDINGS = f"{GUARDS}/validatingadmissionpolicybindings"


@pytest.fixture
async def door(guarded: Installation) -> AsyncIterator[MuteDoor]:
    """The gateway's way to the API server, which can be shut."""
    async with MuteDoor(guarded.admin.server) as made:
        yield made


@pytest.fixture
async def served(
    guarded: Installation, door: MuteDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    """A gateway that tries the guard rails each second."""
    monkeypatch.chdir(ROOT)
    chosen = settings(guarded, tmp_path)
    kubeconfig = door.kubeconfig(guarded.kubeconfig, tmp_path)
    change = {"guard_seconds": 1.0, "kubeconfig": kubeconfig}
    cluster = chosen.cluster.model_copy(update=change)
    with cleared(guarded.admin):
        async with serve(chosen.model_copy(update={"cluster": cluster})) as found:
            yield found


@pytest.fixture
def opened(guarded: Installation) -> Iterator[Any]:
    """Take the guard of pods away; it is back at the end."""
    path = f"{BINDINGS}/sluice-pods"
    kept = guarded.admin.get(path)
    fresh = copy.deepcopy(kept)
    for name in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
        fresh["metadata"].pop(name, None)

    class Rails:
        def remove(self) -> None:
            guarded.admin.delete(path)

        def put_back(self) -> None:
            guarded.admin.create(BINDINGS, fresh)

    yield Rails()
    try:
        guarded.admin.get(path)
    except ApiError:
        guarded.admin.create(BINDINGS, fresh)


async def events(served: Served, prefix: str) -> list[dict[str, Any]]:
    """Return what the log says of a kind."""
    found = await served.gateway.parts.log.entries(0, 100, event_prefix=prefix)
    return [entry.value for entry in found]


async def told(served: Served, prefix: str, after: int = 0) -> dict[str, Any]:
    """Wait for an entry of a kind, after one with a sequence number, and return it."""
    async with asyncio.timeout(30):
        while True:
            for found in await events(served, prefix):
                if found["seq"] > after:
                    return found
            await asyncio.sleep(0.1)


async def check(served: Served, name: str) -> tuple[bool, str]:
    """Return readiness, and what it says of one thing."""
    report = await served.gateway.readiness.report()
    return report["ready"], report["checks"][name]


async def until(served: Served, name: str, *, ok: bool, seconds: float = 30) -> str:
    """Wait until readiness says that a thing is well, or is not; return its words."""
    async with asyncio.timeout(seconds):
        while True:
            text = (await check(served, name))[1]
            if (text == "ok") == ok:
                return text
            await asyncio.sleep(0.1)


async def alarm(served: Served, what: str) -> float:
    """Return what Prometheus is told."""
    async with served.client("ada") as ada:
        lines = (await ada.text("/metrics")).splitlines()
    (value,) = (line.split()[-1] for line in lines if f'alarm{{what="{what}"}}' in line)
    return float(value)


async def test_removed_guard_rails_stop_launches_until_they_are_back(
    served: Served, opened: Any
) -> None:
    """An entry, an unready gateway; what was allowed waits unbound, and then runs."""
    assert await check(served, "guard_rails") == (True, "ok")
    opened.remove()
    said = await until(served, "guard_rails", ok=False)
    assert said == "a pod with a second label would be accepted; apply deploy/ again"
    assert (await check(served, "guard_rails"))[0] is False
    assert await alarm(served, "guard_rails") == 1
    entry = await told(served, "guardrails.open")
    assert entry["body"] == {"reason": said}
    waiting = await launch(served, [""], running=0)
    postponed = await told(served, "launch.postponed")
    assert (postponed["launch_id"], said in postponed["body"]["reason"]) == (waiting, True)
    for prefix in ("network.bound", "run.started", "task"):
        log = served.gateway.parts.log
        assert await log.entries(0, 9, launch_id=waiting, event_prefix=prefix) == []
    opened.put_back()
    await until(served, "guard_rails", ok=True)
    await told(served, "guardrails.hold", after=entry["seq"])
    assert await alarm(served, "guard_rails") == await alarm(served, "strangers") == 0
    assert (await ended(served, waiting))["state"] == "succeeded"
    assert len(await events(served, "launch.postponed")) == 1


@pytest.mark.parametrize("how", ["cancel", "cut"])
async def test_launch_that_waits_for_guard_rails_can_be_ended(
    served: Served, opened: Any, how: str
) -> None:
    """It ends without ever having been bound, and no pod was made for it."""
    opened.remove()
    await until(served, "guard_rails", ok=False)
    waiting = await launch(served, [""], running=0)
    await told(served, "launch.postponed")
    async with served.client("ada") as ada:
        if how == "cancel":
            await ada.post(f"/v1/launches/{waiting}/cancel")
        else:
            said = await ada.post("/v1/stops", {"kind": "cut", "launch_id": waiting})
            assert [one["logged"] for one in said["launches"]] == [True]
    assert (await ended(served, waiting))["state"] == "cancelled"
    assert await events(served, "network.bound") == []
    assert await asyncio.to_thread(alive, served_api(served), waiting) == []
    opened.put_back()
    await until(served, "guard_rails", ok=True)


async def test_nobody_answers_for_long(served: Served, door: MuteDoor) -> None:
    """One try without an answer says nothing; five do, and the answer that comes is believed."""
    await door.shut()
    await until(served, "cluster", ok=False)
    assert await check(served, "guard_rails") == (False, "ok")
    said = await until(served, "guard_rails", ok=False)
    assert said.startswith("nobody can say whether they hold: ")
    await door.open()
    await until(served, "guard_rails", ok=True)
    await until(served, "cluster", ok=True)
    entry = await told(served, "guardrails.open")
    await told(served, "guardrails.hold", after=entry["seq"])


async def tried(kubeconfig: Path, chosen: ClusterSettings) -> str:
    """Try what is forbidden, as the accounts of the settings."""
    runner = await ClusterClient.open(kubeconfig, chosen.runner_token)
    binder = await ClusterClient.open(kubeconfig, chosen.binder_token)
    try:
        pods = Pods(runner, PodWatch(runner, chosen.namespace), chosen, bytes(32))
        return await try_forbidden(runner, binder, pods, chosen)
    finally:
        await runner.close()
        await binder.close()


async def test_trying_leaves_nothing(guarded: Installation, tmp_path: Path) -> None:
    """The tries are dry runs, refused by the guards that are meant."""
    chosen = settings(guarded, tmp_path).cluster
    before = [guarded.admin.get(collection(TASKS, kind))["items"] for kind in ("pods", PROFILES)]
    assert await tried(guarded.kubeconfig, chosen) == ""
    after = [guarded.admin.get(collection(TASKS, kind))["items"] for kind in ("pods", PROFILES)]
    assert after == before


async def test_refusal_by_something_else_is_no_guard(
    cluster: dict[str, str], namespace: str
) -> None:
    """Where no guard of ours stands, neither an open door nor another refusal passes for one."""
    kubeconfig = Path(cluster["KUBECONFIG"])
    elsewhere = ClusterSettings(namespace=namespace, service_account="default")
    assert "would be accepted" in await tried(kubeconfig, elsewhere)
    nowhere = elsewhere.model_copy(update={"service_account": "nobody"})
    assert "but not by the guard sluice-pods: " in await tried(kubeconfig, nowhere)
