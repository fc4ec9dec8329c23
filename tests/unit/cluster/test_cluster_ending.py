"""What a pod's status means, in words, for the cases that no fake node plays."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cluster.ending import PodEnd, end_of, has_begun, has_ended, refused, trouble


def pod(phase: str, state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """Return a pod in a phase, its container in a state."""
    containers = [{"name": "task", "image": "x", "state": state}] if state else []
    return {
        "spec": {"nodeName": "n", "containers": [{"name": "task"}]},
        "status": {"phase": phase, "containerStatuses": containers, **status},
    }


def ended(code: int, **more: Any) -> dict[str, Any]:
    """Return the state of a container that ended."""
    return {"terminated": {"exitCode": code, **more}}


def disruption(reason: str) -> dict[str, Any]:
    """Return the condition of a disrupted pod."""
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "why"}


def test_success_is_the_message_alone() -> None:
    """A process that ended by itself has no failure; what it says is for others to read."""
    assert end_of(pod("Succeeded", ended(0, message="said"))) == PodEnd("said", "", ran=True)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("PreemptionByScheduler", "a more important pod took its place (why)"),
        ("TerminationByKubelet", "its node evicted it or was shut down (why)"),
        ("SomethingNew", "SomethingNew (why)"),
    ],
)
def test_disruption_is_named(reason: str, words: str) -> None:
    """A disruption goes before the exit code that it caused."""
    found = pod("Failed", ended(137), conditions=[disruption(reason)])
    assert end_of(found).failure == words


def test_a_condition_that_is_not_true_says_nothing() -> None:
    """Only a disruption that happened is one."""
    condition = {**disruption("PreemptionByScheduler"), "status": "False"}
    found = pod("Failed", ended(2), conditions=[condition])
    assert end_of(found).failure == "its process ended with exit code 2"


def test_a_pod_that_is_gone_says_what_is_known() -> None:
    """What went before it ended by itself was deleted: by whom only the conditions may say."""
    assert end_of(pod("Running", {"running": {}})) == PodEnd(
        "", "its pod was deleted before it ended by itself: nobody knows why", ran=True
    )
    found = pod("Pending", conditions=[disruption("DeletionByPodGC")])
    assert end_of(found) == PodEnd(
        "",
        "its pod was deleted before it ended by itself: its node is gone from the cluster (why)",
        ran=False,
    )


def test_a_failure_without_any_reason() -> None:
    """Nothing is made up."""
    assert end_of(pod("Failed")).failure == "its pod failed, and the cluster does not say why"


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ('{"v":1,"canary":"reached"}', "reached from node n: no policy is in force there"),
        ("no Python here", "it is not known whether policy is in force there: no Python here"),
    ],
)
def test_a_canary_that_came_through_is_told_first(said: str, failure: str) -> None:
    """What the canary found matters more than how the pod then failed."""
    canary = {"name": "canary", "state": ended(1, message=said)}
    assert failure in end_of(pod("Failed", initContainerStatuses=[canary])).failure


def test_unknown_is_running() -> None:
    """The phase of a pod on a node that went silent is no end."""
    assert not has_ended(pod("Unknown"))
    assert not has_ended({})
    assert has_begun(pod("Running", {"running": {}}))
    assert not has_begun(pod("Pending", {"waiting": {"reason": "ContainerCreating"}}))


def test_long_words_are_cut() -> None:
    """Whatever a node says, a reason stays a reason."""
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "x" * 9000}}
    assert len(trouble(pod("Pending", waiting)).reason) < 700


@pytest.mark.parametrize(
    ("reason", "message", "words"),
    [
        ("Forbidden", 'pods "x" is forbidden: exceeded quota: few', "the quota of the tasks'"),
        (
            "Forbidden",
            'pods "x" is forbidden: violates PodSecurity "restricted:latest": x',
            "the cluster's guard rails refuse the pod",
        ),
        (
            "Invalid",
            "ValidatingAdmissionPolicy 'sluice-pods' with binding 'x' denied request: no",
            "the cluster's guard rails refuse the pod",
        ),
        (
            "Forbidden",
            'pods is forbidden: User "x" cannot create resource "pods"',
            "the gateway's account may not make the pod",
        ),
        ("Forbidden", "maximum cpu usage", "a rule of the tasks' namespace refuses the pod"),
        ("Invalid", "spec.x", "the cluster refuses the pod (Invalid)"),
        ("", "odd", "the cluster refuses the pod (no reason)"),
    ],
)
def test_refusals_say_who_refused(reason: str, message: str, words: str) -> None:
    """Quota, guard rails, rights, and the rest: the person who reads it knows whom to ask."""
    assert refused(reason, message).startswith(words)
    assert refused(reason, message).endswith(message)
