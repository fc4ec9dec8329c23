"""Pods without a gateway: what the cluster alone takes for them, and what it shows of others'."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from benchmarks.cluster_gateway import IMAGE
from benchmarks.cluster_site import Site
from gateway.cluster.client import ClusterClient
from gateway.cluster.ending import has_ended
from gateway.cluster.marks import DECISION_ID, LAUNCH_ID, PLAN_DIGEST, TASK, pod_name
from gateway.cluster.pods import PodOrder, PodShape
from tests.cluster.bed.installation import TASKS

PODS = f"/api/v1/namespaces/{TASKS}/pods"
Pod = dict[str, Any]


def a_pod() -> Pod:
    """Return one that the guard rails let in, as small as those of the benchmarks' pipeline."""
    launch, task = str(uuid.uuid4()), uuid.uuid4().hex
    shape = PodShape(
        namespace=TASKS,
        service_account="sluice-task",
        image=IMAGE,
        guest=f"sluice-guest-{64 * '2'}",
        code=f"sluice-code-{64 * '3'}",
        cpu="50m",
        memory="64Mi",
        longest_seconds=3600,
    )
    notes = {LAUNCH_ID: launch, TASK: task, DECISION_ID: str(uuid.uuid4()), PLAN_DIGEST: 64 * "4"}
    order = PodOrder(pod_name(launch, task, 1), f"p-{32 * '7'}", notes, shape, {"v": 1})
    return order.manifest()


@asynccontextmanager
async def runner(site: Site) -> AsyncIterator[ClusterClient]:
    """Be the account that makes pods."""
    client = await ClusterClient.open(site.kubeconfig, site.tokens["runner"])
    try:
        yield client
    finally:
        await client.close()


class Seen:
    """Every pod of the tasks' namespace as a watch shows it, with eyes of its own."""

    def __init__(self) -> None:
        self.identities: set[tuple[str, ...]] = set()  # sets of labels that Cilium tells apart
        self.tasks: set[tuple[str, str]] = set()  # launch and task
        self.running: set[str] = set()
        self._ended: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Event()

    def end(self, name: str) -> asyncio.Event:
        """Return what is set when the pod of this name has ended."""
        return self._ended.setdefault(name, asyncio.Event())

    async def until_running(self, count: int) -> None:
        """Wait until so many pods run at the same time."""
        while len(self.running) < count:
            self._changed.clear()
            await self._changed.wait()

    def see(self, pod: Pod, *, gone: bool) -> None:
        """Take one pod as it is now."""
        meta, name = pod["metadata"], pod["metadata"]["name"]
        labels = (f"{key}={value}" for key, value in sorted(meta.get("labels", {}).items()))
        self.identities.add((meta["namespace"], pod["spec"]["serviceAccountName"], *labels))
        self.tasks.add((meta["annotations"][LAUNCH_ID], meta["annotations"][TASK]))
        if pod.get("status", {}).get("phase") == "Running" and not gone:
            self.running.add(name)
        else:
            self.running.discard(name)
        if gone or has_ended(pod):
            self.end(name).set()
        self._changed.set()


@asynccontextmanager
async def watched(site: Site) -> AsyncIterator[Seen]:
    """Watch as the administrator, who is in no figure."""
    seen, client = Seen(), await ClusterClient.open(site.kubeconfig)
    version = (await client.get(PODS))["metadata"]["resourceVersion"]

    async def look(version: str) -> None:
        while True:
            async for kind, pod in client.watch(PODS, version):
                version = pod["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    seen.see(pod, gone=kind == "DELETED")

    looking = asyncio.create_task(look(version))
    try:
        yield seen
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await client.close()
