"""Where tasks run: on this machine, or in the pods of a cluster. The other half of ``app``.

Names the implementations that differ between the two, so that everything else need not know.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from gateway.cluster.client import ClusterClient
from gateway.cluster.collector import PayloadCollector
from gateway.cluster.delivery import Deliveries
from gateway.cluster.guard import try_forbidden
from gateway.cluster.running import Pods
from gateway.cluster.watching import PodWatch
from gateway.errors import Misconfigured
from gateway.graph.pod_resolver import PodResolver
from gateway.keys import KeyRing
from gateway.lifecycle.collecting import Collecting
from gateway.lifecycle.guarding import Guarding
from gateway.lifecycle.parts import Parts
from gateway.model import Receipt
from gateway.network import profile_rows
from gateway.network.binder import BindOrder, NetworkBinder, UnsafeUnenforcedBinder
from gateway.network.cilium_binder import CiliumBinder
from gateway.network.profiles import compiled
from gateway.runs.executor import Executors
from gateway.runs.kubernetes import KubernetesExecutor, KubernetesExecutors
from gateway.runs.local import UnsafeLocalExecutors
from gateway.settings import Settings
from gateway.store.database import Database


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is shared by all that happens on a cluster."""

    pods: Pods
    watch: PodWatch
    binder: CiliumBinder
    deliveries: Deliveries
    runner: ClusterClient
    writer: ClusterClient  # of policies: the binder's
    resolver: PodResolver

    def executors(self, settings: Settings) -> Executors:
        """Return what makes pods of runs."""

        def make(launch_id: str) -> KubernetesExecutor:
            return KubernetesExecutor(
                launch_id,
                self.pods,
                self.deliveries,
                settings.cluster,
                settings.runs,
                settings.sandbox,
            )

        return KubernetesExecutors(self.pods, make)

    def guarding(self, parts: Parts) -> Guarding:
        """Return what watches the guard rails and the policies."""
        attempt = partial(
            try_forbidden, self.runner, self.writer, self.pods, parts.settings.cluster
        )
        return Guarding(parts, self.binder, attempt)

    def collecting(self, parts: Parts) -> Collecting:
        """Return what deletes code that no launch needs."""
        namespace = parts.settings.cluster.namespace
        collector = PayloadCollector(self.runner, namespace, self.deliveries)
        return Collecting(parts.database, parts.settings, collector)


async def find_cluster(
    settings: Settings, database: Database, keys: KeyRing, stack: AsyncExitStack
) -> Cluster | None:
    """Log in to the cluster that is configured and begin to watch it; None where none is.

    Raises ``Misconfigured``, or ``ClusterAway`` when nobody answers.
    """
    cluster = settings.cluster
    if not cluster.enabled:
        return None
    if settings.environment == "production" and (
        cluster.runner_token is None or cluster.binder_token is None
    ):
        raise Misconfigured(
            "cluster_accounts",
            "in production the runner and the binder are accounts of their own: set "
            "cluster.runner_token and cluster.binder_token (deploy/)",
            field="cluster.runner_token",
        )
    if cluster.canary and not cluster.image:
        raise Misconfigured(
            "canary_without_image",
            "the canary is tried by the installation's own image: set cluster.image",
            field="cluster.image",
        )
    await database.schema(profile_rows.SCHEMA)
    runner = await ClusterClient.open(cluster.kubeconfig, cluster.runner_token)
    stack.push_async_callback(runner.close)
    binder_client = await ClusterClient.open(cluster.kubeconfig, cluster.binder_token)
    binder = CiliumBinder(binder_client, database, cluster)
    stack.push_async_callback(binder.close)
    watch = PodWatch(runner, cluster.namespace)
    await watch.start()
    stack.push_async_callback(watch.close)
    pods = Pods(runner, watch, cluster, keys.installation)
    stack.push_async_callback(pods.close)
    deliveries = Deliveries(runner, cluster)
    resolver = PodResolver(
        pods,
        deliveries,
        settings.sandbox,
        settings.code_dir,
        keys.installation,
        partial(_deny_all, binder),
    )
    return Cluster(pods, watch, binder, deliveries, runner, binder_client, resolver)


def binder_of(settings: Settings, cluster: Cluster | None) -> NetworkBinder:
    """Return who puts profiles in force. Raises ``Misconfigured`` for nobody in production."""
    return cluster.binder if cluster else UnsafeUnenforcedBinder(settings.environment)


def executors_of(
    settings: Settings, cluster: Cluster | None, parts: Parts, required_layers: frozenset[str]
) -> Executors:
    """Return who runs tasks."""
    if cluster:
        return cluster.executors(settings)
    return UnsafeLocalExecutors(settings.sandbox, settings.runs, required_layers, parts.scratch)


async def _deny_all(binder: CiliumBinder, receipt: Receipt) -> str:
    """Put the profile that allows nothing in force, for pods that resolve; return its name."""
    nothing = compiled((), binder.site)
    await binder.bind(BindOrder("resolver", "gateway", (nothing,), receipt))
    return nothing.name
