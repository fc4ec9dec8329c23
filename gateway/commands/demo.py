"""`sluice demo`: the main job, end to end, on loopback, in five acts.

It starts a gateway and a server of open data, then does over HTTP, with signed tokens, what users
do. Nothing is simulated: the same gateway, policy, sandbox, Luigi and log as in ``sluice serve``.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import secrets
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from gateway.app import Gateway, running
from gateway.commands.client import ClientError, GatewayClient
from gateway.commands.display import LiveRun, safe, styled
from gateway.commands.launching import show_violations
from gateway.decisionlog import verifier
from gateway.errors import Misconfigured
from gateway.identity.development import DevIssuer
from gateway.settings import HttpSettings, IdentitySettings, PolicySettings, Settings
from gateway.telemetry import configure

WEATHER = {"start": "2012-01", "months": 6, "unit": "CELSIUS", "top_days": 5}
JOBS = {"year": 2009}


class DemoError(Exception):
    """An act did not go as promised: the demo's own exit status is then 1."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What every act uses."""

    gateway: Gateway
    issuer: DevIssuer
    data_url: str
    teller: Teller

    @asynccontextmanager
    async def client(
        self, subject: str, client: str = "sluice-cli"
    ) -> AsyncIterator[GatewayClient]:
        """Return a client that holds a token of ``subject`` in ``client``."""
        token = self.issuer.issue(subject=subject, client=client)
        async with GatewayClient(self.gateway.url, token) as session:
            yield session

    @property
    def source(self) -> dict[str, str]:
        """The parameter by which a pipeline finds the server of open data."""
        return {"source": self.data_url}


class Teller:
    """Says each step: in words on a terminal, or as one JSON object per line."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        self.console = console
        self.as_json = as_json
        self._act = 0

    def act(self, title: str) -> None:
        """Begin an act."""
        self._act += 1
        if self.as_json:
            self._line("act", {"title": title})
        else:
            self.console.print(f"\n[bold]{self._act}. {safe(title)}[/]")

    def say(self, step: str, text: str, /, **facts: Any) -> None:  # noqa: ANN401 -- JSON values
        """Tell one step; ``text`` may hold markup of ours, with other people's texts escaped."""
        if self.as_json:
            self._line(step, facts)
        else:
            self.console.print(f"  {text}", soft_wrap=True)

    def _line(self, step: str, facts: Mapping[str, Any]) -> None:
        print(json.dumps({"act": self._act, "step": step, **facts}), flush=True)  # noqa: T201 -- a command's output


async def demo(arguments: argparse.Namespace, console: Console) -> int:
    """Play the five acts; then serve on, or exit."""
    os.chdir(_root())
    teller = Teller(console, as_json=arguments.json)
    with tempfile.TemporaryDirectory(prefix="sluice-demo-") as folder:
        state = (arguments.state or Path(folder)).resolve()
        state.mkdir(parents=True, exist_ok=True)
        with (state / "gateway.log").open("a") as log:
            configure("json", "info", log)
            async with AsyncExitStack() as stack:
                stage = await _set(arguments, state, teller, stack)
                status = await _play(stage)
                if not arguments.exit and status == 0:
                    await _serve_on(stage)
    return status


async def _set(
    arguments: argparse.Namespace, state: Path, teller: Teller, stack: AsyncExitStack
) -> Stage:
    settings = Settings(
        state_dir=state,
        http=HttpSettings(port=arguments.port),
        identity=IdentitySettings(development_issuer=True),
        policy=PolicySettings(directory=Path("policies")),
    )
    server = stack.enter_context(_open_data().OpenDataServer())
    gateway = await stack.enter_async_context(running(settings))
    issuer = await asyncio.to_thread(DevIssuer.open, settings.keys_dir)
    ready = await gateway.readiness.report()
    layers = [name for name, on in ready["layers"].items() if on]
    missing = [name for name, on in ready["layers"].items() if not on]
    teller.say("serving", f"gateway on {gateway.url}, state in {safe(state)}", url=gateway.url)
    teller.say(
        "layers",
        f"sandbox: {', '.join(layers)}" + (f"; missing: {', '.join(missing)}" if missing else ""),
        layers=ready["layers"],
    )
    warning = gateway.parts.binder.warning
    teller.say("enforcement", f"[yellow]{safe(warning)}[/]", enforcement="none", warning=warning)
    return Stage(gateway, issuer, server.url, teller)


