"""`sluice cut`: no question is asked, because seconds count."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from gateway.commands.display import safe, styled
from gateway.commands.launching import open_client


async def cut(arguments: argparse.Namespace, console: Console) -> int:
    """Take the network away from what runs of some launches, then stop them."""
    named = {
        "launch_id": arguments.launch,
        "principal": arguments.principal,
        "pipeline": arguments.pipeline,
    }
    body = {name: value for name, value in named.items() if value is not None}
    async with open_client(arguments) as client:
        said = await client.post("/v1/stops", {"kind": "cut", "reason": arguments.reason, **body})
    if arguments.json:
        print(json.dumps(said, indent=2))  # noqa: T201 -- a command's output
        return 0
    if not said["launches"]:
        console.print("nothing of that is under way")
    for item in said["launches"]:
        _show(item, console)
    if said["warning"]:
        console.print(f"[yellow]{safe(said['warning'])}[/]")
    return 0


def _show(item: Mapping[str, Any], console: Console) -> None:
    many = f"{item['tasks']} {'task' if item['tasks'] == 1 else 'tasks'}"
    took = f"lost the network after {round(item['seconds'] * 1000)} ms"
    console.print(f"launch {safe(item['launch_id'])}  {many} {took}  {styled(item['state'])}")
    if item["note"]:
        console.print(f"    {safe(item['note'])}")
    if not item["logged"]:
        console.print("    not in the decision log yet: it is in the gateway's journal until then")
