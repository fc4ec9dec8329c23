"""The composition root: the only module that names implementations.

``running`` builds every part in the order in which parts need each other, serves, and takes them
down in reverse. Nothing else in the package constructs a collaborator.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import structlog
from aiohttp import ClientSession, web

from gateway import __version__
from gateway.approvals import desk
from gateway.clock import now
from gateway.decisionlog import note
from gateway.decisionlog.log import Entry
from gateway.decisionlog.signer import CheckpointSigner
from gateway.decisionlog.sqlite import SqliteDecisionLog
from gateway.errors import GatewayError, Misconfigured
from gateway.graph.resolver import SandboxResolver
from gateway.graph.yields import admit_yield
from gateway.ground import Cluster, binder_of, executors_of, find_cluster
from gateway.identity.development import DevIssuer, development_issuer
from gateway.identity.issuers import Issuer, KeySource
from gateway.identity.jwks import RemoteKeys
from gateway.identity.keys import StaticKeys
from gateway.identity.replay import SqliteSeenTokens
from gateway.identity.verifier import TokenVerifier
from gateway.keys import KeyRing
from gateway.launch import LaunchService
from gateway.lifecycle.approval import Approval
from gateway.lifecycle.cutting import Cutting
from gateway.lifecycle.execution import Execution
from gateway.lifecycle.hub import EventHub
from gateway.lifecycle.journal import Journal
from gateway.lifecycle.notices import PolicyNotices
from gateway.lifecycle.observation import Observer
from gateway.lifecycle.parts import Parts
from gateway.lifecycle.readiness import Readiness
from gateway.lifecycle.reconciliation import Reconciliation
from gateway.lifecycle.recovery import Recovery
from gateway.metrics import Metrics
from gateway.network.sites import site_of
from gateway.policy.reload import PolicyWatcher
from gateway.runs.supervisor import RunSupervisor
from gateway.sandbox.layers import available_layers
from gateway.sandbox.spec import LAYERS
from gateway.settings import Settings
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.database import Database
from gateway.surfaces.http.operating import Operating
from gateway.surfaces.http.server import make_server

_log = structlog.get_logger()
_LONGEST_LINE = 16_384  # bytes of a request line or header


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that serves: where, and with which parts."""

    url: str
    parts: Parts
    readiness: Readiness
    checkpoint_now: Callable[[], Awaitable[str]]  # sign what the log holds at this moment


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Gateway]:
    """Build, recover, serve; at the end stop taking requests first and close the store last.

    Raises ``Misconfigured`` when something that this environment demands is missing.
    """
    async with AsyncExitStack() as stack:
        parts, signer, notices, cluster = await _parts(settings, stack)
        layers = await asyncio.to_thread(available_layers)
        _demand_layers(settings, layers)
        observer = Observer(parts)
        executors = executors_of(settings, cluster, parts, _required(settings))
        supervisor = RunSupervisor(
            executors,
            settings.runs,
            admit_yield=partial(admit_yield, installation_key=parts.keys.installation),
            observe=observer.observe,
        )
        stack.push_async_callback(supervisor.close)
        execution = Execution(parts, supervisor, executors)
        stack.push_async_callback(execution.close)
        approval = Approval(parts, execution)
        journal = Journal(settings.state_dir.resolve() / "journal.jsonl")
        cutting = Cutting(parts, execution, executors, journal)
        stack.push_async_callback(cutting.close)
        service = LaunchService(parts, execution, approval, cutting)
        stack.push_async_callback(service.close)
        recovery = Recovery(parts, execution, approval, service.deciding)
        await _say_started(parts, layers)
        stack.push_async_callback(_say_stopped, parts)
        watchers = await _watch_cluster(parts, cluster, execution, stack)
        await cutting.at_start()  # first: what was cut is not taken up again
        await recovery.at_start()
        for name, run in (("recovery", recovery.run), ("cutting", cutting.run)):
            stack.push_async_callback(_cancel, asyncio.create_task(run(), name=name))
        readiness = Readiness(parts, signer, notices, layers, watchers)
        metrics = Metrics()
        server = make_server(
            parts,
            service,
            approval,
            Operating(
                readiness.report, metrics, partial(_measure, parts, notices, watchers, metrics)
            ),
        )
        url = await _listen(server, settings, stack)
        stack.callback(parts.hub.close)  # first of all: event streams end, readers come back
        _log.info("serving", url=url, environment=settings.environment)
        yield Gateway(url, parts, readiness, signer.checkpoint_now)


async def _parts(
    settings: Settings, stack: AsyncExitStack
) -> tuple[Parts, CheckpointSigner, PolicyNotices, Cluster | None]:
    """Build what the stages share, in the order in which parts need each other."""
    if not settings.cluster.enabled:
        binder_of(settings, None)  # refused in production before anything is opened
    developer = development_issuer(settings, settings.keys_dir)
    keys = await asyncio.to_thread(KeyRing.open, settings.keys_dir)
    database = await Database.open(
        settings.database, within_seconds=settings.log.append_within_seconds
    )
    stack.push_async_callback(database.close)
    await database.schema((*launches.SCHEMA, *desk.SCHEMA))
    log = await SqliteDecisionLog.open(
        database,
        keys,
        origin=settings.log.origin,
        labels={"gateway": __version__, "environment": settings.environment},
    )
    signer = CheckpointSigner(
        settings.database,
        log,
        settings.keys_dir,
        settings.log.origin,
        settings.log.checkpoint_seconds,
    )
    await signer.start()
    stack.push_async_callback(signer.stop)
    verifier = await _verifier(settings, developer, database, stack)
    notices = PolicyNotices(log, site_of(settings.cluster))
    watcher = PolicyWatcher(
        settings.policy.directory,
        settings.policy,
        on_loaded=notices.loaded,
        on_refused=notices.refused,
    )
    await watcher.start()
    stack.push_async_callback(watcher.close)
    cluster = await find_cluster(settings, database, keys, stack)
    parts = Parts(
        settings=settings,
        keys=keys,
        database=database,
        log=log,
        verifier=verifier,
        policy=watcher,
        resolver=SandboxResolver(
            settings.sandbox, settings.code_dir, keys.installation, _required(settings)
        ),
        pod_resolver=cluster.resolver if cluster else None,
        binder=binder_of(settings, cluster),
        hub=EventHub(),
        clock=now,
        public_key=lambda: signer.public_key,
    )
    return parts, signer, notices, cluster


