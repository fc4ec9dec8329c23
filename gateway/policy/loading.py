"""A folder -> a ``LoadedPolicy``: read, checked, compiled, and its own tests passed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.policy.decide import LoadedPolicy
from gateway.policy.findings import Finding, PolicyInvalid, refuse
from gateway.policy.rego import RegoEngine
from gateway.policy.snapshot import Snapshot, load_snapshot
from gateway.policy.testing import run_snapshot_tests
from gateway.settings import PolicySettings


async def load_policy(directory: Path, settings: PolicySettings | None = None) -> LoadedPolicy:
    """Load the policy of a folder. The caller closes it. Raises ``PolicyInvalid``."""
    snapshot = await asyncio.to_thread(load_snapshot, directory)
    return await open_policy(snapshot, settings or PolicySettings.model_validate({}))


async def open_policy(snapshot: Snapshot, settings: PolicySettings) -> LoadedPolicy:
    """Start an engine for a snapshot whose own tests pass. Raises ``PolicyInvalid``."""
    engine = await RegoEngine.start(snapshot, settings)
    try:
        report = await run_snapshot_tests(snapshot, settings)
        refuse(
            Finding(result.file, result.line, f"{result.name} fails{result.detail}")
            for result in report.failed
        )
    except BaseException:
        await engine.close()
        raise
    return LoadedPolicy(snapshot, engine)


async def check(directory: Path, settings: PolicySettings | None = None) -> tuple[Finding, ...]:
    """Return all that keeps the policy of a folder from being used; nothing when it is good."""
    try:
        policy = await load_policy(directory, settings)
    except PolicyInvalid as error:
        return error.findings
    await policy.close()
    return ()
