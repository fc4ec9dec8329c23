"""Talk to a real guest in a real sandbox, by the protocol that its docstring fixes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.graph.code import read_tree
from gateway.sandbox.guest import (
    CHANNEL_FD,
    SPEC_FD,
    guest_argv,
    guest_sandbox,
    guest_spec,
    json_descriptor,
)
from gateway.sandbox.pipes import CappedPipe
from gateway.sandbox.process import SandboxProcess
from gateway.sandbox.spec import Limits

PIPELINES = Path(__file__).parents[2] / "fixtures" / "pipelines"
LIMITS = Limits(cpu_seconds=20, memory_mb=2048, file_mb=16, processes=64)
BOUNDS = {"max_nodes": 100, "max_edges": 100}


def copy_of(name: str, folder: Path) -> Path:
    """Return a clean copy of a fixture pipeline."""
    tree = folder / name
    shutil.copytree(PIPELINES / name, tree, ignore=shutil.ignore_patterns("__pycache__"))
    return tree


async def resolve(
    tree: Path,
    module: str,
    family: str,
    parameters: Mapping[str, str],
    *,
    workspace: Path | None = None,
    digest: str | None = None,
) -> tuple[dict[str, Any], str]:
    """Return the answer of ``resolve`` and what was printed meanwhile."""
    sandbox = guest_sandbox(tree, workspace, LIMITS)
    spec = guest_spec(
        module,
        digest or read_tree(tree).digest,
        family=family,
        parameters=dict(parameters),
        **BOUNDS,
    )
    with CappedPipe(1 << 20) as answer, CappedPipe(1 << 16) as output:
        ends = {1: output.write_end, 2: output.write_end, CHANNEL_FD: answer.write_end}
        argv = guest_argv("resolve", sandbox)
        try:
            process = await SandboxProcess.start(sandbox, argv, fds={**ends, SPEC_FD: spec})
        finally:
            os.close(spec)
        async with asyncio.timeout(20), process:
            answer.given_away()
            output.given_away()
            await process.wait()
        return json.loads(await answer.collect()), (await output.collect()).decode()


class Warm:
    """The gateway's side of ``serve``."""

    def __init__(self, link: socket.socket) -> None:
        """Take our end of the socket."""
        self._link = link

    async def hear(self) -> dict[str, Any]:
        """Return the next event."""
        loop = asyncio.get_running_loop()
        data = await asyncio.wait_for(loop.sock_recv(self._link, 1 << 16), 20)
        return dict(json.loads(data))

    async def begin(self, operation: str, attempt: str, payload: Mapping[str, Any]) -> Attempt:
        """Ask for an attempt."""
        said = Attempt(CappedPipe(1 << 16), CappedPipe(1 << 20))
        order = json_descriptor(dict(payload))
        message = json.dumps({"op": operation, "attempt": attempt}).encode()
        passed = [order, said.log.write_end, said.report.write_end]
        socket.send_fds(self._link, [message], passed)
        os.close(order)
        said.log.given_away()
        said.report.given_away()
        return said

    def kill(self, attempt: str) -> None:
        """Ask for an attempt's end."""
        self._link.send(json.dumps({"op": "kill", "attempt": attempt}).encode())

    async def run(self, attempt: str, node: Mapping[str, Any]) -> Result:
        """Run one task to its end."""
        said = await self.begin("run", attempt, {"node": dict(node)})
        event = await self.hear()
        assert (event["event"], event["attempt"]) == ("exited", attempt)
        return Result(event, await said.lines(), (await said.log.collect()).decode())


class Attempt:
    """What an attempt says."""

    def __init__(self, log: CappedPipe, report: CappedPipe) -> None:
        """Take the two pipes that it was given."""
        self.log = log
        self.report = report

    async def lines(self) -> list[dict[str, Any]]:
        """Return every line of the report."""
        return [json.loads(line) for line in (await self.report.collect()).splitlines()]


class Result:
    """How an attempt went."""

    def __init__(self, event: dict[str, Any], lines: list[dict[str, Any]], log: str) -> None:
        """Split the report into its last line and those before."""
        self.event = event
        self.lines = lines[:-1]
        self.result = lines[-1].get("result", lines[-1]) if lines else {}
        self.log = log


@asynccontextmanager
async def serving(tree: Path, module: str, workspace: Path) -> AsyncIterator[Warm]:
    """Start a warm guest and stop it again."""
    await asyncio.to_thread(workspace.mkdir, exist_ok=True)
    sandbox = guest_sandbox(tree, workspace, LIMITS)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    spec = guest_spec(module, read_tree(tree).digest, **BOUNDS)
    with ours:
        try:
            process = await SandboxProcess.start(
                sandbox,
                guest_argv("serve", sandbox),
                fds={2: 2, CHANNEL_FD: theirs.fileno(), SPEC_FD: spec},
            )
        finally:
            theirs.close()
            os.close(spec)
        async with process:
            yield Warm(ours)


def node_of(graph: Mapping[str, Any], family: str) -> dict[str, Any]:
    """Return a task of a resolved graph in the form of ``run``."""
    records = graph["nodes"]
    record = next(item for item in records if item["family"] == family)
    deps = (records[index] for index in record["deps"])
    return {
        "module": record["module"],
        "family": family,
        "task_id": record["task_id"],
        "parameters": {name: item["value"] for name, item in record["parameters"].items()},
        "deps": [dep["task_id"] for dep in deps if dep["kind"] != "possible"],
    }
