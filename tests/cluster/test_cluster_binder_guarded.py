"""The binder under ``deploy/cluster`` as installed: its own account, its rights, and the guards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bed.api import ApiError, Object
from bed.attempts import POLICIES
from bed.installation import GATEWAY, TASKS, Installation
from binder_bed import Bench, Clock

from gateway.cluster.client import ClusterClient
from gateway.network import profile_rows
from gateway.network.cilium_binder import CiliumBinder
from gateway.settings import ClusterSettings
from gateway.store.database import Database


@pytest.fixture
async def bed(guarded: Installation, tmp_path: Path) -> AsyncIterator[Bench]:
    """A binder that logs in as the gateway does, in the namespace that the guards know."""
    for found in guarded["binder"].get(POLICIES)["items"]:  # of launches of other tests
        name = found["metadata"]["name"]
        if name.startswith("sluice-p-"):
            guarded["binder"].delete(f"{POLICIES}/{name}")
    token = await asyncio.to_thread(
        guarded.admin.create,
        f"/api/v1/namespaces/{GATEWAY}/serviceaccounts/sluice-binder/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )
    file = tmp_path / "token"
    file.write_text(token["status"]["token"])
    client = await ClusterClient.open(guarded.kubeconfig, file)
    database = await Database.open(tmp_path / "sluice.db", within_seconds=10)
    await database.schema(profile_rows.SCHEMA)
    settings = ClusterSettings(namespace=TASKS, patience_seconds=0, keep_profile_seconds=0)
    clock = Clock()
    binder = CiliumBinder(client, database, settings, clock=clock)
    made = Bench(
        guarded.admin, guarded.kubeconfig, client, database, settings, clock, binder
    )  # fmt: skip
    try:
        yield made
        await binder.retain([])
        await binder.collect()
    finally:
        await binder.close()
        await database.close()


async def test_the_installation_is_enough_to_bind_and_to_audit(bed: Bench) -> None:
    """The installed policies are those that are compared, and the rights reach for everything."""
    assert (await bed.binder.audit()).clean
    await bed.binder.bind(bed.order("crm", "lake"))
    assert bed.policies() == {bed.named("crm"), bed.named("lake")}
    await bed.binder.bind(bed.order("crm", "lake", launch="launch-2"))


async def test_the_guards_let_the_binder_restore_and_collect(bed: Bench) -> None:
    """A deleted policy comes back, and goes when nobody needs it: creating and deleting is all."""
    await bed.binder.bind(bed.order("crm"))
    with pytest.raises(ApiError, match="only the gateway's binder"):
        await asyncio.to_thread(bed.remove, bed.named("crm"))
    await bed.client.delete(f"{bed.path}/{bed.named('crm')}")
    assert (await bed.binder.audit()).restored == (bed.named("crm"),)
    await bed.binder.release("launch-1")
    assert await bed.binder.collect() == [bed.profile("crm").name]
    assert bed.policies() == set()


async def test_the_guards_keep_anybody_from_changing_a_profile(bed: Bench) -> None:
    """The spec under a name never changes, not even by an administrator or by the binder."""
    await bed.binder.bind(bed.order("crm"))
    with pytest.raises(ApiError, match="sluice: "):
        await asyncio.to_thread(bed.widen, bed.named("crm"))
    wider: Object = {"spec": {"egress": [{"toEntities": ["world"]}]}}
    with pytest.raises(Exception, match="sluice: "):
        await bed.client.merge(f"{bed.path}/{bed.named('crm')}", wider)
    assert (await bed.binder.audit()).clean


async def test_a_service_is_read_with_the_binders_rights(bed: Bench) -> None:
    """Services and their endpoints can be read in every namespace, as the catalogue names them."""
    host = "default/kubernetes"
    entry = {"kind": "service", "host": host, "ports": [443], "protocol": "https"}
    with pytest.raises(Exception, match="without a selector"):
        await bed.binder.catalogue({"it": entry}, ["it"])
