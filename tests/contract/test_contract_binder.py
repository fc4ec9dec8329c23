"""What every network binder promises; see ``gateway/network/binder.py``."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from gateway.cluster.client import ClusterClient
from gateway.model import Receipt
from gateway.network import profile_rows
from gateway.network.baseline import baseline
from gateway.network.binder import BindOrder, NetworkBinder, UnsafeUnenforcedBinder
from gateway.network.cilium_binder import CiliumBinder
from gateway.network.profiles import profile
from gateway.settings import ClusterSettings
from gateway.store.database import Database
from tests.cluster.bed.places import State

CATALOGUE: dict[str, dict[str, Any]] = {
    name: {"kind": "fqdn", "host": f"{name}.example.com", "ports": [443], "protocol": "https"}
    for name in ("crm", "lake")
}


@contextlib.asynccontextmanager
async def unenforced(_: Path) -> AsyncIterator[NetworkBinder]:
    """The embedded default."""
    yield UnsafeUnenforcedBinder("development")


@contextlib.asynccontextmanager
async def cilium(folder: Path) -> AsyncIterator[NetworkBinder]:
    """The cluster's, in a namespace of its own on the bed that is up."""
    variables = State.default().variables()
    if variables is None:
        pytest.skip("no cluster bed is up: python -m tests.cluster.bed up")
    namespace = f"bed-{uuid.uuid4().hex[:12]}"
    async with contextlib.AsyncExitStack() as stack:
        admin = await ClusterClient.open(Path(variables["KUBECONFIG"]))
        stack.push_async_callback(admin.close)
        meta = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await admin.create("/api/v1/namespaces", meta)
        stack.push_async_callback(admin.delete, f"/api/v1/namespaces/{namespace}")
        path = f"/apis/cilium.io/v2/namespaces/{namespace}/ciliumnetworkpolicies"
        for manifest in baseline(namespace):
            await admin.create(path, manifest)
        database = await Database.open(folder / "sluice.db", within_seconds=10)
        stack.push_async_callback(database.close)
        await database.schema(profile_rows.SCHEMA)
        client = await ClusterClient.open(Path(variables["KUBECONFIG"]))
        made = CiliumBinder(client, database, ClusterSettings(namespace=namespace))
        stack.push_async_callback(made.close)
        yield made


IMPLEMENTATIONS: dict[str, Callable[[Path], AbstractAsyncContextManager[NetworkBinder]]] = {
    "unenforced": unenforced,
    "cilium": cilium,
}


@pytest.fixture(params=IMPLEMENTATIONS)
async def binder(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NetworkBinder]:
    """Each implementation that ships."""
    async with IMPLEMENTATIONS[request.param](tmp_path) as made:
        yield made


def order(binder: NetworkBinder, launch: str = "launch-1") -> BindOrder:
    """Ask for the profiles of three tasks, two of which share one."""
    sets = [["lake"], ["crm"], ["lake"]]
    found = tuple(profile(names, CATALOGUE, binder.site) for names in sets)
    return BindOrder(launch, "ada", found, Receipt(1, "entry", "0" * 64, "decision.allow"))


async def test_contract_binder_says_what_it_enforces(binder: NetworkBinder) -> None:
    """A binder names who enforces the network, and warns where nobody does."""
    assert (binder.enforcement == "none") == bool(binder.warning)


async def test_contract_binder_names_what_it_bound(binder: NetworkBinder) -> None:
    """A binding holds each profile once, sorted, and says as much as the binder about who does."""
    asked = order(binder)
    bound = await binder.bind(asked)
    assert bound.profiles == tuple(sorted({item.name for item in asked.profiles}))
    assert bound.enforcement == binder.enforcement


async def test_contract_binder_binds_again(binder: NetworkBinder) -> None:
    """The same launch after a crash, and another launch, are bound to the same profiles."""
    first = await binder.bind(order(binder))
    assert await binder.bind(order(binder)) == first
    assert await binder.bind(order(binder, "launch-2")) == first


async def test_contract_binder_releases(binder: NetworkBinder) -> None:
    """Launches are given back once, twice, or without having been bound; others keep theirs."""
    await binder.bind(order(binder))
    await binder.bind(order(binder, "launch-2"))
    for launch in ("launch-1", "launch-1", "never-bound"):
        await binder.release(launch)
    assert (await binder.bind(order(binder, "launch-2"))).profiles


async def test_contract_binder_leaves_other_destinations_alone(binder: NetworkBinder) -> None:
    """What is no Service is the same before and after it is looked up."""
    assert await binder.catalogue(CATALOGUE, ["crm", "lake"]) == CATALOGUE
    assert await binder.catalogue(CATALOGUE, []) == CATALOGUE


async def test_contract_binder_closes(binder: NetworkBinder) -> None:
    """A binder can be closed, more than once, after it has bound."""
    await binder.bind(order(binder))
    await binder.close()
    await binder.close()
