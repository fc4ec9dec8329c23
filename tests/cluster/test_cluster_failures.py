"""What goes wrong with pods becomes a failure that a person understands, retried as Luigi says.

Each test watches beside the gateway: no task ever has two living pods, and none is left behind.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest
from failures_bed import HELD, TWICE, Rigs
from pods_bed import PodRig

pytestmark = pytest.mark.usefixtures("fake_nodes")


ENDS = {
    "exit code": ("exit-code=3", "its process ended with exit code 3"),
    "signal": ("exit-code=137", "its process was killed (signal 9)"),
    "memory": (
        "exit-code=137,reason=OOMKilled",
        "it used more memory than its limit of 64Mi",
    ),
    "eviction by its node": (
        "pod-reason=Evicted,pod-message=The node was low on resource: memory.",
        "its node evicted it: The node was low on resource: memory.",
    ),
    "the cluster's own time limit": (
        "pod-reason=DeadlineExceeded",
        "it ran longer than the cluster lets any task run (cluster.longest_seconds)",
    ),
    "nonsense": ("message=well well", "its report is not JSON"),
    "silence": ("message= ", "its report is not JSON"),
    "no such program": (
        "exit-code=128,reason=StartError,message=exec: python3: not found",
        "its process could not be started: exec: python3: not found",
    ),
}
WAITS = {
    "pull": (
        "ErrImagePull",
        "not found",
        "its image IMAGE cannot be had (ErrImagePull): not found",
    ),
    "back-off": ("ImagePullBackOff", "x", "its image IMAGE cannot be had (ImagePullBackOff): x"),
    "name": ("InvalidImageName", "odd", "its image IMAGE cannot be had (InvalidImageName): odd"),
    "configuration": (
        "CreateContainerConfigError",
        'configmap "x" not found',
        'its container cannot be made (CreateContainerConfigError): configmap "x" not found',
    ),
    "a lazy node": ("ContainerCreating", "", "its node NODE has not started it"),
}


@pytest.mark.parametrize("name", ENDS)
async def test_a_pod_that_fails_is_retried(runs: PodRig, name: str) -> None:
    """Luigi tries again, in a pod of its own, and the first failure says why in words."""
    play, sentence = ENDS[name]
    end = await runs.play(play, "")
    assert (end.status, runs.failures) == ("succeeded", [sentence])
    assert runs.witness.attempts() == TWICE


async def test_luigi_gives_up(runs: PodRig) -> None:
    """As many failures as Luigi allows, and not one pod more; the run's end repeats the reason."""
    end = await runs.play("exit-code=137,reason=OOMKilled")
    assert end.status == "failed"
    assert "1 task failed" in end.reason
    assert "(it used more memory than its limit of 64Mi)" in end.reason
    assert runs.witness.attempts() == len(runs.failures) == TWICE


async def test_a_tasks_own_retry_count(runs: PodRig) -> None:
    """A task that says how often is tried so often."""
    await runs.play("exit-code=1", tries="3")
    assert runs.witness.attempts() == 3


async def test_the_cluster_itself_ends_what_runs_for_ever(runs: PodRig) -> None:
    """Should nobody else end a pod, its deadline does: it is in each pod's spec."""
    order = await runs.order(play=HELD)
    await runs.supervisor.start(order)
    pod = await runs.pod()
    assert pod["spec"]["activeDeadlineSeconds"] == runs.cluster.longest_seconds
    await runs.wish(pod, hold="go")
    assert (await runs.end(order)).status == "succeeded"


# --- never begun ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WAITS)
async def test_a_pod_that_does_not_begin(runs: PodRig, name: str) -> None:
    """Patience ends with what the kubelet said; the pod is deleted before the next attempt."""
    reason, said, sentence = WAITS[name]
    end = await runs.play(f"hold=pending,wait={reason},message={said}", "")
    assert end.status == "succeeded"
    (failure,) = runs.failures
    failure = re.sub(r"sluice\.test/task@sha256:1+", "IMAGE", failure)
    failure = re.sub(r"node fake-\d", "node NODE", failure)
    assert re.fullmatch(r"it had not begun after \d+ s: (.*)", failure)[1] == sentence  # type: ignore[index]
    assert runs.witness.attempts() == TWICE


async def test_a_registrys_bad_minute_is_waited_out(rigs: Rigs) -> None:
    """An image that can be had a moment later fails nothing."""
    async with rigs(pull_seconds=20) as runs:
        order = await runs.order(play="hold=pending,wait=ErrImagePull")
        await runs.supervisor.start(order)
        await asyncio.sleep(1)
        await runs.wish(await runs.pod("Pending"), hold="go")
        assert (await runs.end(order)).status == "succeeded"
        assert runs.failures == []


async def test_no_node_takes_it(runs: PodRig) -> None:
    """A pod that no node can hold says so in the scheduler's words."""
    order = await runs.order(tries="1")
    assert order.pods is not None
    end = await runs.carry(replace(order, pods=replace(order.pods, cpu="5k")))
    assert end.status == "failed"
    assert re.search(r"no node takes it: 0/\d+ nodes are available: .*Insufficient cpu", end.reason)
