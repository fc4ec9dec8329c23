"""Commands that speak to a running gateway: plan, launch, follow, approve, cancel."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.commands.client import ClientError, GatewayClient
from gateway.commands.display import LiveRun, safe, styled
from gateway.settings import client_environment

_SUCCEEDED = "succeeded"


def open_client(arguments: argparse.Namespace) -> GatewayClient:
    """Return a client for ``--url`` and ``--token``, or the environment's."""
    url, token = client_environment()
    return GatewayClient(arguments.url or url, arguments.token or token)


async def pipelines(arguments: argparse.Namespace, console: Console) -> int:
    """List the catalogue."""
    async with open_client(arguments) as client:
        found = (await client.get("/v1/pipelines"))["pipelines"]
    if arguments.json:
        return _print_json(found)
    for item in found:
        console.print(f"[bold]{safe(item['name'])}[/]  {safe(item['title'])}  ({item['tier']})")
        for parameter in item["parameters"]:
            default = f" = {parameter['default']}" if parameter["default"] is not None else ""
            text = f"{parameter['name']}: {parameter['type']}{default}"
            console.print(f"    {safe(text):<36} {safe(parameter['description'])}")
    return 0


async def plan(arguments: argparse.Namespace, console: Console) -> int:
    """Ask what a launch would be told; nothing runs."""
    async with open_client(arguments) as client:
        answer = await client.post("/v1/plans", launch_body(arguments))
    return show_plan(answer, console, as_json=arguments.json)


async def launch(arguments: argparse.Namespace, console: Console) -> int:
    """Launch a pipeline and follow it, unless ``--detach``."""
    async with open_client(arguments) as client:
        key = arguments.key or str(uuid.uuid4())
        try:
            view = await client.post(
                "/v1/launches", launch_body(arguments), **{"Idempotency-Key": key}
            )
        except ClientError as error:
            if arguments.json and error.problem:
                _print_json(error.problem)
                return 1
            raise
        if arguments.json:
            _print_json(view)
        else:
            console.print(f"launch {view['id']}  {styled(view['state'])}")
            _explain_waiting(view, console)
        if arguments.detach or view["state"] == "awaiting_approval":
            return 0
        return await follow(client, view["id"], console, quiet=arguments.json)


async def list_launches(arguments: argparse.Namespace, console: Console) -> int:
    """List launches, newest first."""
    async with open_client(arguments) as client:
        found = (await client.get("/v1/launches", limit=str(arguments.limit)))["launches"]
    if arguments.json:
        return _print_json(found)
    table = Table(box=None)
    for column in ("launch", "state", "pipeline", "by", "at"):
        table.add_column(column)
    for item in found:
        by = item["requested_by"]["subject"]["subject"]
        via = [actor["subject"] for actor in item["requested_by"]["actors"]]
        table.add_row(
            item["id"],
            styled(item["state"]),
            safe(item["pipeline"]),
            safe(" via ".join([by, *via])),
            item["created_at"],
        )
    console.print(table)
    return 0


async def watch(arguments: argparse.Namespace, console: Console) -> int:
    """Follow a launch to its end."""
    async with open_client(arguments) as client:
        return await follow(client, arguments.launch, console, quiet=arguments.json)


async def logs(arguments: argparse.Namespace, console: Console) -> int:
    """Print the output of a launch's tasks."""
    async with open_client(arguments) as client:
        view = await client.get(f"/v1/launches/{arguments.launch}")
        wanted = [
            task
            for task in view["tasks"]
            if task["attempt"] and (not arguments.task or _is(task, arguments.task))
        ]
        if not wanted:
            raise ClientError("no such task has run in this launch")
        found = [
            {
                **{name: task[name] for name in ("key", "family", "state", "attempt")},
                "log": await client.text(
                    f"/v1/launches/{arguments.launch}/tasks/{task['key']}/log"
                ),
            }
            for task in wanted
        ]
        if arguments.json:
            return _print_json(found)
        for task in found:
            console.print(f"[bold]{safe(task['family'])}[/] {task['key'][:12]} {task['state']}")
            for line in task["log"].splitlines():
                console.print(f"    {safe(line)}", soft_wrap=True)
    return 0


async def approvals(arguments: argparse.Namespace, console: Console) -> int:
    """List what waits for me."""
    async with open_client(arguments) as client:
        found = (await client.get("/v1/approvals"))["approvals"]
    if arguments.json:
        return _print_json(found)
    if not found:
        console.print("nothing waits for you")
    for item in found:
        by = item["requested_by"]["subject"]["subject"]
        console.print(f"[bold]{item['launch_id']}[/]  {safe(item['pipeline'])}  by {safe(by)}")
        for need in item["needs"]:
            console.print(f"    {safe(need['rule'])}: {safe(need['message'])}")
        console.print(f"    plan {item['plan_digest']}  until {item['expires_at']}")
    return 0


