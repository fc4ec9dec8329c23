"""`cut` of all that somebody launched, of a whole pipeline, and from the command line, on pods."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bed.installation import Installation
from catalogue_bed import Catalogue
from cut_bed import HELD, alive, audited, cleared, cuts, ended, first, labels, settings
from gateway_bed import ROOT, Served, serve
from rich.console import Console

from gateway.cli import _parse
from gateway.commands import cutting

pytestmark = pytest.mark.usefixtures("fake_nodes")
ISSUER = "https://dev.sluice.local"


@pytest.fixture
async def site(
    guarded: Installation,
    cluster: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Served]:
    """A gateway with two pipelines, on a cluster whose audit log can be read."""
    if "SLUICE_CLUSTER_AUDIT_LOG" not in cluster:
        pytest.skip("this cluster's audit log cannot be read")
    monkeypatch.chdir(ROOT)
    chosen = settings(guarded, tmp_path)
    for name in ("act", "other"):
        Catalogue(chosen.policy.directory).enter(name, "Act", agents_allowed=True)
    with cleared(guarded.admin):
        async with serve(chosen) as served:
            yield served


async def launched(
    served: Served, guarded: Installation, subject: str, pipeline: str, client: str = "sluice-cli"
) -> str:
    """Launch a task that stays, and return the launch's id when its pod runs."""
    body = {"pipeline": pipeline, "parameters": {"play": HELD}, "reason": "test"}
    async with served.client(subject, client) as somebody, asyncio.timeout(60):
        launch_id = str((await somebody.post("/v1/launches", body))["id"])
        while True:
            pods = await asyncio.to_thread(alive, guarded.admin, launch_id)
            if [pod["status"].get("phase") for pod in pods] == ["Running"]:
                return launch_id
            await asyncio.sleep(0.1)


async def all_launches(served: Served, guarded: Installation) -> dict[str, str]:
    """Have ada, an agent for ada, and ben launch; return the ids by what they are."""
    return {
        "adas": await launched(served, guarded, "ada", "act"),
        "adas other": await launched(served, guarded, "ada", "other"),
        "agents": await launched(served, guarded, "ada", "act", "copilot"),
        "bens": await launched(served, guarded, "ben", "act"),
    }


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ({"principal": f"{ISSUER}#ada"}, {"adas", "adas other", "agents"}),
        ({"principal": f"{ISSUER}#copilot"}, {"agents"}),
        ({"pipeline": "act"}, {"adas", "agents", "bens"}),
    ],
    ids=["person", "agent", "pipeline"],
)
async def test_wide_cut_takes_the_network_of_all_that_is_meant(
    site: Served,
    guarded: Installation,
    cluster: dict[str, str],
    target: dict[str, str],
    meant: set[str],
) -> None:
    """All pods are relabelled before any is deleted; launches of others keep theirs and run on."""
    ids = await all_launches(site, guarded)
    async with site.client("chloe") as chloe:
        said = await chloe.post("/v1/stops", {"kind": "cut", "reason": "drill", **target})
    counts = {item["launch_id"]: item["tasks"] for item in said["launches"]}
    assert counts == {ids[name]: 1 for name in meant}
    relabelled, deleted = list[str](), list[str]()
    for name in meant:
        assert (await ended(site, ids[name]))["state"] == "cancelled"
        events = audited(cluster, ids[name])
        relabelled += first(events, "patch").values()
        deleted += first(events, "delete").values()
        (body,) = await cuts(site, ids[name])
        assert (body["tasks"], body["left"], body["reason"]) == (1, 0, "drill")
        assert {key: body[key] for key in target} == target
    assert len(relabelled) == len(deleted) == len(meant)
    assert max(relabelled) <= min(deleted)
    for name in ids.keys() - meant:
        left = await asyncio.to_thread(alive, guarded.admin, ids[name])
        assert len(left) == 1
        assert "cut" not in labels(left)
        assert await cuts(site, ids[name]) == []


async def test_cut_from_the_command_line(
    site: Served, guarded: Installation, cluster: dict[str, str]
) -> None:
    """It says what lost its network, and by then the launch's pod has lost it."""
    launch_id = await launched(site, guarded, "ada", "act")
    shown = io.StringIO()
    words = ["cut", launch_id, "--reason", "drill", "--url", site.gateway.url]
    arguments: Any = _parse([*words, "--token", site.token("ada")])
    assert await cutting.cut(arguments, Console(file=shown, width=200)) == 0
    text = shown.getvalue()
    assert f"launch {launch_id}  1 task lost the network after" in text
    assert "not in the decision log" not in text
    assert len(first(audited(cluster, launch_id), "patch")) == 1
    assert (await ended(site, launch_id))["state"] == "cancelled"
    assert await asyncio.to_thread(alive, guarded.admin, launch_id) == []
    again = io.StringIO()
    assert await cutting.cut(arguments, Console(file=again, width=200)) == 0
    assert f"launch {launch_id}  0 tasks" in again.getvalue()
