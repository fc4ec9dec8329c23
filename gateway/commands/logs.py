"""Commands on the decision log's file: no gateway is needed, nor trusted."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from rich.console import Console

from gateway.commands.display import safe
from gateway.decisionlog import export as exporting
from gateway.decisionlog import verifier


def public_key(arguments: argparse.Namespace) -> str:
    """Return the verification key of ``--key``: the text itself, or a file that holds it."""
    path = Path(arguments.key)
    return path.read_text().strip() if path.exists() else str(arguments.key)


async def verify(arguments: argparse.Namespace, console: Console) -> int:
    """Replay the whole log from its file and a public key alone."""
    report = await asyncio.to_thread(
        verifier.verify, arguments.file, public_key(arguments), arguments.witness
    )
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))  # noqa: T201 -- a command's output
        return 0 if report.ok else 1
    verdict = "[bold green]verified[/]" if report.ok else "[bold red]NOT VERIFIED[/]"
    covered = f"{report.checkpoint_size} of {report.size} entries under a signed checkpoint"
    console.print(f"{verdict}  {covered}")
    if report.ok:
        console.print(f"    root {report.root}")
    for finding in report.findings:
        where = f"entry {finding.seq}" if finding.seq is not None else "log"
        name = f" ({finding.entry_id})" if finding.entry_id else ""
        console.print(f"    [red]{where}{safe(name)}[/]: {safe(finding.problem)}")
    return 0 if report.ok else 1


async def prove(arguments: argparse.Namespace, _: Console) -> int:
    """Print one entry with its inclusion proof and checkpoint: verifiable without the log."""
    proof = await asyncio.to_thread(exporting.prove, arguments.file, arguments.seq)
    print(json.dumps(proof, indent=2))  # noqa: T201 -- a command's output
    return 0


async def export(arguments: argparse.Namespace, console: Console) -> int:
    """Write the log as lines of JSON that ``sluice log verify`` reads."""
    if arguments.out is None:
        await asyncio.to_thread(exporting.export_ndjson, arguments.file, sys.stdout.buffer)
        return 0
    with arguments.out.open("wb") as out:
        await asyncio.to_thread(exporting.export_ndjson, arguments.file, out)
    console.print(f"wrote {safe(arguments.out)}")
    return 0