async def _play(stage: Stage) -> int:
    try:
        await _allowed(stage)
        await _denied(stage)
        await _denied_by_the_path(stage)
        await _approved(stage)
        await _proved(stage)
    except (DemoError, ClientError) as error:
        stage.teller.say("broken", f"[bold red]the demo broke[/]: {safe(error)}", error=str(error))
        return 1
    stage.teller.say("done", "\n[bold green]all five acts went as promised[/]", ok=True)
    return 0


# --- the acts -----------------------------------------------------------------------------------


async def _allowed(stage: Stage) -> None:
    stage.teller.act("an agent, acting for ada, launches a pipeline; policy allows it")
    async with stage.client("ada", "copilot") as agent:
        secret = {"api_key": secrets.token_hex(8)}  # a private parameter: masked everywhere
        view = await _launch(stage, agent, "city-weather", {**WEATHER, **stage.source, **secret})
        _expect(view["decision"]["verdict"] == "allow", "the launch should be allowed")
        await _run_to_end(stage, agent, view["id"])


async def _denied(stage: Stage) -> None:
    stage.teller.act("the same agent launches one whose task wants a destination it may not have")
    async with stage.client("ada", "copilot") as agent:
        await _refused(stage, agent, "partner-export", stage.source, "destination_not_allowed")


async def _denied_by_the_path(stage: Stage) -> None:
    stage.teller.act("one that would carry personal data to the internet through harmless tasks")
    async with stage.client("ada", "copilot") as agent:
        await _refused(stage, agent, "customer-digest", {}, "class_not_accepted")


async def _approved(stage: Stage) -> None:
    stage.teller.act("one that policy sends to a human")
    async with (
        stage.client("ada", "copilot") as agent,
        stage.client("ada") as requester,
        stage.client("chloe", "copilot") as approver_in_agent,
        stage.client("chloe") as approver,
    ):
        view = await _launch(stage, agent, "jobs-report", {**JOBS, **stage.source})
        _expect(view["state"] == "awaiting_approval", "the launch should wait for a person")
        path = f"/v1/launches/{view['id']}/approvals"
        body = {"verdict": "approve", "plan_digest": view["plan"]["plan_digest"]}
        for who, client in (
            ("ada approves her own request", requester),
            ("chloe's token in an agent's client approves", approver_in_agent),
        ):
            try:
                await client.post(path, body)
            except ClientError as error:
                code = error.problem.get("code", "")
                text = f"{who}: [bold red]refused[/], {safe(code)}: {safe(error)}"
                stage.teller.say("approval_refused", text, who=who, code=code)
            else:
                raise DemoError(f"{who}: this should have been refused")
        after = await approver.post(path, {**body, "comment": "looks right"})
        stage.teller.say(
            "approved",
            f"chloe approves plan {body['plan_digest'][:16]}: {styled('allow')}",
            state=after["state"],
            plan_digest=body["plan_digest"],
        )
        await _run_to_end(stage, agent, view["id"])


async def _proved(stage: Stage) -> None:
    stage.teller.act("the log proves itself, from its file and a public key alone")
    parts = stage.gateway.parts
    await stage.gateway.checkpoint_now()
    key, database = parts.public_key(), parts.settings.database
    report = await asyncio.to_thread(verifier.verify, database, key)
    _expect(report.ok, f"the log should verify: {report.findings}")
    text = (
        f"{styled('succeeded')}: {report.size} entries, root {report.root[:32]}…, key {safe(key)}"
    )
    stage.teller.say("verified", text, size=report.size, root=report.root, public_key=key)
    copy = parts.settings.state_dir / "copy.db"
    seq = await asyncio.to_thread(_copy_with_one_byte_changed, database, copy)
    report = await asyncio.to_thread(verifier.verify, copy, key)
    named = [item for item in report.findings if item.seq == seq]
    _expect(not report.ok and bool(named), f"the changed byte should be found: {report.findings}")
    stage.teller.say(
        "tampering_found",
        f"one byte changed in a copy: [bold red]not verified[/], entry {seq}: "
        f"{safe(named[0].problem)}",
        entry=seq,
        problem=named[0].problem,
    )


# --- what several acts do -----------------------------------------------------------------------


