"""The `sluice` command: parses, calls one coroutine, and turns errors into words and a status.

Exit status: 0 done, 1 denied or failed, 2 usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gateway import __version__
from gateway.commands import cutting, demo, launching, logs, networks, planning, policies, serving
from gateway.commands.client import ClientError
from gateway.commands.display import safe
from gateway.commands.launching import show_violations
from gateway.errors import GatewayError

Command = Callable[[argparse.Namespace, Console], Awaitable[int]]
if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 -- argparse has no public name for it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; this is the console script."""
    arguments = _parse(argv)
    console = Console(highlight=False, stderr=bool(getattr(arguments, "json", False)))
    command: Command = arguments.run
    try:
        return asyncio.run(command(arguments, console))  # type: ignore[arg-type]
    except ClientError as error:
        return _client_error(error, console, arguments)
    except GatewayError as error:
        console.print(f"[bold red]{safe(error.code)}[/]: {safe(error.public_message)}")
        if error.diagnostics:
            console.print(f"    {safe(error.diagnostics)}", soft_wrap=True)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse; ``key=value`` may also stand behind options, where argparse itself gives up on it."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest:
        wrong = [word for word in rest if word.startswith("-") or "=" not in word]
        if wrong or not hasattr(arguments, "parameters"):
            parser.error(f"unrecognized arguments: {' '.join(wrong or rest)}")
        arguments.parameters = [*arguments.parameters, *map(_parameter, rest)]
    return arguments


