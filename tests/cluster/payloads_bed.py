"""Runs whose code is collected: a clock that is moved, a store of launches, who collects beside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bed.objects import collection
from pods_bed import MuteDoor, PodRig

from gateway.clock import now
from gateway.cluster.client import ClusterClient
from gateway.cluster.collector import PayloadCollector
from gateway.cluster.delivery import Deliveries
from gateway.cluster.pods import PodShape
from gateway.lifecycle.collecting import Collecting
from gateway.model import Member, Principal
from gateway.settings import Settings
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.database import Database
from gateway.store.launches import LaunchRecord

ADA = Principal(Member("https://i", "ada", "human", ()), "human", "cli", ())


@dataclass
class Ahead:
    """The time, and what was let pass on top of it: the API server's own clock cannot be moved."""

    by: timedelta = timedelta()

    def __call__(self) -> datetime:
        """Return the time."""
        return now() + self.by

    def advance(self, **by: float) -> None:
        """Let time pass: ``hours=25``."""
        self.by += timedelta(**by)


@dataclass
class Yard:
    """Runs in a namespace, the launches that the store knows, and who collects there."""

    runs: PodRig
    database: Database
    settings: Settings
    clock: Ahead
    path: str = field(init=False)

    def __post_init__(self) -> None:
        self.path = collection(self.runs.cluster.namespace, "configmaps")
        self.runs.deliveries = self.deliveries()

    def deliveries(self, client: ClusterClient | None = None) -> Deliveries:
        """Return what a gateway begins with: it remembers nothing of a former one."""
        return Deliveries(client or self.runs.client, self.runs.cluster, clock=self.clock)

    def collecting(
        self, deliveries: Deliveries | None = None, client: ClusterClient | None = None
    ) -> Collecting:
        """Return who collects beside the runs, or in a gateway that was just started."""
        return Collecting(
            self.database,
            self.settings,
            PayloadCollector(
                client or self.runs.client,
                self.runs.cluster.namespace,
                deliveries or self.runs.deliveries,
            ),
        )

    async def collect(self) -> set[str]:
        """Collect once beside the runs; return what went, as the API server shows it."""
        return await self.gone_by(self.collecting())

    async def collect_anew(self) -> set[str]:
        """The same in a gateway that was just started."""
        return await self.gone_by(self.collecting(self.deliveries()))

    async def gone_by(self, collecting: Collecting) -> set[str]:
        """Sweep and return what went, which is what the sweep says."""
        before = self.there()
        said = await collecting.sweep()
        assert before - self.there() == set(said)
        return set(said)

    def there(self) -> set[str]:
        """Return the names of the namespace's ConfigMaps."""
        return {item["metadata"]["name"] for item in self.runs.api.get(self.path)["items"]}

    def make(self, *names: str) -> None:
        """Make ConfigMaps as somebody else."""
        for name in names:
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
            self.runs.api.create(self.path, made)

    async def shape(self, deliveries: Deliveries | None = None) -> PodShape:
        """Deliver the played pipeline."""
        order = await self.runs.order()
        return await (deliveries or self.runs.deliveries).shape(
            "", order.code_path, cpu="100m", memory="64Mi"
        )

    async def code(self) -> str:
        """Deliver the played pipeline; return the name of its ConfigMap."""
        return str((await self.shape()).code)

    async def launch(self, state: LaunchState, code_digest: str, launch_id: str = "l") -> None:
        """Put a launch into the store, or into another state there."""
        record = LaunchRecord(
            launch_id, state, "p", {}, "why", "http", ADA, "2026", "2026",
            plan={"code_digest": code_digest},
        )  # fmt: skip

        def change(connection: Any) -> None:
            connection.execute("DELETE FROM launches WHERE id = ?", (launch_id,))
            launches.insert(connection, record)

        await self.database.write(change)


@asynccontextmanager
async def stored(folder: Path) -> AsyncIterator[Database]:
    """Yield a store of launches."""
    database = await Database.open(folder / "sluice.db", within_seconds=10)
    try:
        await database.schema(launches.SCHEMA)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def through(door: MuteDoor, kubeconfig: Path, folder: Path) -> AsyncIterator[ClusterClient]:
    """Yield a client that goes through a door."""
    client = await ClusterClient.open(door.kubeconfig(kubeconfig, folder))
    try:
        yield client
    finally:
        await client.close()


def may_delete(yard: Yard, name: str) -> str:
    """Return the token of an account that may list, and delete one ConfigMap."""
    api, namespace = yard.runs.api, yard.runs.cluster.namespace
    group, maps = "rbac.authorization.k8s.io", {"apiGroups": [""], "resources": ["configmaps"]}
    rights = f"/apis/{group}/v1/namespaces/{namespace}"
    meta = {"apiVersion": f"{group}/v1", "metadata": {"name": "some"}}
    rules = [
        {"apiGroups": [""], "resources": ["configmaps", "pods"], "verbs": ["list"]},
        {**maps, "verbs": ["delete"], "resourceNames": [name]},
    ]
    api.create(f"{rights}/roles", {**meta, "kind": "Role", "rules": rules})
    role = {"apiGroup": group, "kind": "Role", "name": "some"}
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    bound = {**meta, "kind": "RoleBinding", "roleRef": role, "subjects": [subject]}
    api.create(f"{rights}/rolebindings", bound)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"{collection(namespace, 'serviceaccounts')}/default/token"
    return str(api.create(path, asked)["status"]["token"])
