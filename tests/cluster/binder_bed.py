"""A binder on a real API server, and what tests do to it: move time, shut the door, say Valid."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.parse
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import yaml
from bed.api import Api, ApiError, Object
from bed.objects import PROFILES, collection

from gateway.cluster.client import ClusterClient
from gateway.model import Receipt
from gateway.network import profile_rows
from gateway.network.baseline import baseline
from gateway.network.binder import BindOrder
from gateway.network.cilium_binder import CiliumBinder
from gateway.network.marks import policy_name
from gateway.network.profiles import Profile, profile
from gateway.settings import ClusterSettings
from gateway.store.database import Database

CATALOGUE: dict[str, dict[str, Any]] = {
    name: {
        "kind": "fqdn",
        "host": f"{name}.example.com",
        "ports": [443],
        "protocol": "https",
    }
    for name in ("crm", "stripe", "lake", "mail")
}
INSTALLED = {"sluice-baseline", "sluice-cut"}
RECEIPT = Receipt(7, "entry", "0" * 64, "decision.allow")


@dataclass
class Clock:
    """A clock that goes when it is told to."""

    moment: datetime = datetime(2026, 11, 22, 8, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.moment

    def advance(self, **by: float) -> None:
        """Let time pass: ``hours=25``."""
        self.moment += timedelta(**by)


@dataclass
class Bench:
    """One binder in a namespace of its own, with what it needs and with its administrator."""

    api: Api
    kubeconfig: Path
    client: ClusterClient
    database: Database
    settings: ClusterSettings
    clock: Clock
    binder: CiliumBinder
    namespace: str = field(init=False)
    path: str = field(init=False)

    def __post_init__(self) -> None:
        self.namespace = self.settings.namespace
        self.path = collection(self.namespace, PROFILES)

    def restarted(self) -> CiliumBinder:
        """Return a binder that knows nothing but the database."""
        return CiliumBinder(self.client, self.database, self.settings, clock=self.clock)

    def profile(self, *names: str) -> Profile:
        """Return the profile of some destinations, here."""
        return profile(names, CATALOGUE, self.binder.site)

    def order(self, *sets: str, launch: str = "launch-1", principal: str = "ada") -> BindOrder:
        """Return an order for tasks of one destination each; of several: ``crm+lake``."""
        found = tuple(self.profile(*filter(None, each.split("+"))) for each in sets)
        return BindOrder(launch, principal, found, RECEIPT)

    def policies(self) -> set[str]:
        """Return the names of the namespace's policies, the installed ones aside."""
        found = self.api.get(self.path)["items"]
        return {item["metadata"]["name"] for item in found} - INSTALLED

    def object(self, *names: str) -> Object:
        """Return the policy of some destinations as it is in the cluster."""
        return self.api.get(f"{self.path}/{self.named(*names)}")

    def named(self, *names: str) -> str:
        """Return the name of the policy of some destinations."""
        return policy_name(self.profile(*names).name)

    def install(self) -> None:
        """Do what ``kubectl apply -k deploy/cluster`` does for policies."""
        for manifest in baseline(self.namespace):
            self.api.create(self.path, dict(manifest))

    def widen(self, name: str) -> None:
        """Edit a policy so that it allows the internet."""
        rule = {"toEntities": ["world"]}
        self.api.merge(f"{self.path}/{name}", {"spec": {"egress": [rule]}})

    def judge(self, name: str, status: str, message: str = "") -> None:
        """Say of a policy whether it is valid, as Cilium's operator does."""
        condition = {
            "type": "Valid",
            "status": status,
            "message": message,
            "lastTransitionTime": "2026-11-22T08:00:00Z",
        }
        self.api.text(
            "PATCH",
            f"{self.path}/{name}/status",
            {"status": {"conditions": [condition]}},
            None,
            "application/merge-patch+json",
        )

    async def when_there(self, name: str, act: Callable[..., object], *arguments: str) -> None:
        """Do something to a policy as soon as there is one of that name."""
        while True:
            try:
                await asyncio.to_thread(act, name, *arguments)
            except ApiError as error:
                if error.reason != "NotFound":
                    raise
                await asyncio.sleep(0.05)
            else:
                return

    def remove(self, name: str) -> None:
        """Delete a policy."""
        self.api.delete(f"{self.path}/{name}")


@contextlib.asynccontextmanager
async def bench(
    api: Api, kubeconfig: Path, namespace: str, folder: Path, **settings: Any
) -> AsyncIterator[Bench]:
    """Yield a binder over an installed baseline."""
    chosen = ClusterSettings(namespace=namespace, patience_seconds=0, **settings)
    client = await ClusterClient.open(kubeconfig)
    database = await Database.open(folder / "sluice.db", within_seconds=10)
    await database.schema(profile_rows.SCHEMA)
    clock = Clock()
    binder = CiliumBinder(client, database, chosen, clock=clock)
    made = Bench(api, kubeconfig, client, database, chosen, clock, binder)
    made.install()
    try:
        yield made
    finally:
        await binder.close()
        await database.close()


class Door:
    """A TCP proxy in front of the API server that can be shut; a context manager."""

    def __init__(self, server: str) -> None:
        address = urllib.parse.urlsplit(server)
        self._target = (address.hostname or "", address.port or 443)
        self._server: asyncio.Server | None = None
        self._through: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self) -> None:
        """Let people through, always at the same port."""
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Cut who is through, and refuse all others."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._through):
            writer.close()
        await self._server.wait_closed()
        await asyncio.gather(*self._passing)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()

    def kubeconfig(self, of: Path, folder: Path) -> Path:
        """Return a copy of a kubeconfig that goes through this door."""
        value = yaml.safe_load(of.read_text(encoding="utf-8"))
        for cluster in value["clusters"]:
            cluster["cluster"]["server"] = f"https://127.0.0.1:{self.port}"
        copy = folder / "door.kubeconfig"
        copy.write_text(yaml.safe_dump(value), encoding="utf-8")
        return copy

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing = asyncio.create_task(self._pass(reader, writer))
        self._passing.add(passing)
        passing.add_done_callback(self._passing.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner, outer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        pair = {writer, outer}
        self._through |= pair
        await asyncio.gather(_pump(reader, outer), _pump(inner, writer))
        for end in pair:
            with contextlib.suppress(OSError):
                await end.wait_closed()
        self._through -= pair


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.close()