async def _watch_cluster(
    parts: Parts, cluster: Cluster | None, execution: Execution, stack: AsyncExitStack
) -> Mapping[str, Callable[[], str]]:
    """Begin to watch what guards the cluster; return what readiness may ask, by name."""
    if cluster is None:
        return {}
    active = await parts.database.read(
        partial(launches.in_states, states=(*(s for s in LaunchState if not s.final),))
    )
    await cluster.binder.retain({record.id for record in active})
    guarding = cluster.guarding(parts)
    await guarding.at_start()
    reconciliation = Reconciliation(parts, cluster.pods, execution.under_way, cluster.resolver.asks)
    watching = {
        "guarding": guarding.run,
        "reconciliation": reconciliation.run,
        "collecting": cluster.collecting(parts).run,
    }
    for name, run in watching.items():
        stack.push_async_callback(_cancel, asyncio.create_task(run(), name=name))
    return {
        "cluster": lambda: cluster.watch.away,
        "guard_rails": lambda: guarding.rails,
        "network_policies": lambda: guarding.policies,
        "strangers": lambda: ", ".join(reconciliation.strangers),
    }


async def _verifier(
    settings: Settings, developer: DevIssuer | None, database: Database, stack: AsyncExitStack
) -> TokenVerifier:
    session = await stack.enter_async_context(ClientSession())
    rows = (*settings.identity.issuers, *((developer.row(),) if developer else ()))
    if not rows:
        raise Misconfigured(
            "no_issuer",
            "no issuer is configured, so nobody could ask for anything; list one under "
            "[[identity.issuers]] or set SLUICE_IDENTITY__DEVELOPMENT_ISSUER=true",
            field="identity.issuers",
        )
    issuers = []
    for row in rows:
        source: KeySource = StaticKeys(row.keys)
        if row.jwks_url is not None:
            remote = RemoteKeys(row.jwks_url, session)
            stack.push_async_callback(remote.close)
            source = remote
        issuers.append(Issuer.from_settings(row, source))
    seen = await SqliteSeenTokens.open(database)
    return TokenVerifier(issuers, leeway_seconds=settings.identity.leeway_seconds, seen=seen)


async def _listen(server: web.Application, settings: Settings, stack: AsyncExitStack) -> str:
    runner = web.AppRunner(
        server,
        shutdown_timeout=settings.http.stop_within_seconds,
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,  # beyond what a token may be: the verifier says so itself
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, settings.http.host, settings.http.port)
    try:
        await site.start()
    except OSError as error:
        raise Misconfigured(
            "address_unavailable",
            f"cannot listen on {settings.http.host}:{settings.http.port}: {error.strerror}",
            field="http.port",
        ) from error
    host, port = runner.addresses[0][:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _required(settings: Settings) -> frozenset[str]:
    strict = settings.environment == "production" or settings.sandbox.require_all_layers
    return frozenset(LAYERS) if strict else frozenset()


def _demand_layers(settings: Settings, layers: Mapping[str, bool]) -> None:
    if settings.cluster.enabled and settings.cluster.resolve_in_pods:
        return  # no pipeline's code runs on this machine
    missing = sorted(name for name in _required(settings) if not layers.get(name))
    if missing:
        raise Misconfigured(
            "sandbox_layers_missing",
            f"this machine lacks sandbox layers that are demanded: {', '.join(missing)}",
            step="resolve",
        )


async def _say_started(parts: Parts, layers: Mapping[str, bool]) -> None:
    async with parts.policy.lease() as policy:
        revision = policy.snapshot.version.to_json()
    entries = [
        Entry(
            "gateway.started",
            {"version": __version__, "policy": revision, "sandbox_layers": dict(layers)},
        )
    ]
    if warning := parts.binder.warning:
        entries.append(Entry("enforcement.unsafe", {"warning": warning}))
        _log.warning("enforcement_unsafe", detail=warning)
    await parts.log.append_all(entries)


async def _say_stopped(parts: Parts) -> None:
    with suppress(GatewayError):  # a store that fails now has said so before
        await parts.log.append(Entry("gateway.stopped", {}))


async def _measure(
    parts: Parts,
    notices: PolicyNotices,
    watchers: Mapping[str, Callable[[], str]],
    metrics: Metrics,
) -> None:
    counts = await parts.database.read(launches.count_by_state)
    for state in LaunchState:
        metrics.launches.labels(state.value).set(counts.get(state.value, 0))
    metrics.log_size.set(parts.log.size)
    if text := await parts.log.checkpoint():
        metrics.checkpoint_size.set(note.parse(text).size)
    metrics.policy_refused.set(bool(notices.refusal))
    for what, wrong in watchers.items():
        metrics.cluster_alarm.labels(what).set(bool(wrong()))


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
