"""Invariant 4, by the API server's own record: no pod before its policy was there and read back.

And what it costs the server: few requests for each task, and one watch on the pods for all of them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from audit import BINDER, Order, asked, order
from bed.installation import TASKS, Installation
from cut_bed import PLAYED, RUNNER, cleared, settings, unbind
from gateway_bed import ROOT, Served, serve
from labels_bed import labels

from gateway.guest import tree_digest
from gateway.network.marks import policy_name
from gateway.settings import Settings

pytestmark = pytest.mark.usefixtures("fake_nodes")
MOST_REQUESTS = 6  # for each task, about anything, of both accounts
MOST_LOOKS = 4  # at all pods, or at one that nothing was heard of; for a whole run


@pytest.fixture
def crowds(
    guarded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings of a gateway whose catalogue has ``crowd``: ``n`` tasks of two profiles, unbound."""
    monkeypatch.chdir(ROOT)
    chosen = settings(guarded, tmp_path, parallel=200)
    catalogue = chosen.policy.directory / "data" / "pipelines.yaml"
    crowd = {
        "title": "Crowd",
        "description": "Of the tests.",
        "source": str(PLAYED),
        "module": "played",
        "task": "Crowd",
        "owner": "analysts",
        "tier": "low",
        "launchers": ["analysts"],
        "destinations": ["open-data"],
        "parameters": {
            name: {"description": "Of the tests.", "shown": True}
            for name in ("n", "name", "play", "seconds", "tries")
        },
        "standing_approval": {
            "code_digest": tree_digest.compute(str(ROOT / PLAYED)),
            "until": "2099-12-31",
            "by": "chloe",
            "reason": "The tests have read it.",
        },
    }
    catalogue.write_text(catalogue.read_text() + yaml.safe_dump({"crowd": crowd}))
    unbind(guarded)
    with cleared(guarded.admin):
        yield chosen


async def run(served: Served, count: int) -> tuple[str, Mapping[str, Any], float]:
    """Run a crowd to its end; return the launch, its view and the seconds it took."""
    body = {"pipeline": "crowd", "parameters": {"n": count}, "reason": "test"}
    async with served.client("ada") as ada:
        began = time.monotonic()
        launch_id = (await ada.post("/v1/launches", body))["id"]
        async for event in ada.events(launch_id):
            last = event
        return launch_id, last.data, time.monotonic() - began


@dataclass(frozen=True)
class Held:
    """What the server recorded of a crowd, beside what the gateway says of it."""

    order: Order
    asked: Counter[str]  # by both accounts, from the launch until the gateway was gone
    view: Mapping[str, Any]
    seconds: float

    @property
    def per_task(self) -> float:
        """Requests of any kind for each task."""
        return self.asked.total() / self.order.pods

    @property
    def looks(self) -> int:
        """How often somebody looked at the pods instead of being told."""
        return sum(self.asked[f"{verb} pods"] for verb in ("list", "watch", "get"))


async def held(crowds: Settings, cluster: dict[str, str], count: int) -> Held:
    """Run a crowd, and return what the server recorded of it."""
    if "SLUICE_CLUSTER_AUDIT_LOG" not in cluster:
        pytest.skip("the cluster of KUBECONFIG keeps its audit log to itself")
    record = Path(cluster["SLUICE_CLUSTER_AUDIT_LOG"])
    async with labels(Path(cluster["KUBECONFIG"]), TASKS) as worn:
        async with serve(crowds) as served:
            mark = record.stat().st_size
            launch_id, view, seconds = await run(served, count)
            bound = await served.gateway.parts.log.entries(
                0, 1, launch_id=launch_id, event_prefix="network.bound"
            )
            policies = {policy_name(name) for name in bound[0].value["body"]["profiles"]}
        requests = asked(record, mark, RUNNER, BINDER)
    assert set(worn.values()) == policies
    assert len(policies) == 2
    found = order(record, launch_id, policies, RUNNER, worn=worn)
    return Held(found, requests, view, seconds)


def judge(found: Held, count: int) -> None:
    """Hold a run of so many tasks against what is promised of each."""
    assert found.view["state"] == "succeeded", found.view
    assert (found.order.pods, found.order.early, found.order.twice) == (count, (), ())
    assert found.asked["patch ciliumnetworkpolicies"] == 4, "two profiles, tried and then made"
    assert found.looks <= MOST_LOOKS, found.asked
    assert found.per_task <= MOST_REQUESTS, found.asked


async def test_no_pod_before_its_policy(crowds: Settings, cluster: dict[str, str]) -> None:
    """Every pod of a run came once, after both policies were made and read, with few requests."""
    judge(await held(crowds, cluster, 50), 50)


@pytest.mark.slow
async def test_a_thousand_tasks(crowds: Settings, cluster: dict[str, str]) -> None:
    """The same of 1,000 tasks, 200 at a time, and in less than four minutes: nobody polls."""
    found = await held(crowds, cluster, 1000)
    judge(found, 1000)
    assert found.seconds < 240
