"""Compares the namespace's policies with what ought to be there, and puts ours back.

Ours are explained by a row, or by themselves: a policy whose annotation makes its name, and whose
rules are what that annotation gives, allows what its name has always meant and is adopted. Any
other is foreign: it could allow what nobody approved. Foreign ones are named and never touched, and
neither are the policies that an administrator installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from gateway.canonical import Json
from gateway.cluster.client import ClusterAway, Object
from gateway.cluster.patience import Patience
from gateway.errors import GatewayError
from gateway.network import profile_rows
from gateway.network.cilium import Manifest, called, policy
from gateway.network.installed import Installed
from gateway.network.marks import CANONICAL, FIXED, policy_name, profile_of
from gateway.network.policy_objects import PolicyObjects, faults, verdict
from gateway.network.profile_form import form, read_form
from gateway.network.profile_rows import ProfileRow
from gateway.network.profiles import Profile
from gateway.network.sites import Site
from gateway.store.database import Database


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found, by the names of objects; all empty when all is as it ought to be.

    ``restored`` are those of ``missing`` and ``edited`` that are in force again. ``differences``
    says where each edited one differed. ``adopted`` were ours without a row, and harmless.
    ``foreign`` are ``Kind/name``. ``baseline`` and ``problems`` are sentences: what is wrong with
    the policies that the administrator installed, and what could not be looked at or restored.
    """

    restored: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    baseline: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    differences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether there is nothing to tell anybody."""
        return self == AuditReport()

    def to_json(self) -> dict[str, Json]:
        """Return the form that enters the log."""
        return {
            "restored": list(self.restored),
            "missing": list(self.missing),
            "edited": list(self.edited),
            "foreign": list(self.foreign),
            "adopted": list(self.adopted),
            "baseline": list(self.baseline),
            "unseen": list(self.unseen),
            "problems": list(self.problems),
            "differences": {name: list(where) for name, where in self.differences.items()},
        }


class PolicyAudit:
    """Audits one namespace. ``lock`` gives the lock of a profile, which binding takes as well."""

    def __init__(
        self,
        objects: PolicyObjects,
        installed: Installed,
        database: Database,
        site: Site,
        lock: Callable[[str], asyncio.Lock],
        clock: Callable[[], datetime],
    ) -> None:
        """Use the binder's own parts."""
        self._objects = objects
        self._installed = installed
        self._database = database
        self._site = site
        self._lock = lock
        self._clock = clock

    async def run(self, patience: Patience, *, repair: bool) -> AuditReport:
        """Look at everything once; with ``repair``, restore and adopt what can be.

        The policies are listed before the rows are read, and a row is written before its policy:
        so a policy without a row is nobody's that is just being made. Raises ``ClusterAway``, and
        ``Misconfigured`` when the policies cannot be listed at all.
        """
        listing = await self._objects.listing(patience)
        rows = await self._database.read(profile_rows.known)
        problems: list[str] = []
        wanted = await asyncio.to_thread(self._wanted, rows, problems)
        strange = [
            await self._objects.read(name, patience)
            for name in sorted(listing.policies)
            if name not in FIXED and profile_of(name) not in rows
        ]
        adopted, foreign = self._explained(found for found in strange if found is not None)
        missing, differing = await asyncio.to_thread(_compared, wanted, listing.policies)
        problems += _refused(wanted, listing.policies)
        restored: list[str] = []
        if repair:
            adopt = partial(profile_rows.adopt, forms=adopted, now=self._clock())
            await self._database.write(adopt)
            for name in sorted({*missing, *differing}):
                try:
                    needed = await self._restore(wanted[name], patience)
                except ClusterAway:
                    raise
                except GatewayError as error:
                    problems.append(f"cannot restore {name}: {error.public_message}")
                    continue
                if needed:
                    restored.append(name)
                else:  # being made or collected at that moment: nothing is wrong
                    missing.discard(name)
                    differing.pop(name, None)
        return AuditReport(
            restored=tuple(restored),
            missing=tuple(sorted(missing)),
            edited=tuple(sorted(differing)),
            foreign=(*foreign, *listing.others),
            adopted=tuple(sorted(map(policy_name, adopted))),
            baseline=self._installed.broken(listing.policies),
            unseen=listing.unseen,
            problems=tuple(problems),
            differences=differing,
        )

    def _wanted(self, rows: dict[str, ProfileRow], problems: list[str]) -> dict[str, Manifest]:
        """Return the policies that ought to be in force, by name. Takes a while for many.

        A row that does not say what its name is made of explains nothing, and is taken out.
        """
        found = {}
        for row in tuple(rows.values()):
            if row.leaving:
                continue
            try:
                known = read_form(row.name, row.canonical, self._site)
            except GatewayError as error:
                problems.append(error.public_message)
                del rows[row.name]
                continue
            if known is not None:
                found[policy_name(row.name)] = policy(known)
        return found

    def _explained(self, strange: Iterable[Object]) -> tuple[dict[str, str], list[str]]:
        """Divide policies without a row into profiles that explain themselves, and foreign ones."""
        ours: dict[str, str] = {}
        foreign = []
        for found in strange:
            if (known := self._self_explained(found)) is None:
                foreign.append(f"{found['kind']}/{found['metadata']['name']}")
            else:
                ours[known.name] = form(known)
        return ours, foreign

    def _self_explained(self, found: Object) -> Profile | None:
        metadata = found["metadata"]
        text = (metadata.get("annotations") or {}).get(CANONICAL)
        try:
            known = read_form(profile_of(metadata["name"]), text or "", self._site)
            return known if known is not None and not faults(policy(known), found) else None
        except GatewayError:
            return None

    async def _restore(self, manifest: Manifest, patience: Patience) -> bool:
        """Put a policy back; say whether that was still needed once nobody else was at it."""
        name = called(manifest)
        profile = profile_of(name)
        async with self._lock(profile):
            stays = partial(profile_rows.stays, name=profile)
            if not await self._database.read(stays):
                return False
            found = await self._objects.read(name, patience)
            if found is not None:
                if not faults(manifest, found):
                    return False
                await self._objects.delete(found, patience)
            await self._objects.create(manifest, patience)
            return True


def _compared(
    wanted: Mapping[str, Manifest], there: Mapping[str, Object]
) -> tuple[set[str], dict[str, tuple[str, ...]]]:
    """Return what is missing, and where others differ."""
    missing = set(wanted) - set(there)
    compared = {name: faults(item, there[name]) for name, item in wanted.items() if name in there}
    return missing, {name: where for name, where in compared.items() if where}


def _refused(wanted: Iterable[str], there: Mapping[str, Object]) -> Iterable[str]:
    """Yield a sentence for each of our policies that Cilium does not take."""
    for name in sorted(wanted):
        condition = verdict(there[name]) if name in there else None
        if condition is not None and condition.get("status") == "False":
            yield f"Cilium refuses {name}: {condition.get('message') or 'without a reason'}"
