"""Invariant 4, by the API server's own record: no pod before its policy was there and read back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from audit import Order, order
from bed.installation import TASKS, Installation
from cut_bed import PLAYED, RUNNER, cleared, settings
from gateway_bed import ROOT, Served, serve
from pods_bed import witness

from gateway.guest import tree_digest
from gateway.network.marks import policy_name
from gateway.settings import Settings

pytestmark = pytest.mark.usefixtures("fake_nodes")
MOST_REQUESTS = 6  # for each task


@pytest.fixture
def crowds(
    guarded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings of a gateway whose catalogue has ``crowd``: ``n`` tasks of two profiles."""
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
    with cleared(guarded.admin):
        yield chosen


async def run(served: Served, count: int) -> tuple[str, dict[str, Any], float]:
    """Run a crowd to its end; return the launch, its view and the seconds it took."""
    body = {"pipeline": "crowd", "parameters": {"n": count}, "reason": "test"}
    async with served.client("ada") as ada:
        began = time.monotonic()
        launch_id = (await ada.post("/v1/launches", body))["id"]
        async for event in ada.events(launch_id):
            last = event
        return launch_id, last.data, time.monotonic() - began


async def held(
    crowds: Settings, cluster: dict[str, str], count: int
) -> tuple[Order, dict[str, Any], float]:
    """Run a crowd, and return what the server recorded of it."""
    if "SLUICE_CLUSTER_AUDIT_LOG" not in cluster:
        pytest.skip("the cluster of KUBECONFIG keeps its audit log to itself")
    async with witness(Path(cluster["KUBECONFIG"]), TASKS), serve(crowds) as served:
        launch_id, view, seconds = await run(served, count)
        bound = await served.gateway.parts.log.entries(
            0, 1, launch_id=launch_id, event_prefix="network.bound"
        )
        profiles = bound[0].value["body"]["profiles"]
    assert len(profiles) == 2
    found = order(
        Path(cluster["SLUICE_CLUSTER_AUDIT_LOG"]),
        launch_id,
        (policy_name(name) for name in profiles),
        RUNNER,
    )
    return found, view, seconds


def _recorded(second: int, verb: str, resource: str, name: str) -> str:
    moment = f"2026-11-22T08:00:0{second}"
    return json.dumps(
        {
            "stage": "ResponseComplete",
            "verb": verb,
            "user": {"username": RUNNER},
            "objectRef": {"resource": resource, "name": name},
            "responseStatus": {"code": 200},
            "requestReceivedTimestamp": f"{moment}.000000Z",
            "stageTimestamp": f"{moment}.500000Z",
        }
    )


def test_the_judge_sees_a_pod_that_came_too_early(tmp_path: Path) -> None:
    """Before the policy was read back, without one at all, or twice: each is named."""
    launch, pod = "01a2-b", "01a2b-f00-1"
    bound = [
        _recorded(1, "patch", "ciliumnetworkpolicies", "sluice-p-1"),
        _recorded(3, "get", "ciliumnetworkpolicies", "sluice-p-1"),
    ]

    def judged(*lines: str) -> Order:
        path = tmp_path / "audit.log"
        path.write_text("\n".join(lines))
        return order(path, launch, ["sluice-p-1"], RUNNER)

    assert judged(*bound, _recorded(4, "create", "pods", pod)).early == ()
    assert judged(*bound, _recorded(2, "create", "pods", pod)).early == (pod,)
    assert judged(bound[0], _recorded(4, "create", "pods", pod)).early == (pod,)
    again = [_recorded(second, "create", "pods", pod) for second in (4, 5)]
    assert judged(*bound, *again).twice == (pod,)


async def test_no_pod_before_its_policy(crowds: Settings, cluster: dict[str, str]) -> None:
    """Every pod of a run came after both policies were read back, once, with few requests."""
    found, view, _ = await held(crowds, cluster, 50)
    assert view["state"] == "succeeded", view
    assert (found.pods, found.early, found.twice) == (50, (), ())
    assert found.per_task <= MOST_REQUESTS, found.by_verb


@pytest.mark.slow
async def test_a_thousand_tasks(crowds: Settings, cluster: dict[str, str]) -> None:
    """The same of 1,000 tasks, 200 at a time, and in less than four minutes."""
    found, view, seconds = await held(crowds, cluster, 1000)
    assert view["state"] == "succeeded", view
    assert (found.pods, found.early, found.twice) == (1000, (), ())
    assert found.per_task <= MOST_REQUESTS, found.by_verb
    assert seconds < 240
