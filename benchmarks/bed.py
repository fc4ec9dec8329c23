"""A gateway for benchmarks: the shipped policy with one more pipeline, and who may use it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import yaml

from gateway.app import Gateway, running
from gateway.commands.client import GatewayClient
from gateway.graph.code import read_tree
from gateway.identity.development import DevIssuer
from gateway.settings import (
    AdmitSettings,
    HttpSettings,
    IdentitySettings,
    PolicySettings,
    RunSettings,
    Settings,
)
from gateway.telemetry import configure

ROOT = Path(__file__).parents[1]
WIDE = ROOT / "benchmarks" / "pipelines" / "wide"


@dataclass(frozen=True)
class Bed:
    """A gateway that serves, and a client that may launch ``wide``."""

    gateway: Gateway
    client: GatewayClient


@asynccontextmanager
async def bed(folder: Path) -> AsyncIterator[Bed]:
    """Serve with state below ``folder``."""
    log = (folder / "gateway.log").open("w")
    configure("json", "error", log)
    settings = Settings(
        state_dir=folder / "state",
        pipelines_dir=ROOT,
        http=HttpSettings(port=0),
        identity=IdentitySettings(development_issuer=True),
        admit=AdmitSettings(launches_per_minute=1_000_000),
        policy=PolicySettings(directory=_policy(folder), reload_seconds=60, deadline_seconds=30),
        runs=RunSettings(parallel_tasks=4),
    )
    async with running(settings) as gateway:
        token = DevIssuer.open(settings.keys_dir).issue(subject="ada")
        async with GatewayClient(gateway.url, token) as client:
            yield Bed(gateway, client)
    structlog.reset_defaults()
    log.close()


def _policy(folder: Path) -> Path:
    """Copy the shipped policy and add the pipeline ``wide``, approved for exactly its code."""
    target = copied_policy(folder)
    path = target / "data" / "pipelines.yaml"
    value = yaml.safe_load(path.read_text())
    value["wide"] = {
        "title": "Wide",
        "description": "A root over many leaves, for benchmarks.",
        "source": str(WIDE.relative_to(ROOT)),
        "module": "wide",
        "task": "Wide",
        "owner": "analysts",
        "tier": "low",
        "launchers": ["analysts"],
        "parameters": {
            "n": {"description": "Tasks.", "shown": True, "type": "integer"},
            "milliseconds": {"description": "Sleep of a leaf.", "shown": True, "type": "integer"},
        },
        "standing_approval": {
            "code_digest": read_tree(WIDE).digest,
            "until": "2099-01-01T00:00:00Z",
            "by": "chloe",
            "reason": "made here",
        },
    }
    path.write_text(yaml.safe_dump(value))
    limits = target / "data" / "limits.yaml"
    tiers = yaml.safe_load(limits.read_text())
    tiers["tiers"]["low"]["max_tasks"] = 5000
    limits.write_text(yaml.safe_dump(tiers))
    return target


def copied_policy(folder: Path) -> Path:
    """Copy the shipped policy below ``folder``."""
    target = folder / "policies"
    shutil.copytree(ROOT / "policies", target)
    return target