def _client_error(error: ClientError, console: Console, arguments: argparse.Namespace) -> int:
    if getattr(arguments, "json", False):
        print(json.dumps(error.problem or {"detail": str(error)}, indent=2))
        return 1
    if violations := error.problem.get("violations"):
        console.print(f"[bold red]denied[/]  decision {error.problem['decision_id']}")
        show_violations(violations, console)
    else:
        step = f" at step {error.problem['step']}" if error.problem.get("step") else ""
        code = error.problem.get("code", "error")
        console.print(f"[bold red]{safe(code)}[/]{safe(step)}: {safe(error)}")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sluice",
        description="Launch Luigi pipelines under policy, with a decision log that proves itself.",
        epilog="Client commands speak to SLUICE_URL (http://127.0.0.1:8080) as SLUICE_TOKEN.",
    )
    parser.add_argument("--version", action="version", version=f"sluice {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _serving(commands)
    _clients(commands)
    _policy(commands)
    _network(commands)
    _log(commands)
    return parser


def _add(commands: Commands, name: str, run: Command, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


def _serving(commands: Commands) -> None:
    parser = _add(commands, "demo", demo.demo, "the main job, end to end, on loopback")
    parser.add_argument("--exit", action="store_true", help="end after the last act")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--port", type=int, default=0, help="listen here; a free port by default")
    parser.add_argument("--state", type=Path, help="keep state here; a temporary folder by default")
    parser = _add(commands, "serve", serving.serve, "run the gateway")
    parser.add_argument("--config", type=Path, help="TOML file; also SLUICE_CONFIG")
    parser = _add(commands, "token", serving.token, "a token from the development issuer")
    parser.add_argument("--config", type=Path, help="TOML file; also SLUICE_CONFIG")
    parser.add_argument("--sub", required=True, help="subject: for whom")
    parser.add_argument("--group", action="append", default=[], help="a group; may be repeated")
    parser.add_argument("--client", default="sluice-cli", help="client that holds the token")
    parser.add_argument("--act", help="actor that acts for the subject (RFC 8693)")
    parser.add_argument("--ttl", type=int, default=3600, help="lifetime in seconds")
    parser.add_argument("--json", action="store_true", help="print an object")


def _clients(commands: Commands) -> None:
    def client(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        parser = _add(commands, name, run, text)
        parser.add_argument("--url", help="gateway; SLUICE_URL by default")
        parser.add_argument("--token", help="token; SLUICE_TOKEN by default")
        parser.add_argument("--json", action="store_true", help="print JSON")
        return parser

    def request(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("pipeline", help="name in the catalogue")
        parser.add_argument(
            "parameters", nargs="*", type=_parameter, metavar="key=value", help="Luigi parameter"
        )
        parser.add_argument("--reason", default="", help="shown to approvers, kept in the log")

    client("pipelines", launching.pipelines, "list the catalogue")
    parser = client("plan", planning.plan, "what a launch would be told; nothing runs")
    request(parser)
    parser.add_argument("--local", action="store_true", help="decide here, without a gateway")
    parser.add_argument("--config", type=Path, help="with --local: TOML file")
    parser.add_argument("--sub", default="author", help="with --local: subject to decide for")
    parser.add_argument("--group", action="append", default=[], help="with --local: its group")
    parser.add_argument("--act", help="with --local: an agent that acts for the subject")
    parser = client("launch", launching.launch, "launch a pipeline and follow it")
    request(parser)
    parser.add_argument("--detach", action="store_true", help="do not follow it")
    parser.add_argument("--key", help="idempotency key; a fresh one by default")
    parser = client("launches", launching.list_launches, "list launches, newest first")
    parser.add_argument("--limit", type=int, default=20, help="at most this many")
    parser = client("watch", launching.watch, "follow a launch to its end")
    parser.add_argument("launch", help="launch id")
    parser = client("logs", launching.logs, "print the output of a launch's tasks")
    parser.add_argument("launch", help="launch id")
    parser.add_argument("--task", help="only this family, or key prefix")
    client("approvals", launching.approvals, "list what waits for me")
    for name, text in (("approve", "agree to a launch"), ("reject", "refuse a launch")):
        parser = client(name, launching.answer, text)
        parser.add_argument("launch", help="launch id")
        parser.add_argument(
            "--plan-digest", help="the plan you have read; the waiting one if absent"
        )
        parser.add_argument("--comment", default="", help="kept in the log")
    parser = client("cancel", launching.cancel, "stop a launch")
    parser.add_argument("launch", help="launch id")
    parser = client("cut", cutting.cut, "take the network away from what runs, then stop it")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("launch", nargs="?", help="launch id")
    what.add_argument("--principal", metavar="ACCOUNT", help="all launches of issuer#subject")
    what.add_argument("--pipeline", metavar="NAME", help="all launches of a pipeline")
    parser.add_argument("--reason", default="", help="kept in the log")


def _policy(commands: Commands) -> None:
    parser = commands.add_parser("policy", help="check and test policy")
    inner = parser.add_subparsers(dest="policy_command", required=True, metavar="COMMAND")
    for name, run, text in (
        ("check", policies.check, "check Rego and data as the gateway would"),
        ("test", policies.test, "run the policy's own tests"),
    ):
        one = _add(inner, name, run, text)
        one.add_argument("directory", nargs="?", type=Path, default=Path("policies"))
        one.add_argument("--json", action="store_true", help="print JSON")
        if name == "test":
            one.add_argument("--verbose", action="store_true", help="name what passed too")


def _network(commands: Commands) -> None:
    parser = commands.add_parser("network", help="show the Cilium policies that tasks would get")
    inner = parser.add_subparsers(dest="network_command", required=True, metavar="COMMAND")
    render = _add(inner, "render", networks.render, "print the policies of a plan as YAML")
    what = render.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", type=Path, help="answer of `sluice plan --json`")
    what.add_argument(
        "--destination", action="append", default=[], help="a destination; may be repeated"
    )
    render.add_argument("--policies", type=Path, default=Path("policies"), help="policy folder")
    render.add_argument(
        "--services", type=Path, help="JSON: resolved Services by destination; a plan has its own"
    )
    render.add_argument("--config", type=Path, help="the gateway's TOML file; also SLUICE_CONFIG")
    render.add_argument("--namespace", help="the pipelines' namespace; else as configured")
    render.add_argument("--dns", help="kube-dns, node-local-dns or openshift; else as configured")
    render.add_argument("--baseline", action="store_true", help="the namespace's baseline too")
    render.add_argument("--json", action="store_true", help="print JSON")
    text = "print what an installation begins with, and explain what is offered besides"
    base = _add(inner, "baseline", networks.show_baseline, text)
    base.add_argument("--namespace", default="sluice-tasks", help="the pipelines' namespace")
    base.add_argument(
        "--clusterwide", action="store_true", help="the offered policy of the whole cluster too"
    )
    base.add_argument("--json", action="store_true", help="print JSON")


def _log(commands: Commands) -> None:
    parser = commands.add_parser("log", help="verify, prove and export the decision log")
    inner = parser.add_subparsers(dest="log_command", required=True, metavar="COMMAND")
    verify = _add(inner, "verify", logs.verify, "replay the log from its file and a public key")
    verify.add_argument(
        "--key", required=True, help="public key, or a file that holds it (log.vkey)"
    )
    verify.add_argument(
        "--witness", type=Path, help="copy of checkpoints.log: finds a log that was cut or replaced"
    )
    prove = _add(inner, "prove", logs.prove, "one entry with its inclusion proof")
    prove.add_argument("--seq", type=int, required=True, help="sequence number of the entry")
    export = _add(inner, "export", logs.export, "write the log as lines of JSON")
    export.add_argument("--out", type=Path, help="file; standard output by default")
    for one in (verify, prove, export):
        one.add_argument("file", type=Path, help="database file or export")
        one.add_argument("--json", action="store_true", help="print JSON")


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not key=value")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
