"""Who uses which profile, and what becomes of policies that nobody uses any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bed.api import Api
from binder_bed import Bench, Door, bench

from gateway.cluster.client import ClusterAway
from gateway.network.cilium_binder import CiliumBinder


@pytest.fixture
async def bed(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> AsyncIterator[Bench]:
    """A binder in a namespace of this test; policies are kept for an hour."""
    where = Path(cluster["KUBECONFIG"])
    async with bench(api, where, namespace, tmp_path, keep_profile_seconds=3600) as found:
        yield found


async def test_a_policy_is_kept_for_a_while_and_then_collected(bed: Bench) -> None:
    """A policy lives as long as any launch uses it, and an hour longer."""
    await bed.binder.bind(bed.order("crm", "lake"))
    await bed.binder.bind(bed.order("lake", launch="launch-2"))
    await bed.binder.release("launch-1")
    bed.clock.advance(minutes=59)
    assert await bed.binder.collect() == []
    bed.clock.advance(minutes=2)
    assert await bed.binder.collect() == [bed.profile("crm").name]
    assert bed.policies() == {bed.named("lake")}
    await bed.binder.release("launch-2")
    await bed.binder.release("nobody")
    bed.clock.advance(minutes=61)
    assert await bed.binder.collect() == [bed.profile("lake").name]
    assert bed.policies() == set()
    assert (await bed.binder.audit()).clean


async def test_use_within_the_grace_period_begins_it_anew(bed: Bench) -> None:
    """What is used again is not collected, and is kept for a whole period afterwards."""
    await bed.binder.bind(bed.order("crm"))
    await bed.binder.release("launch-1")
    bed.clock.advance(minutes=50)
    await bed.binder.bind(bed.order("crm", launch="launch-2"))
    bed.clock.advance(minutes=50)
    assert await bed.binder.collect() == []
    await bed.binder.release("launch-2")
    bed.clock.advance(minutes=50)
    assert await bed.binder.collect() == []


async def test_uses_of_launches_that_are_no_more_are_dropped_at_a_start(bed: Bench) -> None:
    """After a crash only what recovered launches use is in use."""
    await bed.binder.bind(bed.order("crm"))
    await bed.binder.bind(bed.order("lake", launch="launch-2"))
    again = bed.restarted()
    await again.retain(["launch-2"])
    bed.clock.advance(minutes=61)
    assert await again.collect() == [bed.profile("crm").name]


async def test_binding_while_collecting_makes_the_policy_again(bed: Bench) -> None:
    """Whichever comes first, a bind that returned has a policy in force, and a row that says so."""
    for attempt in range(12):
        await bed.binder.bind(bed.order("crm", launch=f"first-{attempt}"))
        await bed.binder.release(f"first-{attempt}")
        bed.clock.advance(minutes=61)

        async def late(pause: float, launch: str) -> None:
            await asyncio.sleep(pause)
            await bed.binder.bind(bed.order("crm", launch=launch))

        await asyncio.gather(bed.binder.collect(), late(attempt * 0.001, f"late-{attempt}"))
        assert bed.policies() == {bed.named("crm")}
        assert (await bed.binder.audit()).clean
        assert await bed.binder.collect() == []
        await bed.binder.release(f"late-{attempt}")


async def test_one_thing_at_a_time_happens_to_a_policy(bed: Bench) -> None:
    """Collecting and restoring wait for whoever is at that profile, and then look anew."""
    await bed.binder.bind(bed.order("crm"))
    await bed.binder.release("launch-1")
    bed.clock.advance(minutes=61)
    async with bed.binder._lock(bed.profile("crm").name):  # as a bind holds it
        collecting = asyncio.create_task(bed.binder.collect())
        await asyncio.sleep(0.3)
        assert bed.policies() == {bed.named("crm")}
        await bed.binder._use(bed.order("crm", launch="launch-2"))
    assert await collecting == []
    async with bed.binder._lock(bed.profile("crm").name):  # as a collection holds it
        bed.remove(bed.named("crm"))
        auditing = asyncio.create_task(bed.binder.audit())
        await asyncio.sleep(0.3)
        await bed.database.write(
            lambda connection: (
                connection.execute("UPDATE network_profiles SET leaving = 1").rowcount
            )
        )
    assert (await auditing).clean
    assert bed.policies() == set()


async def test_collecting_survives_an_outage_and_a_crash(bed: Bench, tmp_path: Path) -> None:
    """A profile that was marked and not deleted is taken up by the next collection."""
    async with Door(bed.api.server) as door:
        client = await type(bed.client).open(door.kubeconfig(bed.kubeconfig, tmp_path))
        cut_off = CiliumBinder(client, bed.database, bed.settings, clock=bed.clock)
        try:
            await bed.binder.bind(bed.order("crm"))
            await bed.binder.release("launch-1")
            bed.clock.advance(minutes=61)
            await door.shut()
            with pytest.raises(ClusterAway):
                await cut_off.collect()
            await door.open()
        finally:
            await cut_off.close()
    assert bed.policies() == {bed.named("crm")}
    again = bed.restarted()
    assert (await again.audit()).clean
    assert await again.collect() == [bed.profile("crm").name]
    assert bed.policies() == set()


async def test_a_marked_profile_that_is_used_again_stays(bed: Bench) -> None:
    """Between mark and deletion of a crashed collection, a launch takes its profile back."""
    await bed.binder.bind(bed.order("crm"))
    await bed.binder.release("launch-1")
    await bed.database.write(
        lambda connection: connection.execute("UPDATE network_profiles SET leaving = 1").rowcount
    )
    await bed.binder.bind(bed.order("crm", launch="launch-2"))
    bed.clock.advance(minutes=61)
    assert await bed.binder.collect() == []
    assert (await bed.binder.audit()).clean
