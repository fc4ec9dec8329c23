"""A gateway compares the cluster's policies with its own time and again, and says what it found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bed.api import ApiError, Object
from bed.installation import TASKS, Installation
from bed.objects import PROFILES, collection
from catalogue_bed import Catalogue, ask
from cut_bed import HELD, alive, cleared, ended, labels, settings
from gateway_bed import ROOT, Served, serve
from opened_bed import opened

from gateway.network.marks import policy_name

pytestmark = pytest.mark.usefixtures("fake_nodes")
POLICIES = collection(TASKS, PROFILES)
NETWORK = f"/apis/networking.k8s.io/v1/namespaces/{TASKS}/networkpolicies"
WORLD: Object = {"egress": [{"toEntities": ["world"]}]}

Gateways = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def gateways(guarded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateways:
    """Run gateways that compare twice a second, and do not look at the guard rails meanwhile."""
    monkeypatch.chdir(ROOT)

    @asynccontextmanager
    async def run(**more: Any) -> AsyncIterator[Served]:
        chosen = settings(guarded, tmp_path)
        catalogue = Catalogue(chosen.policy.directory)
        for name, task in (("act", "Act"), ("fetch", "Fetch")):
            catalogue.enter(name, task, destinations=["open-data"])
        change = {"guard_seconds": 600.0, "audit_seconds": 0.5, **more}
        cluster = chosen.cluster.model_copy(update=change)
        with cleared(guarded.admin):
            async with serve(chosen.model_copy(update={"cluster": cluster})) as served:
                yield served

    return run


def foreign(kind: str) -> tuple[str, Object]:
    """Return path and object of a policy that is nobody's profile and allows everything."""
    meta = {"metadata": {"name": "theirs"}}
    if kind == "NetworkPolicy":
        spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
        return NETWORK, {"apiVersion": "networking.k8s.io/v1", "kind": kind, **meta, "spec": spec}
    spec = {"endpointSelector": {}, **WORLD}
    return POLICIES, {"apiVersion": "cilium.io/v2", "kind": kind, **meta, "spec": spec}


def without_guards(
    guarded: Installation, kind: str = "CiliumNetworkPolicy"
) -> AbstractAsyncContextManager[None]:
    """Let the administrator write policies as somebody does who has taken the guard away."""
    path, body = foreign(kind)
    probe = {**body, "metadata": {"name": "probe"}}
    forbidden = partial(guarded.admin.create, path, probe, dryRun="All")
    name = "sluice-foreign-policies" if kind == "NetworkPolicy" else "sluice-profiles"
    return opened(guarded, forbidden, name)


async def audits(served: Served) -> list[dict[str, Any]]:
    """Return what the log says was found, but for what was there before this gateway."""
    found = await served.gateway.parts.log.entries(0, 100, event_prefix="network.audit")
    bodies = [entry.value["body"] for entry in found]
    return [
        body for body in bodies if any(value for name, value in body.items() if name != "adopted")
    ]


async def found(served: Served, field: str, name: str) -> dict[str, Any]:
    """Wait for an entry that names something in a field."""
    async with asyncio.timeout(30):
        while True:
            for body in await audits(served):
                if name in body[field]:
                    return body
            await asyncio.sleep(0.1)


async def held(served: Served, guarded: Installation, pipeline: str) -> tuple[str, str]:
    """Launch a task that stays; return the launch's id and its policy's name when it runs."""
    launch_id = str((await ask(served, pipeline, play=HELD))["id"])
    async with asyncio.timeout(60):
        while True:
            pods = await asyncio.to_thread(alive, guarded.admin, launch_id)
            if pods and pods[0]["status"].get("phase") == "Running":
                (profile,) = labels(pods)
                return launch_id, policy_name(profile)
            await asyncio.sleep(0.1)


async def states(served: Served) -> tuple[bool, str, float]:
    """Return readiness, what it says of the policies, and what Prometheus is told of them."""
    report = await served.gateway.readiness.report()
    async with served.client("ada") as ada:
        lines = (await ada.text("/metrics")).splitlines()
    (line,) = (each for each in lines if 'sluice_cluster_alarm{what="network_policies"}' in each)
    return report["ready"], report["checks"]["network_policies"], float(line.split()[-1])


