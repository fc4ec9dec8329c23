"""``sluice serve`` as a process of its own on a bed, and two people who use it over HTTP.

Its own process, so that its memory is its own and nothing that measures takes turns with it on one
event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bed import ROOT, copied_policy
from benchmarks.cluster_site import Site
from gateway.commands.client import ClientError, GatewayClient
from gateway.graph.code import read_tree
from gateway.identity.development import DevIssuer
from gateway.settings import Settings
from tests.cluster.bed.parts import free_port

CROWD = ROOT / "benchmarks" / "pipelines" / "crowd"
PLACES = 8  # the bits of a task's reach
IMAGE = f"sluice.test/task@sha256:{'1' * 64}"
IN_FLIGHT = 200  # tasks at once in one run
_START_SECONDS = 60
_PROFILER = "BENCH_PROFILE"  # a file: the gateway runs under cProfile, and is slower


@dataclass(frozen=True)
class Gateway:
    """A gateway that serves: its process, who launches (``ada``), who approves (``chloe``)."""

    pid: int
    ada: GatewayClient
    chloe: GatewayClient

    async def launch(self, pipeline: str, **parameters: int | str) -> str:
        """Ask for a run; return the launch's id."""
        body = {"pipeline": pipeline, "parameters": parameters, "reason": "benchmark"}
        return str((await self.ada.post("/v1/launches", body))["id"])

    async def view(self, launch_id: str, *states: str) -> dict[str, Any]:
        """Return a launch when it is in one of these states."""
        while True:
            view: dict[str, Any] = await self.ada.get(f"/v1/launches/{launch_id}")
            if view["state"] in states:
                return view
            await asyncio.sleep(0.05)

    async def ended(self, launch_id: str, state: str = "succeeded") -> None:
        """Wait for the end of a run, which has to be this one."""
        async for event in self.ada.events(launch_id):
            if event.name == "end":
                assert event.data["state"] == state, event.data

    async def approve(self, launch_id: str, plan_digest: str) -> None:
        """Agree to a plan, as somebody who did not ask for it."""
        body = {"verdict": "approve", "plan_digest": plan_digest, "comment": "benchmark"}
        await self.chloe.post(f"/v1/launches/{launch_id}/approvals", body)


@asynccontextmanager
async def gateway(site: Site) -> AsyncIterator[Gateway]:
    """Serve on a bed, with an empty store."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name:
        folder = Path(name)
        port = free_port()
        config = folder / "sluice.toml"
        config.write_text(_settings(folder, site, port))
        keys = Settings(state_dir=folder / "state").keys_dir
        profile = os.environ.get(_PROFILER)
        profiler = ["-m", "cProfile", "-o", profile] if profile else []
        clean = {key: text for key, text in os.environ.items() if not key.startswith("SLUICE_")}
        with (folder / "gateway.log").open("w+") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *profiler, "-m", "gateway", "serve", "--config", str(config)),
                cwd=ROOT,
                env=clean,
                stdout=log,
                stderr=log,
            )
            try:
                url = f"http://127.0.0.1:{port}"
                await _ready(url, process, log.name)
                people = DevIssuer.open(keys)
                async with (
                    GatewayClient(url, people.issue(subject="ada")) as ada,
                    GatewayClient(url, people.issue(subject="chloe")) as chloe,
                ):
                    yield Gateway(process.pid, ada, chloe)
            finally:
                with suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()


@asynccontextmanager
async def peaks(gateway: Gateway) -> AsyncIterator[dict[str, float]]:
    """Keep the most memory, in MB, that the gateway's process and a driver of it ever had."""
    found = {"gateway": 0.0, "driver": 0.0}

    async def look() -> None:
        while True:
            found["gateway"] = _peak_mb(gateway.pid)
            found["driver"] = max([found["driver"], *map(_peak_mb, _drivers(gateway.pid))])
            await asyncio.sleep(0.2)

    looking = asyncio.create_task(look())
    try:
        yield found
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


def _peak_mb(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _drivers(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"gateway.runs.driver" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


async def _ready(url: str, process: asyncio.subprocess.Process, log: str) -> None:
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    async with GatewayClient(url, None) as anybody:
        while True:
            with suppress(ClientError):
                await anybody.get("/healthz")
                return
            late = asyncio.get_running_loop().time() > deadline
            if late or process.returncode is not None:
                raise RuntimeError(f"the gateway does not serve:\n{Path(log).read_text()}")
            await asyncio.sleep(0.1)


def _settings(folder: Path, site: Site, port: int) -> str:
    return f"""
state_dir = "{folder / "state"}"
pipelines_dir = "{ROOT}"
log_level = "warning"
log_format = "json"
[http]
port = {port}
[identity]
development_issuer = true
[admit]
launches_per_minute = 1000000
[policy]
directory = "{_policy(folder)}"
deadline_seconds = 30
reload_seconds = 60
[runs]
parallel_tasks = {IN_FLIGHT}
[cluster]
enabled = true
kubeconfig = "{site.kubeconfig}"
runner_token = "{site.tokens["runner"]}"
binder_token = "{site.tokens["binder"]}"
image = "{IMAGE}"
new_profiles_per_day = 100000
"""


def _policy(folder: Path) -> Path:
    """Add the pipeline twice: ``crowd`` runs at once, ``asked`` waits for people each time."""
    numbers = {
        name: {"description": "For benchmarks.", "shown": True, "type": "integer"}
        for name in ("n", "reach", "sets")
    }
    crowd = {
        "title": "Crowd",
        "description": "Tasks that reach different places, for benchmarks.",
        "source": str(CROWD.relative_to(ROOT)),
        "module": "crowd",
        "task": "Crowd",
        "owner": "analysts",
        "tier": "low",
        "launchers": ["analysts"],
        "destinations": [f"bench-{number}" for number in range(PLACES)],
        "pod": {"cpu": "50m", "memory": "64Mi"},
        "parameters": {**numbers, "play": {"description": "For fake nodes.", "shown": True}},
        "standing_approval": {
            "code_digest": read_tree(CROWD).digest,
            "until": "2099-01-01T00:00:00Z",
            "by": "chloe",
            "reason": "made here",
        },
    }
    places = {
        f"bench-{number}": {
            "title": f"Place {number} of the benchmarks",
            "kind": "fqdn",
            "host": f"place-{number}.bench.example",
            "ports": [443],
            "protocol": "https",
            "tenancy": "internal",
            "emits": ["public"],
            "accepts": ["public"],
        }
        for number in range(PLACES)
    }
    target = copied_policy(folder)
    _amend(target / "data" / "pipelines.yaml", crowd=crowd, asked={**crowd, "tier": "high"})
    _amend(target / "data" / "destinations.yaml", **places)
    limits = target / "data" / "limits.yaml"
    tiers = yaml.safe_load(limits.read_text())["tiers"]
    _amend(
        limits, running=1000, tiers={name: {**t, "max_tasks": 5000} for name, t in tiers.items()}
    )
    return target


def _amend(path: Path, **more: Any) -> None:
    """Add entries, each written out: policy data has no anchors."""
    plain = json.loads(json.dumps({**yaml.safe_load(path.read_text()), **more}))
    path.write_text(yaml.safe_dump(plain))