async def _launch(
    stage: Stage, client: GatewayClient, pipeline: str, parameters: Mapping[str, Any]
) -> Mapping[str, Any]:
    body = {"pipeline": pipeline, "parameters": dict(parameters), "reason": "the demo"}
    stage.teller.say("asked", f"POST /v1/launches {safe(pipeline)}", pipeline=pipeline)
    view: Mapping[str, Any] = await client.post("/v1/launches", body)
    stage.teller.say(
        "answered",
        f"{styled(view['decision']['verdict'])}: launch {view['id']} is {view['state']}, "
        f"policy {view['decision']['policy']['revision']}",
        launch_id=view["id"],
        state=view["state"],
        decision=view["decision"],
        warning=view["warning"],
    )
    return view


async def _refused(
    stage: Stage, client: GatewayClient, pipeline: str, parameters: Mapping[str, Any], rule: str
) -> None:
    try:
        await _launch(stage, client, pipeline, parameters)
    except ClientError as error:
        violations = error.problem.get("violations", [])
        _expect(rule in [item["rule"] for item in violations], f"{rule} should have been named")
        decision_id = error.problem["decision_id"]
        stage.teller.say(
            "denied",
            f"{styled('deny')}: decision {decision_id}",
            decision_id=decision_id,
            violations=violations,
        )
        if not stage.teller.as_json:
            show_violations(violations, stage.teller.console)
        return
    raise DemoError(f"{pipeline} should have been denied")


async def _run_to_end(stage: Stage, client: GatewayClient, launch_id: str) -> None:
    view = await client.get(f"/v1/launches/{launch_id}")
    end: Mapping[str, Any] = {}
    with LiveRun(stage.teller.console, view["tasks"]) as live:
        async for event in client.events(launch_id):
            if event.name == "end":
                end = event.data
            elif stage.teller.as_json:
                stage.teller.say("event", "", event=event.name, data=dict(event.data))
            else:
                live.show(event)
    stage.teller.say("ended", f"{styled(end['state'])} {safe(end['outcome'])}", **end)
    _expect(end["state"] == "succeeded", f"the run should succeed: {end['outcome']}")
    _expect(bool(end["outputs"]), "the run should name what it wrote")
    for path in end["outputs"]:
        size = await asyncio.to_thread(_size, Path(path))
        stage.teller.say("wrote", f"wrote {safe(path)} ({size} bytes)", path=path, bytes=size)


def _size(path: Path) -> int:
    if not path.is_file():
        raise DemoError(f"{path} should exist")
    return path.stat().st_size


def _copy_with_one_byte_changed(database: Path, copy: Path) -> int:
    """Copy the log and change one digit of an entry's policy digest; return that entry's number."""
    mark = b'"data_digest":"'
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
        before = dict(target.execute("SELECT seq, bytes FROM entries"))
    data = bytearray(copy.read_bytes())
    data[data.rindex(mark) + len(mark)] ^= 1  # another hexadecimal digit
    copy.write_bytes(data)
    with closing(sqlite3.connect(copy)) as target:
        after = dict(target.execute("SELECT seq, bytes FROM entries"))
    return next(int(seq) for seq, text in before.items() if after[seq] != text)


async def _serve_on(stage: Stage) -> None:
    token = stage.issuer.issue(subject="ada", ttl=12 * 3600)
    approver = stage.issuer.issue(subject="chloe", ttl=12 * 3600)
    stage.teller.say(
        "try",
        "\nThe gateway goes on serving; Ctrl-C ends it. In another terminal:\n\n"
        f"  export SLUICE_URL={stage.gateway.url}\n"
        f"  export SLUICE_TOKEN={token}   # ada\n"
        "  .venv/bin/sluice pipelines\n"
        f"  .venv/bin/sluice launch city-weather source={stage.data_url}\n"
        f"  .venv/bin/sluice launch jobs-report source={stage.data_url}\n"
        f"  SLUICE_TOKEN={approver} .venv/bin/sluice approvals   # chloe\n",
        url=stage.gateway.url,
        token=token,
        approver_token=approver,
        source=stage.data_url,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise DemoError(message)


def _root() -> Path:
    """Return the checkout: the working directory, or where this package lies."""
    for folder in (Path.cwd(), Path(__file__).resolve().parent.parent.parent):
        if (folder / "policies").is_dir() and (folder / "examples").is_dir():
            return folder
    raise Misconfigured("no_checkout", "run `sluice demo` in a checkout: it needs its examples/")


def _open_data() -> Any:  # noqa: ANN401 -- a module of examples/
    spec = importlib.util.spec_from_file_location("opendata", Path("examples/opendata.py"))
    if spec is None or spec.loader is None:
        raise Misconfigured("no_examples", "examples/opendata.py is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