async def until_well(served: Served) -> None:
    """Wait until nothing is wrong with the policies."""
    async with asyncio.timeout(30):
        while True:
            if await states(served) == (True, "ok", 0):
                return
            await asyncio.sleep(0.1)


def there(guarded: Installation, name: str) -> Object | None:
    """Return a policy, or None where there is none."""
    try:
        return guarded.admin.get(f"{POLICIES}/{name}")
    except ApiError as error:
        if error.status != 404:
            raise
        return None


async def test_edited_and_deleted_policies_are_restored(
    gateways: Gateways, guarded: Installation
) -> None:
    """What runs has the network that was decided again, and the log says what it had meanwhile."""
    async with gateways() as served:
        _, wide = await held(served, guarded, "fetch")
        _, lost = await held(served, guarded, "act")
        before = {name: there(guarded, name) for name in (wide, lost)}
        async with without_guards(guarded):
            await asyncio.to_thread(guarded.admin.merge, f"{POLICIES}/{wide}", {"spec": WORLD})
            said = await found(served, "edited", wide)
            assert said["restored"] == [wide]
            assert "spec.egress[0].toEntities" in said["differences"][wide]
            await asyncio.to_thread(guarded.admin.delete, f"{POLICIES}/{lost}")
            said = await found(served, "missing", lost)
            assert said["restored"] == [lost]
        await until_well(served)
        for name, was in before.items():
            now = there(guarded, name)
            assert was is not None
            assert now is not None
            assert now["spec"] == was["spec"]
            assert now["metadata"]["uid"] != was["metadata"]["uid"]
        assert len(await audits(served)) == 2


@pytest.mark.parametrize("kind", ["CiliumNetworkPolicy", "NetworkPolicy"])
async def test_foreign_policy_is_an_alarm_until_it_is_gone(
    gateways: Gateways, guarded: Installation, kind: str
) -> None:
    """It is told once and left alone; as long as it is there nothing is bound."""
    path, body = foreign(kind)
    async with gateways() as served:
        await until_well(served)
        async with without_guards(guarded, kind):
            await asyncio.to_thread(guarded.admin.create, path, body)
        try:
            said = await found(served, "foreign", f"{kind}/theirs")
            assert said["restored"] == []
            ready, text, alarm = await states(served)
            assert (ready, text, alarm) == (False, f"foreign: ['{kind}/theirs']", 1)
            refused = await ended(served, (await ask(served, "act"))["id"])
            assert refused["state"] == "failed"
            assert f"may allow what nobody approved: {kind}/theirs" in refused["outcome"]
            log = served.gateway.parts.log
            for prefix in ("network.bound", "run.started"):
                entries = await log.entries(0, 9, launch_id=refused["id"], event_prefix=prefix)
                assert entries == []
            await asyncio.sleep(1)  # it has been found twice more
            assert len(await audits(served)) == 1
        finally:
            async with without_guards(guarded, kind):
                await asyncio.to_thread(guarded.admin.delete, f"{path}/theirs")
        await until_well(served)
        assert (await ended(served, (await ask(served, "act"))["id"]))["state"] == "succeeded"


async def test_unused_profile_is_collected(gateways: Gateways, guarded: Installation) -> None:
    """A while after its last launch its policy goes, with an entry; what is used stays."""
    async with gateways(keep_profile_seconds=2) as served:
        _, used = await held(served, guarded, "act")
        launch_id, unused = await held(served, guarded, "fetch")
        log = served.gateway.parts.log
        before = log.size  # what an earlier gateway left may have been collected by then
        async with served.client("ada") as ada:
            await ada.post(f"/v1/launches/{launch_id}/cancel")
        assert (await ended(served, launch_id))["state"] == "cancelled"
        collected = set[str]()
        async with asyncio.timeout(30):
            while unused not in collected:
                await asyncio.sleep(0.1)
                entries = await log.entries(before, 100, event_prefix="network.collected")
                names = [name for each in entries for name in each.value["body"]["profiles"]]
                collected = set(map(policy_name, names))
        assert there(guarded, unused) is None
        assert used not in collected
        assert there(guarded, used) is not None
        await until_well(served)
        _, again = await held(served, guarded, "fetch")
        assert again == unused
        assert there(guarded, unused) is not None
        assert await audits(served) == []
