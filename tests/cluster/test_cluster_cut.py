"""`cut` on a real API server with the guard rails up: network first, then the pod, then nothing."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bed.installation import Installation
from cut_bed import HELD, alive, audited, cleared, cuts, ended, first, labels, launch, settings
from gateway_bed import Served, serve

from gateway.settings import Settings

pytestmark = pytest.mark.usefixtures("fake_nodes")
MANY = 20


@pytest.fixture
def chosen(guarded: Installation, cluster: dict[str, str], tmp_path: Path) -> Iterator[Settings]:
    """Settings of a gateway on the guarded cluster, whose audit log can be read."""
    if "SLUICE_CLUSTER_AUDIT_LOG" not in cluster:
        pytest.skip("this cluster's audit log cannot be read")
    with cleared(guarded.admin):
        yield settings(guarded, tmp_path)


@pytest.fixture
async def site(chosen: Settings) -> AsyncIterator[Served]:
    """A gateway."""
    async with serve(chosen) as served:
        yield served


async def cut(served: Served, subject: str, **what: str) -> dict[str, Any]:
    """Cut as somebody."""
    async with served.client(subject) as somebody:
        said: dict[str, Any] = await somebody.post("/v1/stops", {"kind": "cut", **what})
        return said


async def test_cut_takes_the_network_before_it_deletes(
    site: Served, guarded: Installation, cluster: dict[str, str]
) -> None:
    """Every pod is relabelled, the last before the first is deleted; no other launch is touched.

    Nothing of the launch is made afterwards, and the log says how many and how long it took.
    """
    launch_id = await launch(site, [HELD] * MANY)
    other = await launch(site, [HELD] * 2)
    said = await cut(site, "ada", launch_id=launch_id, reason="drill")
    (item,) = said["launches"]
    assert (item["tasks"], item["note"], item["logged"]) == (MANY, "", True)
    assert 0 < item["seconds"] <= said["seconds"] < 10
    assert (await ended(site, launch_id))["state"] == "cancelled"
    assert await asyncio.to_thread(alive, guarded.admin, launch_id) == []

    events = audited(cluster, launch_id)
    made, cut_at, deleted = (first(events, verb) for verb in ("create", "patch", "delete"))
    assert len(cut_at) == MANY
    assert made.keys() == cut_at.keys() == deleted.keys()
    assert max(cut_at.values()) <= min(deleted.values())
    assert max(made.values()) < min(cut_at.values())
    (body,) = await cuts(site, launch_id)
    assert (body["tasks"], body["left"], body["reason"]) == (MANY, 0, "drill")
    assert body["milliseconds"] == pytest.approx(1000 * item["seconds"], abs=1)

    left = await asyncio.to_thread(alive, guarded.admin, other)
    assert len(left) == 2
    assert "cut" not in labels(left)
    said = await cut(site, "chloe", pipeline="scene")
    assert [(item["launch_id"], item["tasks"]) for item in said["launches"]] == [(other, 2)]
    assert (await ended(site, other))["state"] == "cancelled"


async def test_cut_catches_pods_that_are_on_their_way(
    site: Served, cluster: dict[str, str], guarded: Installation
) -> None:
    """A cut amid the making of pods: whatever came is relabelled, and nothing comes after it."""
    launch_id = await launch(site, [HELD] * MANY, running=1)
    (item,) = (await cut(site, "ada", launch_id=launch_id))["launches"]
    assert (await ended(site, launch_id))["state"] == "cancelled"
    events = audited(cluster, launch_id)
    made, cut_at, deleted = (first(events, verb) for verb in ("create", "patch", "delete"))
    assert made.keys() == cut_at.keys()
    assert all(cut_at[pod] <= deleted[pod] for pod in made)
    assert item["tasks"] == len(made)
    await asyncio.sleep(1)  # Luigi's retries would come within it
    assert first(audited(cluster, launch_id), "create").keys() == made.keys()
    assert await asyncio.to_thread(alive, guarded.admin, launch_id) == []


async def test_cut_needs_no_log(
    site: Served, cluster: dict[str, str], guarded: Installation
) -> None:
    """While nothing can be written to the store, pods lose their network and are ended anyway.

    The log gets it as soon as it can, marked as late.
    """
    launch_id = await launch(site, [HELD] * 3)
    database = site.settings.database
    with closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as hog:
        hog.execute("BEGIN IMMEDIATE")
        (item,) = (await cut(site, "ada", launch_id=launch_id))["launches"]
        assert (item["tasks"], item["logged"]) == (3, False)
        async with asyncio.timeout(30):
            while True:
                if not await asyncio.to_thread(alive, guarded.admin, launch_id):
                    break
                await asyncio.sleep(0.1)
        hog.execute("ROLLBACK")
    assert (await ended(site, launch_id))["state"] == "cancelled"
    async with asyncio.timeout(30):
        while True:
            if found := await cuts(site, launch_id):
                break
            await asyncio.sleep(0.1)
    assert [(body["tasks"], body["journaled"]) for body in found] == [(3, True)]
    events = audited(cluster, launch_id)
    cut_at, deleted = first(events, "patch"), first(events, "delete")
    assert len(cut_at) == 3
    assert all(cut_at[pod] <= deleted[pod] for pod in cut_at)


async def test_cut_that_a_crash_interrupted_is_carried_out(
    chosen: Settings, cluster: dict[str, str], guarded: Installation
) -> None:
    """The order was in the journal and nothing was done: the next gateway cuts what it finds."""
    async with serve(chosen) as site:
        launch_id = await launch(site, [HELD] * 3)
    assert len(await asyncio.to_thread(alive, guarded.admin, launch_id)) == 3
    issuer = "https://dev.sluice.local"
    ada = {"issuer": issuer, "subject": "ada", "kind": "human", "groups": []}
    order = {
        "event": "cut.ordered",
        "id": "order-1",
        "at": "2026-11-22T00:00:00.000Z",
        "by": {"subject": ada, "kind": "human", "client_id": None, "actors": []},
        "kind": "launch_id",
        "name": launch_id,
        "reason": "",
        "launches": [launch_id],
    }
    (chosen.state_dir / "journal.jsonl").write_text(json.dumps(order) + "\n")
    async with serve(chosen) as site:
        assert (await ended(site, launch_id))["state"] == "cancelled"
        (body,) = await cuts(site, launch_id)
    assert (body["order"], body["tasks"], body["journaled"]) == ("order-1", 3, True)
    events = audited(cluster, launch_id)
    cut_at, deleted = first(events, "patch"), first(events, "delete")
    assert len(cut_at) == 3
    assert all(cut_at[pod] <= deleted[pod] for pod in cut_at)


async def test_cut_that_is_refused_says_so_and_stops(site: Served, guarded: Installation) -> None:
    """Where the API server lets nobody change labels, 503 says how many have their network still.

    They are stopped all the same.
    """
    launch_id = await launch(site, [HELD] * 2)
    role = "/apis/rbac.authorization.k8s.io/v1/namespaces/sluice-tasks/roles/sluice-runner"
    before = (await asyncio.to_thread(guarded.admin.get, role))["rules"]
    poorer = json.loads(json.dumps(before))
    poorer[0]["verbs"].remove("patch")
    await asyncio.to_thread(guarded.admin.merge, role, {"rules": poorer})
    try:
        await asyncio.sleep(1)  # the authoriser hears of it
        with pytest.raises(Exception, match="2 tasks of 1 launches still have") as caught:
            await cut(site, "ada", launch_id=launch_id)
    finally:
        await asyncio.to_thread(guarded.admin.merge, role, {"rules": before})
    assert caught.value.problem["code"] == "cut_incomplete"  # type: ignore[attr-defined]
    assert (await ended(site, launch_id))["state"] == "cancelled"
    assert [(body["tasks"], body["left"]) for body in await cuts(site, launch_id)] == [(0, 2)]