async def answer(arguments: argparse.Namespace, console: Console) -> int:
    """Approve or reject exactly the plan that waits."""
    async with open_client(arguments) as client:
        path = f"/v1/launches/{arguments.launch}"
        plan_digest = arguments.plan_digest
        if plan_digest is None:
            view = await client.get(path)
            plan_digest = (view["plan"] or {}).get("plan_digest")
            if plan_digest is None:
                raise ClientError("the launch has no plan that could be approved")
        body = {
            "verdict": arguments.command,
            "plan_digest": plan_digest,
            "comment": arguments.comment,
        }
        view = await client.post(f"{path}/approvals", body)
    return _state(view, console, arguments)


async def cancel(arguments: argparse.Namespace, console: Console) -> int:
    """Stop a launch."""
    async with open_client(arguments) as client:
        view = await client.post(f"/v1/launches/{arguments.launch}/cancel")
    return _state(view, console, arguments)


async def follow(
    client: GatewayClient, launch_id: str, console: Console, *, quiet: bool = False
) -> int:
    """Show a launch until it ends; the exit status says whether it succeeded."""
    view = await client.get(f"/v1/launches/{launch_id}")
    end: Mapping[str, Any] = {}
    with LiveRun(console, view["tasks"]) as live:
        async for event in client.events(launch_id):
            if event.name == "end":
                end = event.data
            elif not quiet:
                live.show(event)
    if quiet:
        _print_json(dict(end))
    else:
        console.print(f"{styled(str(end['state']))}  {safe(end['outcome'])}")
        for path in end["outputs"]:
            console.print(f"    wrote {safe(path)}")
    return 0 if end["state"] == _SUCCEEDED else 1


def launch_body(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the request body of ``plan`` and ``launch``."""
    return {
        "pipeline": arguments.pipeline,
        "parameters": dict(arguments.parameters),
        "reason": arguments.reason,
    }


def show_plan(answer: Mapping[str, Any], console: Console, *, as_json: bool) -> int:
    """Print a dry run's answer; status 1 when it would be denied."""
    decision = answer["decision"]
    if as_json:
        _print_json(answer)
        return 1 if decision["verdict"] == "deny" else 0
    console.print(f"decision  {styled(decision['verdict'])}")
    show_violations(decision["violations"], console)
    for need in decision["needs"]:
        who = " or ".join(need["groups"])
        console.print(f"    [yellow]{safe(need['rule'])}[/]: {safe(need['message'])} ({safe(who)})")
    if answer["plan"]:
        console.print(f"plan      {answer['plan']['plan_digest']}")
        for name, item in answer["plan"]["services"].items():
            console.print(f"service   {safe(name)} is {safe(_pods(item))}")
    for task in answer["tasks"]:
        reach = ", ".join(task["egress"]) or "no network"
        carries = f"  carries {', '.join(task['carries'])}" if task["carries"] else ""
        console.print(f"    {safe(task['family']):<28} {safe(reach)}{safe(carries)}")
    return 1 if decision["verdict"] == "deny" else 0


def _pods(service: Mapping[str, Any]) -> str:
    """Return who answers for a Service, in one line."""
    labels = ",".join(f"{key}={value}" for key, value in sorted(service["selector"].items()))
    ports = ", ".join(str(port) for port in service["ports"])
    account = service.get("service_account")
    whose = f" of account {account}" if account else ""
    return f"pods {labels}{whose} in {service['namespace']}, port {ports}"


def show_violations(violations: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print why, where, and what would change it."""
    for item in violations:
        where = f"  task {safe(item['task_name'])}" if item.get("task_name") else ""
        console.print(f"    [red]{safe(item['rule'])}[/]{where}")
        console.print(f"        {safe(item['message'])}")
        console.print(f"        [bold]change:[/] {safe(item['remediation'])}")


def _explain_waiting(view: Mapping[str, Any], console: Console) -> None:
    if view["state"] != "awaiting_approval":
        return
    for need in view["decision"]["needs"]:
        who = " or ".join(need["groups"])
        console.print(f"    waits for {safe(who)}: {safe(need['message'])}")
    console.print(f"    they run: sluice approve {view['id']}")


def _state(view: Mapping[str, Any], console: Console, arguments: argparse.Namespace) -> int:
    if arguments.json:
        return _print_json(view)
    console.print(f"launch {view['id']}  {styled(view['state'])}  {safe(view['outcome'])}")
    return 0


def _is(task: Mapping[str, Any], wanted: str) -> bool:
    return bool(task["family"] == wanted or str(task["key"]).startswith(wanted))


def _print_json(value: object) -> int:
    print(json.dumps(value, indent=2))  # noqa: T201 -- a command's output
    return 0
