"""A minute without an API server, with the waits that an installation has when nobody sets any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bed.installation import TASKS, Installation
from catalogue_bed import Catalogue, ask
from cut_bed import alive, audited, cleared, ended, first, launch, settings
from gateway_bed import ROOT, Served, serve
from pods_bed import MuteDoor, when, witness

from gateway.settings import ClusterSettings, Settings

pytestmark = pytest.mark.usefixtures("fake_nodes")
AWAY = 65.0  # seconds
DEFAULTS = ("patience_seconds", "guard_seconds", "audit_seconds")


@pytest.fixture
def chosen(guarded: Installation, cluster: dict[str, str], tmp_path: Path) -> Settings:
    """Settings that say nothing of how long anything is waited for."""
    if "SLUICE_CLUSTER_AUDIT_LOG" not in cluster:
        pytest.skip("this cluster's audit log cannot be read")
    made = settings(guarded, tmp_path)
    Catalogue(made.policy.directory).enter("act", "Act")
    usual = ClusterSettings()
    waits = {name: getattr(usual, name) for name in DEFAULTS}
    return made.model_copy(update={"cluster": made.cluster.model_copy(update=waits)})


@pytest.fixture
async def door(guarded: Installation) -> AsyncIterator[MuteDoor]:
    """The gateway's way to the API server, which can be shut."""
    async with MuteDoor(guarded.admin.server) as made:
        yield made


@pytest.fixture
async def site(
    guarded: Installation,
    chosen: Settings,
    door: MuteDoor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Served]:
    """A gateway that reaches the API server through the door."""
    monkeypatch.chdir(ROOT)
    kubeconfig = door.kubeconfig(guarded.kubeconfig, tmp_path)
    cluster = chosen.cluster.model_copy(update={"kubeconfig": kubeconfig})
    with cleared(guarded.admin):
        async with serve(chosen.model_copy(update={"cluster": cluster})) as served:
            yield served


async def told(served: Served, launch_id: str, prefix: str) -> list[str]:
    """Return what the log says of a launch's tasks: the statuses of entries of a kind, in order."""
    found = await served.gateway.parts.log.entries(0, 100, launch_id=launch_id, event_prefix=prefix)
    return [str(entry.value["body"].get("status", "")) for entry in found]


async def test_api_server_is_away_for_more_than_a_minute(
    site: Served, door: MuteDoor, guarded: Installation, cluster: dict[str, str]
) -> None:
    """One task ends meanwhile, one afterwards; a launch that came meanwhile runs when it is back.

    Each attempt had one pod, each task one attempt, and the log has every start and end once.
    """
    async with witness(guarded.kubeconfig, TASKS) as seen:
        running = await launch(site, ["run-for=20s", f"run-for={AWAY + 25:.0f}s"])
        await door.shut()
        shut_at = asyncio.get_running_loop().time()
        await asyncio.sleep(AWAY / 2)
        assert (await site.gateway.readiness.report())["ready"] is False
        waiting = str((await ask(site, "act"))["id"])
        await asyncio.sleep(shut_at + AWAY - asyncio.get_running_loop().time())
        assert await told(site, running, "task.finished") == []
        await door.open()
        for launch_id, tasks in ((running, 2), (waiting, 1)):
            view = await ended(site, launch_id)
            assert view["state"] == "succeeded"
            played = await told(site, launch_id, "task.started")
            assert len(played) == tasks
            assert set(await told(site, launch_id, "task.finished")) == {"DONE"}
            events = audited(cluster, launch_id)
            assert [event.verb for event in events].count("create") == tasks
            assert len(first(events, "create")) == tasks
        assert seen.attempts() == 3
        await when(lambda: not any(alive(guarded.admin, each) for each in (running, waiting)))
    for prefix in ("pod.", "launch.cancel", "guardrails.open"):
        assert await site.gateway.parts.log.entries(0, 9, event_prefix=prefix) == []
    checks = (await site.gateway.readiness.report())["checks"]
    assert (checks["cluster"], checks["guard_rails"]) == ("ok", "ok")
