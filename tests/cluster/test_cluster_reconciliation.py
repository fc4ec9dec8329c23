"""Every pod of the namespace is held against the log: strangers are told of, orphans are ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bed.api import Object
from bed.installation import GUARDS, TASKS, Installation
from bed.objects import collection, pod
from cut_bed import HELD, alive, cleared, ended, launch, settings
from gateway_bed import ROOT, Served, serve
from pods_bed import when

from gateway.cluster.marks import DECISION_ID, LAUNCH_ID, PROBE, RESOLVE, TASK, pod_name

pytestmark = pytest.mark.usefixtures("fake_nodes")
PODS = collection(TASKS)
BINDINGS = f"{GUARDS}/validatingadmissionpolicybindings"
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def served(
    guarded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    """A gateway that does not look at the guard rails while this test opens them."""
    monkeypatch.chdir(ROOT)
    chosen = settings(guarded, tmp_path)
    cluster = chosen.cluster.model_copy(update={"guard_seconds": 600.0})
    with cleared(guarded.admin):
        async with serve(chosen.model_copy(update={"cluster": cluster})) as found:
            yield found


@contextmanager
def open_guards(guarded: Installation) -> Iterator[None]:
    """Let the administrator make pods as somebody does who has taken the guards away."""
    kept = [
        guarded.admin.get(f"{BINDINGS}/{name}")
        for name in ("sluice-pods", "sluice-pods-that-exist")
    ]
    for each in kept:
        guarded.admin.delete(f"{BINDINGS}/{each['metadata']['name']}")
    try:
        yield
    finally:
        for each in kept:
            meta = {
                key: each["metadata"][key] for key in ("name", "labels") if key in each["metadata"]
            }
            guarded.admin.create(BINDINGS, {**each, "metadata": meta})


async def slip_in(guarded: Installation, *pods: Object) -> None:
    """Make pods past the guards."""
    with open_guards(guarded):
        for each in pods:
            for _ in range(100):
                try:
                    await asyncio.to_thread(guarded.admin.create, PODS, each)
                    break
                except Exception:  # noqa: BLE001 -- the server learns a moment later
                    await asyncio.sleep(0.1)


def annotated(name: str, **notes: str) -> Object:
    """Return a pod that stays and says of itself what ours say."""
    found = pod(name, hold="running")
    found["metadata"]["annotations"] |= {
        {"launch": LAUNCH_ID, "task": TASK, "decision": DECISION_ID}[key]: text
        for key, text in notes.items()
    }
    return found


async def entries(served: Served, prefix: str) -> list[dict[str, Any]]:
    """Return what the log says of a kind."""
    return [e.value for e in await served.gateway.parts.log.entries(0, 200, event_prefix=prefix)]


async def named(served: Served, prefix: str, count: int) -> list[str]:
    """Wait until the log names so many pods in entries of a kind; return them all, sorted."""
    for _ in range(150):
        if len(found := await entries(served, prefix)) >= count:
            return sorted(entry["body"]["pod"] for entry in found)
        await asyncio.sleep(0.2)
    raise TimeoutError(f"{prefix}: {found}")


async def test_stranger(served: Served, guarded: Installation) -> None:
    """A pod that the log does not explain: one entry, an alarm in readiness, and it is left."""
    strangers = [
        pod("somebodys", hold="running"),
        annotated(pod_name(NOBODY, "f" * 64, 1), launch=NOBODY, task="f" * 64, decision=NOBODY),
        annotated("another-name", launch=NOBODY, task=RESOLVE),
    ]
    names = sorted(each["metadata"]["name"] for each in strangers)
    await slip_in(guarded, *strangers)
    assert await named(served, "pod.stranger", 3) == names
    report = await served.gateway.readiness.report()
    assert report["checks"]["strangers"] == ", ".join(names)
    assert report["ready"] is True
    await asyncio.sleep(6)  # another sweep
    assert await named(served, "pod.stranger", 3) == names
    left = {each["metadata"]["name"] for each in guarded.admin.get(PODS)["items"]}
    assert left.issuperset(names)


async def test_orphan_of_an_ended_launch(served: Served, guarded: Installation) -> None:
    """A pod of a launch that has ended is deleted, and the log says so."""
    launch_id = await launch(served, [""], running=0)
    assert (await ended(served, launch_id))["state"] == "succeeded"
    started = await served.gateway.parts.log.entries(
        0, 1, launch_id=launch_id, event_prefix="task.started"
    )
    decided = await served.gateway.parts.log.entries(
        0, 1, launch_id=launch_id, event_prefix="decision"
    )
    notes = {"launch": launch_id, "decision": decided[0].value["decision_id"]}
    key = started[0].value["body"]["task"]
    orphans = [
        annotated(pod_name(launch_id, key, 1), task=key, **notes),
        annotated(pod_name(launch_id, PROBE, 77), task=PROBE, **notes),
    ]
    await slip_in(guarded, *orphans)
    await when(lambda: alive(guarded.admin, launch_id) == [], 30)
    told = await named(served, "pod.orphan", 2)
    assert told == sorted(each["metadata"]["name"] for each in orphans)
    assert await entries(served, "pod.stranger") == []


async def test_attempt_that_was_never_started_is_a_stranger(
    served: Served, guarded: Installation
) -> None:
    """Right launch, right task, an attempt that the log does not hold: not ours."""
    launch_id = await launch(served, [HELD])
    (ours,) = alive(guarded.admin, launch_id)
    notes = ours["metadata"]["annotations"]
    forged = annotated(
        pod_name(launch_id, notes[TASK], 9),
        launch=launch_id,
        task=notes[TASK],
        decision=notes[DECISION_ID],
    )
    await slip_in(guarded, forged)
    assert await named(served, "pod.stranger", 1) == [forged["metadata"]["name"]]
    assert ours["metadata"]["uid"] in {
        each["metadata"]["uid"] for each in alive(guarded.admin, launch_id)
    }
