"""What the API server is given of a launch with a masked parameter: its value is in Secrets alone.

Everything that anybody makes in the tasks' namespace is watched from before the launch to its end,
as it is made and at each change, and searched for the value in each spelling that a field may have.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import zipfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from bed.api import Object
from bed.installation import TASKS, Installation
from bed.objects import PROFILES, collection
from cut_bed import cleared, settings
from gateway_bed import ROOT, serve
from pods_bed import when

from gateway.cluster.client import ClusterClient
from gateway.cluster.marks import RESOLVE, TASK
from gateway.commands.client import ClientError
from gateway.guest import tree_digest
from gateway.settings import Settings

pytestmark = pytest.mark.usefixtures("fake_nodes")
SOURCE = "tests/fixtures/pipelines/quiet"
VALUE = "hush-hush-9942"  # 16 characters of a parameter are in Luigi's id of a task
KINDS = ("pods", "configmaps", "secrets", "events", "serviceaccounts", PROFILES)


def spellings(value: str) -> set[bytes]:
    """Return a text as it may stand in a field: also as in Luigi's ids, in hex, inside base64."""
    found = set()
    for text in (value.encode(), value.replace("-", "_").encode()):
        found |= {text, text.hex().encode()}
        for before in range(3):
            encoded = base64.b64encode(b"x" * before + text)
            found.add(encoded[4 if before else 0 : -4])
    return found


def contents(made: Object) -> Iterator[bytes]:
    """Yield what an object says, and what a ConfigMap or a Secret says in base64 or in a zip."""
    yield json.dumps(made).encode()
    encoded = dict(made.get("binaryData") or {})
    if made.get("type") == "Opaque":
        encoded |= made.get("data") or {}
    for text in encoded.values():
        data = base64.b64decode(text)
        yield data
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                yield from (archive.read(name) for name in archive.namelist())


def holds(made: Object) -> bool:
    """Whether an object holds the value."""
    return any(each in said for said in contents(made) for each in spellings(VALUE))


class Seen:
    """All objects of the tasks' namespace, in each state that they had."""

    def __init__(self) -> None:
        self.states: defaultdict[str, list[Object]] = defaultdict(list)

    async def look(self, client: ClusterClient, kind: str, ready: asyncio.Event) -> None:
        """Look until cancelled."""
        path = collection(TASKS, kind)
        listed = await client.get(path)
        self.states[kind] += listed["items"]
        ready.set()
        version = listed["metadata"]["resourceVersion"]
        async for _, found in client.watch(path, version):
            self.states[kind].append(found)

    def holding(self) -> dict[str, list[str]]:
        """Return the names of the objects that hold the value, by kind."""
        found = {
            kind: sorted({each["metadata"]["name"] for each in states if holds(each)})
            for kind, states in self.states.items()
        }
        return {kind: names for kind, names in found.items() if names}


@asynccontextmanager
async def looking(kubeconfig: Path) -> AsyncIterator[Seen]:
    """Look at everything meanwhile."""
    seen, client = Seen(), await ClusterClient.open(kubeconfig)
    ready = [asyncio.Event() for _ in KINDS]
    tasks = [
        asyncio.create_task(seen.look(client, kind, up))
        for kind, up in zip(KINDS, ready, strict=True)
    ]
    try:
        await asyncio.gather(*(up.wait() for up in ready))
        yield seen
        await asyncio.sleep(1)  # what the server has said by now arrives
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await client.close()
        await asyncio.sleep(0.25)  # a TLS connection that was cut off says goodbye


@pytest.fixture
def site(
    guarded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """A gateway whose catalogue masks one parameter of ``report``."""
    monkeypatch.chdir(ROOT)
    chosen = settings(guarded, tmp_path)
    catalogue = chosen.policy.directory / "data" / "pipelines.yaml"
    rows = yaml.safe_load(catalogue.read_text())
    approval = rows["scene"]["standing_approval"]
    rows["report"] = rows["scene"] | {
        "source": SOURCE,
        "module": "quiet",
        "task": "Report",
        "parameters": {
            "title": {"description": "What to call it.", "shown": True, "default": ""},
            "token": {"description": "What nobody sees.", "shown": False},
        },
        "standing_approval": approval | {"code_digest": tree_digest.compute(str(ROOT / SOURCE))},
    }
    catalogue.write_text(json.dumps(rows))  # JSON is YAML, without aliases
    with cleared(guarded.admin):
        yield chosen


def body(**more: str) -> dict[str, Any]:
    """Return a launch."""
    return {"pipeline": "report", "parameters": {"token": VALUE, **more}, "reason": "test"}


def test_the_judge_finds_each_spelling() -> None:
    """In clear, in hex, encoded at any place, and in an archive of a ConfigMap."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", f"the value is {VALUE}")
    packed = base64.b64encode(stream.getvalue()).decode()
    assert holds({"binaryData": {"a.zip": packed}})
    assert holds({"a": [f"x {VALUE}"]})
    assert holds({"a": "Vault_hush_hush_9942_0123456789"})
    assert holds({"a": VALUE.encode().hex()})
    for before in ("", "x", "xy", "xyz"):
        assert holds({"a": base64.b64encode(f"{before}{VALUE}yz".encode()).decode()})
    assert not holds({"a": "hush"})


async def test_masked_value_is_in_secrets_alone(guarded: Installation, site: Settings) -> None:
    """Of tasks that have it and of one that only waits for such; of questions and runs."""
    async with (
        looking(guarded.kubeconfig) as seen,
        serve(site) as served,
        served.client("ada") as ada,
    ):
        launch_id = (await ada.post("/v1/launches", body(title="July")))["id"]
        async for event in ada.events(launch_id):
            last = event
        assert last.data["state"] == "succeeded", last.data
    pods = {pod["metadata"]["name"] for pod in seen.states["pods"]}
    assert len(pods) == 4  # one question about the three tasks, and they
    assert seen.holding() == {"secrets": sorted(pods)}


async def test_masked_value_of_a_graph_that_a_pod_resolves(
    guarded: Installation, site: Settings
) -> None:
    """The pod that is asked for the graph is given it in the same way."""
    cluster = site.cluster.model_copy(update={"resolve_in_pods": True})
    chosen = site.model_copy(update={"cluster": cluster})
    async with (
        looking(guarded.kubeconfig) as seen,
        serve(chosen) as served,
        served.client("ada") as ada,
    ):
        with suppress(ClientError):  # a fake node resolves nothing
            await ada.post("/v1/launches", body())
        await when(lambda: seen.states["pods"], 60)
        await when(lambda: not guarded.admin.get(collection(TASKS))["items"], 60)
    pods = {pod["metadata"]["name"]: pod["metadata"]["annotations"] for pod in seen.states["pods"]}
    assert [notes[TASK] for notes in pods.values()] == [RESOLVE]
    assert seen.holding() == {"secrets": sorted(pods)}
