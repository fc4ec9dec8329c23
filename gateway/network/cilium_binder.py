"""Step 7 on a cluster: one CiliumNetworkPolicy per profile, in force before any pod wears it.

Promises, of a ``bind`` that returned:

1. the guard rails held when it began and when it ended, and no policy of anybody else was known;
2. the namespace denied all, by the installed baseline, which was read and compared;
3. each profile's policy was accepted by a strict dry run, created under a name made of its content,
   read back and found equal; Cilium called it valid where the cluster says such things;
4. a row says that this launch uses it, written before it was created, so nobody collects it.

It never changes a policy, never touches one that is not ours, and never installs the baseline: one
that may be repaired by whoever runs tasks is no baseline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import structlog

from gateway.clock import now
from gateway.cluster.client import ClusterClient, Object
from gateway.cluster.patience import Patience
from gateway.errors import IntegrityViolation, Misconfigured, Retryable
from gateway.network import profile_rows
from gateway.network.audit import AuditReport, PolicyAudit
from gateway.network.binder import Binding, BindOrder, Entries
from gateway.network.cilium import Manifest, called, policy
from gateway.network.installed import INSTALL, Installed
from gateway.network.marks import FIXED, policy_name, profile_of
from gateway.network.policy_objects import PolicyObjects, compare, is_valid
from gateway.network.profile_form import form
from gateway.network.profile_rows import Used
from gateway.network.service_lookup import resolved
from gateway.network.sites import Site, site_of
from gateway.settings import ClusterSettings
from gateway.store.database import Database

_log = structlog.get_logger()


class CiliumBinder:
    """Binds profiles in one namespace, as the one user who may write policies there.

    ``blocked`` is a sentence that keeps every launch from being bound; empty when nothing does.
    Whoever watches the guard rails sets it.
    """

    enforcement = "cilium"
    warning = ""

    def __init__(
        self,
        client: ClusterClient,
        database: Database,
        settings: ClusterSettings,
        *,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """Take the client over. ``profile_rows.SCHEMA`` has to be in the database.

        Raises ``Misconfigured`` for a namespace that is no name.
        """
        self.blocked = ""
        self._client = client
        self._database = database
        self._settings = settings
        self._clock = clock
        self._site = site_of(settings)
        self._objects = PolicyObjects(client, self._site.namespace)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._auditing = asyncio.Lock()
        self._installed = Installed(self._site.namespace)
        self._audit = PolicyAudit(
            self._objects, self._installed, database, self._site, self._lock, clock
        )
        self._report: AuditReport | None = None

    @property
    def site(self) -> Site:
        """Where profiles are in force."""
        return self._site

    async def close(self) -> None:
        """Close the connections to the API server."""
        await self._client.close()

    async def catalogue(self, entries: Entries, names: Collection[str]) -> Entries:
        """Return the entries with each Service among ``names`` as it is now, as ``service``.

        The service account of its pods is the catalogue's word, where it says one. A name that the
        catalogue lacks is not looked up. Raises ``Unprocessable`` (``service_unresolvable``),
        ``Misconfigured``, and ``ClusterAway`` when nobody answered for ``patience_seconds``.
        """
        patience = Patience(self._settings.patience_seconds, "decide")
        asked = [
            name
            for name in sorted(set(names))
            if name in entries and entries[name].get("kind") == "service"
        ]
        found = await _together(
            *(resolved(self._client, name, entries[name], patience) for name in asked)
        )
        return {**entries, **dict(zip(asked, found, strict=True))}

    async def bind(self, order: BindOrder) -> Binding:
        """Return when every profile is in force; see the module's promises.

        Call ``release`` for the launch when it has ended, also when this raised. Raises
        ``Retryable`` (``guard_rails_open``, ``policy_unconfirmed``, ``ClusterAway`` when nobody
        answered for ``patience_seconds``), ``Misconfigured`` (``baseline_missing``,
        ``foreign_policy``, ``audit_incomplete``, ``policy_invalid``, ``cluster_refuses``,
        ``cluster_forbids``), ``TooMany`` (``profiles_per_day``), ``IntegrityViolation``
        (``policy_differs``, ``profile_collision``); then nothing may run.
        """
        self._refuse_blocked()
        manifests = {item.name: policy(item) for item in order.profiles}
        if any(item.site != self._site for item in order.profiles):
            raise IntegrityViolation(
                "profile_elsewhere", "a profile was made for another namespace or DNS", step="bind"
            )
        patience = Patience(self._settings.patience_seconds)
        if self._report is None or self._report.foreign or self._report.unseen:
            await self._look(patience, repair=False)
        self._refuse_foreign()
        used = await self._use(order)
        there = await self._objects.policies(patience)
        told = self._installed.check(there, require_valid=self._settings.require_valid)
        if any(name not in FIXED and profile_of(name) not in used.known for name in there):
            await self._look(patience, repair=False)
            self._refuse_foreign()
        open_ = [
            name
            for name, manifest in sorted(manifests.items())
            if name in used.new or not _in_force(manifest, there, told=told)
        ]
        await _together(
            *(
                self._enforce(name, manifests[name], patience, new=name in used.new, told=told)
                for name in open_
            )
        )
        self._refuse_blocked()
        self._refuse_foreign()
        return Binding(tuple(sorted(manifests)), self.enforcement)

    async def release(self, launch_id: str) -> None:
        """Forget what a launch used; the policies stay for ``keep_profile_seconds``."""
        await self._database.write(
            partial(profile_rows.release, launch_id=launch_id, now=self._clock())
        )

    async def retain(self, launch_ids: Collection[str]) -> None:
        """At a start: forget the uses of all launches but these."""
        await self._database.write(
            partial(profile_rows.retain, launch_ids=frozenset(launch_ids), now=self._clock())
        )

    async def collect(self) -> list[str]:
        """Delete the policies that nobody has used for ``keep_profile_seconds``; return the names.

        Raises ``ClusterAway``; what was begun is finished by the next call.
        """
        until = self._clock() - timedelta(seconds=self._settings.keep_profile_seconds)
        collected = []
        for name in await self._database.read(partial(profile_rows.unused, until=until)):
            async with self._lock(name):
                if await self._database.write(partial(profile_rows.leave, name=name, until=until)):
                    patience = Patience(0)
                    if found := await self._objects.read(policy_name(name), patience):
                        await self._objects.delete(found, patience)
                    await self._database.write(partial(profile_rows.gone, name=name))
                    collected.append(name)
        return collected

    async def audit(self) -> AuditReport:
        """Compare everything in the namespace with what ought to be there, and restore ours.

        Raises ``ClusterAway`` and ``Misconfigured``; then what the last audit said still holds.
        """
        return await self._look(Patience(0), repair=True)

    async def _look(self, patience: Patience, *, repair: bool) -> AuditReport:
        """Audit. Binding repairs nothing, so that every repair is in a report that is logged."""
        async with self._auditing:
            self._report = await self._audit.run(patience, repair=repair)
            return self._report

    async def _use(self, order: BindOrder) -> Used:
        return await self._database.write(
            partial(
                profile_rows.use,
                launch_id=order.launch_id,
                principal=order.principal,
                forms={item.name: form(item) for item in order.profiles},
                now=self._clock(),
                per_day=self._settings.new_profiles_per_day,
            )
        )

    async def _enforce(
        self, name: str, manifest: Manifest, patience: Patience, *, new: bool, told: bool
    ) -> None:
        """See that one policy is in force, creating it where there is none."""
        async with self._lock(name):
            found = await self._objects.read(called(manifest), patience)
            if found is None:
                if not new:
                    _log.warning("policy_was_missing", policy=called(manifest))
                found = await self._objects.create(manifest, patience)
            else:
                compare(manifest, found)
            await self._objects.valid(found, self._settings.valid_seconds, patience, told=told)

    def _lock(self, name: str) -> asyncio.Lock:
        """Return the lock of a profile: one thing at a time happens to its policy."""
        return self._locks.setdefault(name, asyncio.Lock())

    def _refuse_blocked(self) -> None:
        if self.blocked:
            raise Retryable(
                "guard_rails_open",
                f"nothing is launched while the cluster's guard rails are open: {self.blocked}",
                step="bind",
            )

    def _refuse_foreign(self) -> None:
        report = self._report
        if report is None or report.unseen:
            raise Misconfigured(
                "audit_incomplete",
                "it is not known who else allows something in namespace "
                f"{self._site.namespace}: {'; '.join(report.unseen) if report else 'no audit'}; "
                f"give the binder that right: {INSTALL}",
                step="bind",
            )
        if report.foreign:
            raise Misconfigured(
                "foreign_policy",
                f"namespace {self._site.namespace} has policies that are not Sluice's and may "
                f"allow what nobody approved: {', '.join(report.foreign)}; remove them "
                "(the guards let nobody delete a policy but the binder: kubectl delete "
                "--as=system:serviceaccount:sluice:sluice-binder)",
                step="bind",
            )


async def _together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Do several things at once and return what they return; the first error ends the others."""
    tasks: list[asyncio.Task[Any]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(item) for item in work]
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
    else:
        return [task.result() for task in tasks]
    raise first  # with its own cause


def _in_force(manifest: Manifest, there: Mapping[str, Object], *, told: bool) -> bool:
    """Say whether a policy is among those that are there, and valid where Cilium tells.

    Raises ``IntegrityViolation`` when it is there and another one, ``Misconfigured`` when Cilium
    refuses it.
    """
    found = there.get(called(manifest))
    if found is None:
        return False
    compare(manifest, found)
    return is_valid(found) or not told
