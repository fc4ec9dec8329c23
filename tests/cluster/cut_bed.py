"""A whole gateway on the fake nodes under the installed guard rails, with tasks that never end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from bed.api import Api, Object
from bed.installation import ACCOUNTS, TASKS, Installation
from bed.objects import PROFILES, collection
from gateway_bed import ROOT, Served

from gateway.cluster.marks import LAUNCH_ID, PROBE, PROFILE_LABEL, TASK
from gateway.guest import tree_digest
from gateway.network.marks import FIXED
from gateway.settings import (
    AdmitSettings,
    ClusterSettings,
    HttpSettings,
    IdentitySettings,
    PolicySettings,
    RunSettings,
    Settings,
)

PODS = collection(TASKS)
PLAYED = Path("tests/fixtures/pipelines/played")
RUNNER = "system:serviceaccount:sluice:sluice-runner"
HELD = "hold=running"


def settings(guarded: Installation, folder: Path, parallel: int = 20) -> Settings:
    """Return the settings of a gateway whose catalogue has ``scene`` and ``crowd``."""
    policies = folder / "policies"
    shutil.copytree(ROOT / "policies", policies)
    approved = {
        "code_digest": tree_digest.compute(str(ROOT / PLAYED)),
        "until": "2099-12-31",
        "by": "chloe",
        "reason": "The tests have read it.",
    }
    scene = {
        "title": "Scene",
        "description": "Of the tests.",
        "source": str(PLAYED),
        "module": "played",
        "task": "Scene",
        "owner": "analysts",
        "tier": "low",
        "launchers": ["analysts"],
        "agents_allowed": True,
        "destinations": [],
        "parameters": {  # a fake node reads what is shown
            name: {"description": "How pods are played.", "shown": True, "default": ""}
            for name in ("plays", "play", "name", "seconds", "tries")
        },
        "standing_approval": approved,
    }
    catalogue = policies / "data" / "pipelines.yaml"
    catalogue.write_text(catalogue.read_text() + yaml.safe_dump({"scene": scene}))
    for name in ("runner", "binder"):
        namespace, account = ACCOUNTS[name]
        path = f"{collection(namespace, 'serviceaccounts')}/{account}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = guarded.admin.create(path, request)["status"]["token"]
        (folder / f"{name}.token").write_text(token)
    return Settings(
        state_dir=folder / "state",
        pipelines_dir=ROOT,
        http=HttpSettings(port=0),
        identity=IdentitySettings(development_issuer=True),
        admit=AdmitSettings(launches_per_minute=10_000),
        policy=PolicySettings(directory=policies),
        runs=RunSettings(retry_delay_seconds=0.1, parallel_tasks=parallel),
        cluster=ClusterSettings(
            enabled=True,
            kubeconfig=guarded.kubeconfig,
            runner_token=folder / "runner.token",
            binder_token=folder / "binder.token",
            image=f"sluice.test/task@sha256:{'1' * 64}",
            patience_seconds=10,
        ),
    )


async def launch(served: Served, plays: list[str], *, running: int | None = None) -> str:
    """Launch tasks that are played so; return the launch's id when so many pods run."""
    body = {"pipeline": "scene", "parameters": {"plays": "|".join(plays)}, "reason": "test"}
    async with served.client("ada") as ada:
        launch_id = str((await ada.post("/v1/launches", body))["id"])
    async with asyncio.timeout(90):
        while True:
            pods = await asyncio.to_thread(alive, served_api(served), launch_id)
            if sum(pod["status"].get("phase") == "Running" for pod in pods) >= (
                len(plays) if running is None else running
            ):
                return launch_id
            await asyncio.sleep(0.05)


def served_api(served: Served) -> Api:
    """Return the API server of a gateway's cluster, as its administrator."""
    kubeconfig = served.settings.cluster.kubeconfig
    assert kubeconfig is not None
    return Api.from_kubeconfig(kubeconfig)


def alive(api: Api, launch_id: str) -> list[Object]:
    """Return the launch's task pods that the API server has."""
    found = []
    for pod in api.get(PODS)["items"]:
        notes = pod["metadata"].get("annotations") or {}
        if notes.get(LAUNCH_ID) == launch_id and notes.get(TASK) != PROBE:
            found.append(pod)
    return found


def labels(pods: list[Object]) -> set[str]:
    """Return the profiles that pods wear."""
    return {pod["metadata"]["labels"][PROFILE_LABEL] for pod in pods}


async def ended(served: Served, launch_id: str) -> dict[str, Any]:
    """Return a launch when it has ended."""
    async with served.client("chloe") as client, asyncio.timeout(60):
        while True:
            view: dict[str, Any] = await client.get(f"/v1/launches/{launch_id}")
            if view["state"] in {"cancelled", "failed", "succeeded"}:
                return view
            await asyncio.sleep(0.1)


async def cuts(served: Served, launch_id: str) -> list[dict[str, Any]]:
    """Return the bodies of the launch's cuts in the log."""
    found = await served.gateway.parts.log.entries(
        0, 100, launch_id=launch_id, event_prefix="launch.cut"
    )
    return [entry.value["body"] for entry in found]


@dataclass(frozen=True)
class Audited:
    """What the API server did to one pod for the runner: when, as it says."""

    verb: str
    pod: str
    at: str


def audited(cluster: dict[str, str], launch_id: str) -> list[Audited]:
    """Return the successful writes to the pods of a launch's tasks, in the order of their ends."""
    prefix, found = launch_id.replace("-", ""), []
    for line in Path(cluster["SLUICE_CLUSTER_AUDIT_LOG"]).read_text().splitlines():
        if prefix not in line:
            continue
        event = json.loads(line)
        about, code = event.get("objectRef") or {}, event.get("responseStatus", {}).get("code", 0)
        name = about.get("name", "")
        pod = about.get("resource") == "pods" and not about.get("subresource")
        task = pod and name.startswith(prefix) and f"-{PROBE}-" not in name
        if task and code < 400 and event["user"]["username"] == RUNNER:
            found.append(Audited(event["verb"], name, event["stageTimestamp"]))
    return sorted(found, key=lambda item: item.at)


def first(events: list[Audited], verb: str) -> dict[str, str]:
    """Return when each pod met a verb first."""
    when: dict[str, str] = {}
    for event in events:
        if event.verb == verb:
            when.setdefault(event.pod, event.at)
    return when


def unbind(guarded: Installation) -> None:
    """Delete all profiles, as the one who may, so that the next launch binds its own anew."""
    policies = collection(TASKS, PROFILES)
    for item in guarded.admin.get(policies)["items"]:
        if item["metadata"]["name"] not in FIXED:
            guarded["binder"].delete(f"{policies}/{item['metadata']['name']}")


@contextlib.contextmanager
def cleared(api: Api) -> Iterator[None]:
    """Leave no pod behind."""
    try:
        yield
    finally:
        for pod in api.get(PODS)["items"]:
            with contextlib.suppress(Exception):
                api.delete(f"{PODS}/{pod['metadata']['name']}", gracePeriodSeconds="0")
