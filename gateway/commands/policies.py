"""Commands on the policy folder: they need no gateway."""

from __future__ import annotations

import argparse
import asyncio
import json

from rich.console import Console

from gateway.commands.display import safe
from gateway.lifecycle.notices import network_findings
from gateway.network.sites import site_of
from gateway.policy import loading, testing
from gateway.policy.overlap import overlapping
from gateway.policy.snapshot import load_snapshot
from gateway.settings import load


async def check(arguments: argparse.Namespace, console: Console) -> int:
    """Check Rego and data as the gateway would when it loads them."""
    findings = await loading.check(arguments.directory)
    shared: list[tuple[str, str]] = []
    if not findings:
        snapshot = await asyncio.to_thread(load_snapshot, arguments.directory)
        findings = network_findings(snapshot, site_of(load().cluster))
        shared = overlapping(snapshot.data.destinations)
    if arguments.json:
        value = [{"file": f.file, "line": f.line, "reason": f.reason} for f in findings]
        print(json.dumps(value, indent=2))  # noqa: T201 -- a command's output
        return 1 if findings else 0
    for finding in findings:
        place = f"{finding.file}:{finding.line}" if finding.line else str(finding.file)
        console.print(f"[red]{safe(place)}[/]: {safe(finding.reason)}", soft_wrap=True)
    for a, b in shared:
        console.print(
            f"note: destinations {safe(a)} and {safe(b)} share an address; each counts as emitting "
            "what either emits",
            soft_wrap=True,
        )
    if not findings:
        console.print(f"policy in {safe(arguments.directory)} is sound")
    return 1 if findings else 0


async def test(arguments: argparse.Namespace, console: Console) -> int:
    """Run the policy's own tests."""
    report = await testing.run_tests(arguments.directory)
    if arguments.json:
        value = [
            {
                "name": result.name,
                "file": result.file,
                "line": result.line,
                "passed": result.passed,
                "milliseconds": round(result.seconds * 1000),
                "detail": result.detail,
            }
            for result in report.results
        ]
        print(json.dumps(value, indent=2))  # noqa: T201 -- a command's output
        return 0 if report.passed else 1
    for result in report.results:
        if not result.passed or arguments.verbose:
            mark = "[green]pass[/]" if result.passed else "[bold red]FAIL[/]"
            place = f"{result.file}:{result.line}"
            console.print(f"{mark}  {safe(result.name)}  {safe(place)}{safe(result.detail)}")
    good = len(report.results) - len(report.failed)
    console.print(f"policy tests: {good} passed, {len(report.failed)} failed")
    return 0 if report.passed else 1
