"""Between decision and start the world changes: what was decided is what runs, or nothing does.

A launch is allowed, or approved, and waits for the only place that runs have, while another holds
it. Then a Service, the catalogue or a group changes, and the place becomes free.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api, Object
from bed.installation import TASKS, Installation
from bed.objects import PROFILES, collection
from catalogue_bed import Catalogue, Document, ask
from cut_bed import HELD, cleared, ended, launch, settings
from gateway_bed import ROOT, Served, serve

from gateway.commands.client import ClientError
from gateway.settings import PolicySettings, RunSettings, Settings

pytestmark = pytest.mark.usefixtures("fake_nodes")
POLICIES = collection(TASKS, PROFILES)
NEVER = ("launch.binding", "network.bound", "run.started", "task.")


@dataclass
class Web:
    """A Service that the catalogue calls ``open-data``."""

    api: Api
    namespace: str

    def __post_init__(self) -> None:
        self.path = f"/api/v1/namespaces/{self.namespace}/services"
        body: Object = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
        port = {"port": 80, "targetPort": 8080}
        self.api.create(self.path, {**body, "spec": {"selector": {"app": "web"}, "ports": [port]}})

    def merge(self, change: Object) -> None:
        """Change the Service as its owner does."""
        self.api.merge(f"{self.path}/web", change)


@pytest.fixture
def web(api: Api, namespace: str) -> Web:
    """A Service in a namespace of this test."""
    return Web(api, namespace)


@pytest.fixture
def chosen(guarded: Installation, cluster: dict[str, str], tmp_path: Path) -> Iterator[Settings]:
    """Settings of a gateway with one place for runs, on a cluster whose audit log can be read."""
    if "SLUICE_CLUSTER_AUDIT_LOG" not in cluster:
        pytest.skip("this cluster's audit log cannot be read")
    made = settings(guarded, tmp_path)
    runs: RunSettings = made.runs.model_copy(update={"parallel_runs": 1})
    policy: PolicySettings = made.policy.model_copy(update={"reload_seconds": 0.2})
    with cleared(guarded.admin):
        yield made.model_copy(update={"runs": runs, "policy": policy})


@pytest.fixture
def catalogue(chosen: Settings, web: Web) -> Catalogue:
    """A catalogue with ``fetch``, which reaches that Service, and ``unread``, the same unread."""
    found = Catalogue(chosen.policy.directory)
    there = {"kind": "service", "host": f"{web.namespace}/web", "ports": [80]}
    found.change("destinations", lambda places: places["open-data"].update(there))
    found.enter("fetch", "Fetch", destinations=["open-data"])
    found.enter("unread", "Fetch", destinations=["open-data"], approved=False)
    return found


@pytest.fixture
async def site(
    chosen: Settings,
    catalogue: Catalogue,  # noqa: ARG001 -- it is written before the gateway reads it
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Served]:
    """A gateway with that catalogue."""
    monkeypatch.chdir(ROOT)
    async with serve(chosen) as served:
        yield served


async def approve(served: Served, view: Document) -> Document:
    """Approve a launch as somebody who may."""
    body = {"verdict": "approve", "plan_digest": view["plan"]["plan_digest"]}
    async with served.client("chloe") as chloe:
        said: Document = await chloe.post(f"/v1/launches/{view['id']}/approvals", body)
        return said


async def free(served: Served, holder: str) -> None:
    """Give the place free."""
    async with served.client("ada") as ada:
        await ada.post(f"/v1/launches/{holder}/cancel")


def made(cluster: dict[str, str], launch_id: str) -> list[str]:
    """Return the pods of a launch that the API server was asked for, by anybody."""
    prefix = launch_id.replace("-", "")
    lines = Path(cluster["SLUICE_CLUSTER_AUDIT_LOG"]).read_text().splitlines()
    events = [json.loads(line) for line in lines if prefix in line]
    asked = [event.get("objectRef") or {} for event in events if event["verb"] == "create"]
    return [
        about["name"]
        for about in asked
        if about.get("resource") == "pods" and about.get("name", "").startswith(prefix)
    ]


def policies(guarded: Installation) -> set[str]:
    """Return the names of all policies of the tasks' namespace."""
    return {item["metadata"]["name"] for item in guarded.admin.get(POLICIES)["items"]}


async def never_began(served: Served, cluster: dict[str, str], launch_id: str) -> str:
    """Return how a launch ended, of which nothing may have been bound or begun."""
    view = await ended(served, launch_id)
    assert view["state"] == "cancelled"
    log = served.gateway.parts.log
    for prefix in NEVER:
        assert await log.entries(0, 9, launch_id=launch_id, event_prefix=prefix) == []
    (entry,) = await log.entries(0, 9, launch_id=launch_id, event_prefix="launch.cancelled")
    assert entry.value["body"]["reason"] == view["outcome"]
    assert await asyncio.to_thread(made, cluster, launch_id) == []
    return str(view["outcome"])


