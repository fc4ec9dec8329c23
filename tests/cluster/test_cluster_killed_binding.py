"""A gateway is killed while it puts a launch's profiles in force: the next one goes on from there.

It is held there by an API server that does not answer the dry run of a profile, or by Cilium, whose
word on a new policy is waited for where it gives one. Here the test gives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audit import order
from bed.api import Api
from bed.installation import TASKS, Installation
from bed.objects import PROFILES, collection
from binder_bed import INSTALLED
from cut_bed import RUNNER, alive, cleared, ended, settings
from gateway_bed import ROOT, Served, serve
from pods_bed import when, witness
from process_bed import process
from relay_bed import Asked, Relay

from gateway.commands.client import GatewayClient
from gateway.identity.development import DevIssuer
from gateway.network.cilium_binder import CiliumBinder
from gateway.network.marks import policy_name
from gateway.settings import Settings

pytestmark = pytest.mark.usefixtures("fake_nodes")
POLICIES = collection(TASKS, PROFILES)
LAUNCH = {"pipeline": "scene", "parameters": {"plays": "|"}, "reason": "test"}


def judge(api: Api, *names: str) -> None:
    """Say of policies that they are valid, as Cilium's operator does."""
    verdict = {"type": "Valid", "status": "True", "lastTransitionTime": "2026-11-22T08:00:00Z"}
    for name in names:
        api.merge(f"{POLICIES}/{name}/status", {"status": {"conditions": [verdict]}})


def profiles(api: Api) -> set[str]:
    """Return the names of the policies that the installation did not bring."""
    return {item["metadata"]["name"] for item in api.get(POLICIES)["items"]} - INSTALLED


@pytest.fixture
def site(
    guarded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """A gateway on a cluster whose Cilium says which policies are valid, and has none yet."""
    monkeypatch.chdir(ROOT)
    admin = guarded.admin
    kept = {name: admin.get(f"{POLICIES}/{name}").get("status") for name in INSTALLED}
    for name in profiles(admin):
        guarded["binder"].delete(f"{POLICIES}/{name}")
    judge(admin, *INSTALLED)
    with cleared(admin):
        yield settings(guarded, tmp_path)
    for name, status in kept.items():
        admin.merge(f"{POLICIES}/{name}/status", {"status": status})


def with_cluster(site: Settings, **change: Any) -> Settings:
    """Return settings with some of the cluster's changed."""
    return site.model_copy(update={"cluster": site.cluster.model_copy(update=change)})


async def state(served: Served, launch_id: str) -> str:
    """Return where a launch stands."""
    async with served.client("ada") as ada:
        return str((await ada.get(f"/v1/launches/{launch_id}"))["state"])


async def bodies(served: Served, launch_id: str, event: str) -> list[dict[str, Any]]:
    """Return what the log says of a kind."""
    found = await served.gateway.parts.log.entries(0, 100, launch_id=launch_id, event_prefix=event)
    return [entry.value["body"] for entry in found]


class Held:
    """Holds up the strict dry run of a profile, for ever: nobody answers it."""

    def __init__(self, relay: Relay) -> None:
        self.asked = False
        relay.touch = self._touch

    async def _touch(self, asked: Asked) -> int | None:
        if PROFILES in asked.path and asked.method != "GET" and "dryRun" in asked.target:
            self.asked = True
            await asyncio.Event().wait()
        return None


async def killed_while_binding(site: Settings, admin: Api, relay: Relay, waits_for: str) -> str:
    """Kill a gateway whose launch is being bound; return the launch."""
    token = DevIssuer.open(site.keys_dir).issue(subject="ada")
    async with process(site) as (gateway, url), GatewayClient(url, token) as ada:
        held = Held(relay) if waits_for == "the dry run" else None
        launch_id = str((await ada.post("/v1/launches", LAUNCH))["id"])
        await when(lambda: held.asked if held else profiles(admin), 60)
        assert (await ada.get(f"/v1/launches/{launch_id}"))["state"] == "binding"
        gateway.kill()
        await gateway.wait()
    return launch_id


async def collected(binder: CiliumBinder) -> set[str]:
    """Wait until policies are collected, and return their names."""
    async with asyncio.timeout(60):
        while not (names := await binder.collect()):  # noqa: ASYNC110 -- a launch lets go soon
            await asyncio.sleep(0.1)
    return {policy_name(name) for name in names}


@pytest.mark.parametrize("waits_for", ["the dry run", "Cilium's word"])
async def test_gateway_killed_while_it_binds(
    guarded: Installation, site: Settings, cluster: dict[str, str], tmp_path: Path, waits_for: str
) -> None:
    """No pod before the policy is valid, then one for each task, and no policy too many."""
    if "SLUICE_CLUSTER_AUDIT_LOG" not in cluster:
        pytest.skip("the cluster of KUBECONFIG keeps its audit log to itself")
    admin = guarded.admin
    async with witness(Path(cluster["KUBECONFIG"]), TASKS) as seen:
        async with Relay(admin) as relay:
            through = with_cluster(site, kubeconfig=relay.kubeconfig(tmp_path))
            launch_id = await killed_while_binding(through, admin, relay, waits_for)
        left = profiles(admin)
        assert len(left) == (waits_for != "the dry run")
        kept = with_cluster(site, keep_profile_seconds=0.0, audit_seconds=600.0)
        async with serve(kept) as served:
            await when(lambda: profiles(admin))
            await asyncio.sleep(1)
            assert (await state(served, launch_id), seen.made) == ("binding", [])
            policies = profiles(admin)
            judge(admin, *policies)
            assert (await ended(served, launch_id))["state"] == "succeeded"
            (bound,) = await bodies(served, launch_id, "network.bound")
            assert {policy_name(name) for name in bound["profiles"]} == policies == profiles(admin)
            assert left <= policies
            binder = served.gateway.parts.binder
            assert isinstance(binder, CiliumBinder)
            assert (await binder.audit()).clean
            assert await collected(binder) == policies
        assert profiles(admin) == set()
    assert alive(admin, launch_id) == []
    found = order(Path(cluster["SLUICE_CLUSTER_AUDIT_LOG"]), launch_id, policies, RUNNER)
    assert (found.pods, found.early, found.twice) == (2, (), ())
