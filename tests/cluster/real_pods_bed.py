"""A whole gateway before the real node: its guard rails, accounts, catalogue and workspace volume.

Nothing between gateway and process is played. What is missing is Cilium's agent: policies are
accepted and in the API server, and nothing enforces them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from bed.api import Api, ApiError, Object
from bed.installation import ACCOUNTS, TASKS, Installation
from bed.objects import collection
from bed.private import NODE_ADDRESS
from gateway_bed import ROOT, Served, serve

from gateway.cluster.marks import LAUNCH_ID, TASK
from gateway.commands.client import GatewayClient
from gateway.guest import tree_digest
from gateway.settings import (
    ClusterSettings,
    HttpSettings,
    IdentitySettings,
    PolicySettings,
    RunSettings,
    Settings,
)

CODE = Path("tests/fixtures/pipelines/in_pods")
FINAL = ("succeeded", "failed", "cancelled", "denied")
ENTRY = {
    "description": "Of the tests.",
    "module": "in_pods",
    "owner": "analysts",
    "tier": "low",
    "launchers": ["analysts"],
}


@dataclass
class Volume:
    """A folder of the node that pods share, as a claim of the tasks' namespace."""

    folder: Path
    claim: str


@contextlib.contextmanager
def volume(api: Api, folder: Path) -> Iterator[Volume]:
    """Have a volume that everybody may write to, bound to a claim; both go afterwards."""
    folder.mkdir()
    folder.chmod(0o777)  # what a kubelet makes in it for a pod has the same mode
    name = f"workspaces-{uuid.uuid4().hex[:8]}"
    size = {"storage": "1Gi"}
    volumes, claims = "/api/v1/persistentvolumes", collection(TASKS, "persistentvolumeclaims")
    shared: Object = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    api.create(
        volumes,
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {**shared, "capacity": size, "hostPath": {"path": str(folder)}},
        },
    )
    api.create(
        claims,
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {**shared, "volumeName": name, "resources": {"requests": size}},
        },
    )
    api.when(f"{claims}/{name}", lambda found: found["status"].get("phase") == "Bound")
    yield Volume(folder, name)
    api.delete(f"{claims}/{name}")
    api.delete(f"{volumes}/{name}")


@dataclass
class Site:
    """What a gateway of a test is configured with."""

    guarded: Installation
    folder: Path
    image: str
    volume: Volume
    seen: dict[str, Object] = field(default_factory=dict)  # pods by name, as they last were

    def __post_init__(self) -> None:
        self.policies = self.folder / "policies"
        shutil.copytree(ROOT / "policies", self.policies)
        places = self.policies / "data" / "destinations.yaml"
        text = places.read_text().replace("host: 127.0.0.1", f"host: {NODE_ADDRESS}")
        places.write_text(text)
        for name in ("runner", "binder"):
            namespace, account = ACCOUNTS[name]
            path = f"{collection(namespace, 'serviceaccounts')}/{account}/token"
            request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
            token = self.guarded.admin.create(path, request)["status"]["token"]
            (self.folder / f"{name}.token").write_text(token)

    def catalogue(self, task: str, **more: Any) -> str:
        """Enter a task of the tests' pipeline in the catalogue and return its name there.

        ``more`` are fields of the entry. Its code is approved beforehand: by ``code_digest``, or as
        the tests' source has it.
        """
        name = task.lower()
        approval = {
            "code_digest": more.pop("code_digest", None) or tree_digest.compute(str(ROOT / CODE)),
            "until": "2099-12-31",
            "by": "chloe",
            "reason": "The tests have read it.",
        }
        entry = {**ENTRY, "title": task, "task": task, "source": str(CODE), **more}
        entry["standing_approval"] = approval
        path = self.policies / "data" / "pipelines.yaml"
        path.write_text(path.read_text() + yaml.safe_dump({name: entry}))
        return name

    def settings(self, **cluster: Any) -> Settings:
        """Return the settings of a gateway that runs everything in pods of the real node."""
        return Settings(
            state_dir=self.folder / "state",
            pipelines_dir=ROOT,
            http=HttpSettings(port=0),
            identity=IdentitySettings(development_issuer=True),
            policy=PolicySettings(directory=self.policies),
            runs=RunSettings(retry_delay_seconds=0.1),
            cluster=ClusterSettings(
                **{
                    "enabled": True,
                    "kubeconfig": self.guarded.kubeconfig,
                    "runner_token": self.folder / "runner.token",
                    "binder_token": self.folder / "binder.token",
                    "image": self.image,
                    "workspace_claim": self.volume.claim,
                    **cluster,
                }
            ),
        )

    @contextlib.asynccontextmanager
    async def gateway(self, **cluster: Any) -> AsyncIterator[Served]:
        """Run a gateway, and note each pod that comes to be meanwhile."""
        looking = asyncio.create_task(self._look())
        try:
            async with serve(self.settings(**cluster)) as served:
                yield served
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking

    async def _look(self) -> None:
        while True:
            for pod in (await asyncio.to_thread(self.guarded.admin.get, collection(TASKS)))[
                "items"
            ]:
                self.seen[pod["metadata"]["name"]] = pod
            await asyncio.sleep(0.2)

    def pods(self, launch_id: str) -> list[Object]:
        """Return the pods of a launch's tasks that were seen, those that ask questions aside."""
        notes = ((pod, pod["metadata"]["annotations"]) for pod in self.seen.values())
        return [
            pod
            for pod, note in notes
            if note[LAUNCH_ID] == launch_id and len(note[TASK]) > len("resolve")
        ]

    def wrote(self, launch_id: str, name: str) -> str:
        """Return what a launch left in its workspace."""
        return (self.volume.folder / "runs" / launch_id / name).read_text()

    def clean(self) -> None:
        """Remove the pods that a test left."""
        for pod in self.guarded.admin.get(collection(TASKS))["items"]:
            with contextlib.suppress(ApiError):
                self.guarded.admin.delete(
                    f"{collection(TASKS)}/{pod['metadata']['name']}", gracePeriodSeconds="0"
                )


async def launch(
    client: GatewayClient, pipeline: str, parameters: Mapping[str, Any] | None = None
) -> str:
    """Launch a pipeline over HTTP and return the launch's id."""
    body = {"pipeline": pipeline, "parameters": dict(parameters or {}), "reason": "a test"}
    return str((await client.post("/v1/launches", body))["id"])


async def end(client: GatewayClient, launch_id: str, seconds: float = 120) -> Mapping[str, Any]:
    """Return the launch when it has ended."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        view: Mapping[str, Any] = await client.get(f"/v1/launches/{launch_id}")
        if view["state"] in FINAL:
            return view
        late = asyncio.get_running_loop().time() > deadline
        assert not late, f"{why(view)}\n{view['decision']}"
        await asyncio.sleep(0.2)


def why(view: Mapping[str, Any]) -> str:
    """Return what a launch's end says, with its tasks' own words."""
    tasks = view.get("tasks") or ()
    said = (f"{task['family']} {task['state']}: {task['explanation']}" for task in tasks)
    return "\n".join([f"{view['state']}: {view.get('outcome')}", *said])


def text(value: object) -> str:
    """Return all that an object says."""
    return json.dumps(value)