@pytest.mark.parametrize("pipeline", ["fetch", "unread"])
@pytest.mark.parametrize(
    "change",
    [
        {"selector": {"app": "elsewhere"}},
        {"ports": [{"port": 80, "targetPort": 9090, "protocol": "TCP"}]},
    ],
    ids=["selector", "port"],
)
async def test_service_that_changed_before_the_start_stops_the_launch(
    site: Served,
    web: Web,
    guarded: Installation,
    cluster: dict[str, str],
    pipeline: str,
    change: Object,
) -> None:
    """Nobody agreed to where it would reach now: no policy and no pod are made, and it is said."""
    holder = await launch(site, [HELD])
    waiting = await ask(site, pipeline)
    if pipeline == "unread":
        assert waiting["state"] == "awaiting_approval"
        waiting = await approve(site, waiting)
    assert waiting["state"] == "queued"
    before = await asyncio.to_thread(policies, guarded)
    await asyncio.to_thread(web.merge, {"spec": change})
    await free(site, holder)
    outcome = await never_began(site, cluster, waiting["id"])
    assert outcome == ("a destination's address changed after the decision; launch again")
    assert await asyncio.to_thread(policies, guarded) == before
    again = await ask(site, "fetch")
    assert (await ended(site, again["id"]))["state"] == "succeeded"
    assert len(await asyncio.to_thread(made, cluster, again["id"])) > 0


async def test_service_that_changed_without_changing_what_it_reaches(
    site: Served, web: Web
) -> None:
    """Another label or another port of its own is no other destination: the launch runs."""
    holder = await launch(site, [HELD])
    waiting = await ask(site, "fetch")
    web_port = {"name": "web", "port": 80, "targetPort": 8080}
    ports = [web_port, {"name": "more", "port": 81, "targetPort": 8081}]
    change = {"metadata": {"labels": {"new": "label"}}, "spec": {"ports": ports}}
    await asyncio.to_thread(web.merge, change)
    await free(site, holder)
    assert (await ended(site, waiting["id"]))["state"] == "succeeded"


async def test_service_that_went_before_the_start_stops_the_launch(
    site: Served, web: Web, cluster: dict[str, str]
) -> None:
    """It is not waited for: what it would be when it comes back, nobody has agreed to."""
    holder = await launch(site, [HELD])
    waiting = await ask(site, "fetch")
    await asyncio.to_thread(web.api.delete, f"{web.path}/web")
    await free(site, holder)
    outcome = await never_began(site, cluster, waiting["id"])
    assert f"destination open-data: host is Service {web.namespace}/web, which is not there" in (
        outcome
    )


async def test_service_that_changed_before_the_approval_voids_it(
    site: Served, web: Web, cluster: dict[str, str]
) -> None:
    """Who agrees to a plan does not agree to another: the launch has ended, and says why."""
    waiting = await ask(site, "unread")
    await asyncio.to_thread(web.merge, {"spec": {"selector": {"app": "elsewhere"}}})
    with pytest.raises(ClientError) as caught:
        await approve(site, waiting)
    assert caught.value.problem["code"] == "approval_void"
    async with site.client("ada") as ada:
        view = await ada.get(f"/v1/launches/{waiting['id']}")
    assert (view["state"], view["outcome"]) == (
        "rejected", "what would run or be reached changed since the decision"
    )  # fmt: skip
    assert await asyncio.to_thread(made, cluster, waiting["id"]) == []


Edit = Callable[[Document], Any]
CHANGES: dict[str, tuple[str, Edit, str]] = {
    "cpu": (
        "pipelines",
        lambda all_: all_["fetch"].update(pod={"cpu": "250m"}),
        "the image or what its pods may have changed after the decision; launch again",
    ),
    "image": (
        "pipelines",
        lambda all_: all_["fetch"].update(image=f"sluice.test/other@sha256:{'2' * 64}"),
        "the image or what its pods may have changed after the decision; launch again",
    ),
    "workspace": (
        "pipelines",
        lambda all_: all_["fetch"].update(workspace={"keep": True, "classes": ["public"]}),
        "the image or what its pods may have changed after the decision; launch again",
    ),
    "gone": (
        "pipelines",
        lambda all_: all_.pop("fetch"),
        "fetch left the catalogue",
    ),
    "launcher": (
        "groups",
        lambda all_: all_["analysts"].update(members=["ben"]),
        "policy changed before the start and no longer allows this launch",
    ),
    "approval": (
        "pipelines",
        lambda all_: all_["fetch"].pop("standing_approval"),
        "policy changed before the start and no longer allows this launch",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_catalogue_that_changed_before_the_start_stops_the_launch(
    site: Served, catalogue: Catalogue, cluster: dict[str, str], what: str
) -> None:
    """The newest policy has the word: a launch that it would decide otherwise never begins."""
    document, edit, reason = CHANGES[what]
    holder = await launch(site, [HELD])
    waiting = await ask(site, "fetch")
    assert waiting["state"] == "queued"
    await catalogue.change_served(site, document, edit)
    async with site.client("chloe" if what == "launcher" else "ada") as somebody:
        await somebody.post(f"/v1/launches/{holder}/cancel")
    assert await never_began(site, cluster, waiting["id"]) == reason


async def test_catalogue_that_changed_elsewhere_stops_nothing(
    site: Served, catalogue: Catalogue
) -> None:
    """A newer revision is asked again, and where it agrees the launch runs."""
    holder = await launch(site, [HELD])
    waiting = await ask(site, "fetch")
    await catalogue.change_served(
        site, "pipelines", lambda all_: all_["unread"].update(pod={"cpu": "250m"})
    )
    await free(site, holder)
    assert (await ended(site, waiting["id"]))["state"] == "succeeded"
