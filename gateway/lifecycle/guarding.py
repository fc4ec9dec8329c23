"""Watches what guards the cluster: admission policies, network policies, and what they are for.

Every minute a forbidden pod is tried; while it would be accepted, or nobody can say, no launch is
bound. The namespace's policies are compared with what they ought to be, and ours restored. What is
found is an entry and an alarm, once for each change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from gateway.canonical import Json
from gateway.decisionlog.log import Entry
from gateway.errors import GatewayError
from gateway.lifecycle.parts import Parts
from gateway.lifecycle.sweeping import attempted, sweeping

_log = structlog.get_logger()
_UNHEARD = 5  # tries without an answer until the guard rails count as open


class Finding(Protocol):
    """What an audit found."""

    @property
    def clean(self) -> bool:
        """Whether there is nothing to tell."""
        ...

    def to_json(self) -> dict[str, Json]:
        """Return the form that enters the log."""
        ...


class Enforcer(Protocol):
    """A binder that keeps policies in force."""

    blocked: str

    async def audit(self) -> Finding:
        """Compare, and restore."""
        ...

    async def collect(self) -> list[str]:
        """Delete what nobody has used for long."""
        ...


class Guarding:
    """Tries, audits and collects, from start to stop."""

    def __init__(
        self, parts: Parts, enforcer: Enforcer, try_forbidden: Callable[[], Awaitable[str]]
    ) -> None:
        """``try_forbidden`` returns what is wrong with the guard rails, or raises."""
        self._parts = parts
        self._enforcer = enforcer
        self._try = try_forbidden
        self._settings = parts.settings.cluster
        self._unheard = 0
        self._found: dict[str, Json] = {}
        self.policies = ""  # what is wrong with the network policies, for readiness

    @property
    def rails(self) -> str:
        """What is wrong with the guard rails; empty while they hold."""
        return self._enforcer.blocked

    async def at_start(self) -> None:
        """Try and audit once, before anything is launched."""
        self._enforcer.blocked = "they have not been tried yet"
        await self.try_rails()
        await self.audit()

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(sweeping(self.try_rails, self._settings.guard_seconds, "guarding"))
            both.create_task(
                sweeping(self._keep, self._settings.audit_seconds, "profile_collecting")
            )

    async def try_rails(self) -> None:
        """Try the forbidden pod; while it is not refused, nothing is bound."""
        try:
            why = await self._try()
        except GatewayError as error:
            self._unheard += 1
            if self._unheard < _UNHEARD and not self.rails:
                return  # they held a moment ago, and nobody can make a pod now either
            why = f"nobody can say whether they hold: {error.public_message}"
        else:
            self._unheard = 0
        before, self._enforcer.blocked = self._enforcer.blocked, why
        if bool(before) == bool(why) and not (why and before != why):
            return
        if why:
            _log.error("guard_rails_open", detail=why)
            await self._parts.log.append(Entry("guardrails.open", {"reason": why}))
        else:
            _log.info("guard_rails_hold")
            await self._parts.log.append(Entry("guardrails.hold", {}))

    async def audit(self) -> None:
        """Compare the namespace's policies, restore ours, and tell what was found."""
        try:
            report = await self._enforcer.audit()
        except GatewayError as error:
            self.policies = f"they could not be compared: {error.public_message}"
            _log.warning("network_audit_failed", detail=str(error))
            return
        found = {} if report.clean else report.to_json()
        wrong = [name for name in ("foreign", "baseline", "unseen", "problems") if found.get(name)]
        self.policies = "; ".join(f"{name}: {found[name]}" for name in wrong)
        if found and found != self._found:
            harmless = not any(value for name, value in found.items() if name != "adopted")
            (_log.warning if harmless else _log.error)("network_policies_differ", **found)
            await self._parts.log.append(Entry("network.audit", found))
        self._found = found

    async def collect(self) -> None:
        """Delete the policies of profiles that nobody used for long, and say so."""
        if collected := await self._enforcer.collect():
            names: list[Json] = list(collected)
            await self._parts.log.append(Entry("network.collected", {"profiles": names}))

    async def _keep(self) -> None:
        await attempted(self.audit, "network_audit")
        await self.collect()
