"""`sluice plan`: the answer that a launch would get, from a gateway or, with ``--local``, without.

The local answer uses the same resolver, the same policy and the same rendering as the gateway, in
a temporary folder. It knows no history and no approvals, and says so.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from gateway.canonical import Json
from gateway.clock import new_id, now, rfc3339
from gateway.commands import launching
from gateway.commands.launching import show_plan
from gateway.errors import Rejected
from gateway.graph.resolver import SandboxResolver
from gateway.identity.development import ISSUER
from gateway.launch import DryRun
from gateway.lifecycle.decision import judge, unresolved
from gateway.lifecycle.masking import masked
from gateway.lifecycle.resolving import resolve_here
from gateway.model import Decision, LaunchRequest, Member, Principal
from gateway.network.binder import UnsafeUnenforcedBinder
from gateway.policy.decide import LoadedPolicy
from gateway.policy.loading import load_policy
from gateway.settings import ClusterSettings, Settings, load
from gateway.surfaces import views

_NO_HISTORY: dict[str, Json] = {
    "launches_last_hour": 0,
    "launches_today": 0,
    "running": 0,
    "approved_code_digests": [],
    "last_approved_content_digest": None,
}


async def plan(arguments: argparse.Namespace, console: Console) -> int:
    """Dispatch on ``--local``."""
    if not arguments.local:
        return await launching.plan(arguments, console)
    settings = load(arguments.config)
    with tempfile.TemporaryDirectory(prefix="sluice-plan-") as folder:
        run = await _decide(arguments, settings, Path(folder))
    if not arguments.json:
        console.print("decided here, without history: launches and approvals so far do not count")
    return show_plan(views.dry_run(run), console, as_json=arguments.json)


async def _decide(arguments: argparse.Namespace, settings: Settings, folder: Path) -> DryRun:
    principal = _principal(arguments)
    parameters = dict(arguments.parameters)
    request = LaunchRequest(arguments.pipeline, parameters, arguments.reason, "cli", dry_run=True)
    key = os.urandom(32)  # masks of this answer are of this answer only
    resolver = SandboxResolver(settings.sandbox, folder / "code", key)
    policy = await load_policy(settings.policy.directory, settings.policy)
    try:
        return await _ask(policy, resolver, settings, principal, request, key)
    finally:
        await policy.close()


async def _ask(
    policy: LoadedPolicy,
    resolver: SandboxResolver,
    settings: Settings,
    principal: Principal,
    request: LaunchRequest,
    key: bytes,
) -> DryRun:
    moment = now()
    decision: Decision = await policy.admit(
        principal, request, history=_NO_HISTORY, now=rfc3339(moment), enforcement="none"
    )
    if decision.verdict == "deny":
        return DryRun(decision, None, None)
    try:
        resolution = await resolve_here(resolver, policy, request, settings.pipelines_dir)
    except Rejected as error:
        return DryRun(unresolved(policy, error), None, None)
    shown = policy.snapshot.data.pipelines[request.pipeline].shown
    judged = await judge(
        policy,
        new_id(),
        principal,
        LaunchRequest(
            request.pipeline,
            masked(key, request.pipeline, request.parameters, shown),
            request.reason,
            request.surface,
            dry_run=True,
        ),
        resolution.graph,
        history=_NO_HISTORY,
        now=rfc3339(moment),
        binder=UnsafeUnenforcedBinder("development"),
        cluster=ClusterSettings(),
        expires_at=rfc3339(moment + timedelta(minutes=settings.approvals.expire_minutes)),
    )
    return DryRun(judged.decision, judged.plan, judged.graph)


def _principal(arguments: argparse.Namespace) -> Principal:
    """Return whom to decide for: named on the command line, so good for a dry run only."""
    subject = Member(ISSUER, arguments.sub, "human", tuple(arguments.group))
    if arguments.act is None:
        return Principal(subject=subject, kind="human")
    return Principal(
        subject=subject, kind="agent", actors=(Member(ISSUER, arguments.act, "agent"),)
    )
