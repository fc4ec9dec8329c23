"""The names of pods, which say whose they are."""

from __future__ import annotations

from gateway.cluster.marks import LAUNCH_ID, TASK, is_pod_name, pod_name

LAUNCH = "01a20327-e933-7cd2-9f82-87476eecce50"
KEY = "f" * 40 + "0" * 24
NOTES = {LAUNCH_ID: LAUNCH, TASK: KEY}


def test_the_same_attempt_has_the_same_name() -> None:
    """Launch, the first 24 digits of the task's key, and the attempt; short enough for a host."""
    name = pod_name(LAUNCH, KEY, 3)
    assert name == f"01a20327e9337cd29f8287476eecce50-{'f' * 24}-3"
    assert len(pod_name(LAUNCH, KEY, 99_999)) <= 63


def test_a_name_is_held_against_the_annotations() -> None:
    """A pod that borrows a name, or has none of our form, is not what it says."""
    assert is_pod_name(pod_name(LAUNCH, KEY, 1), NOTES)
    assert is_pod_name(pod_name(LAUNCH, "probe", 999_999_999), {**NOTES, TASK: "probe"})
    assert not is_pod_name(pod_name(LAUNCH, KEY, 1), {**NOTES, TASK: "e" * 64})
    assert not is_pod_name(pod_name(LAUNCH, KEY, 1), {**NOTES, LAUNCH_ID: LAUNCH[::-1]})
    assert not is_pod_name(pod_name(LAUNCH, KEY, 1), {})
    assert not is_pod_name("web-7c9f", NOTES)
