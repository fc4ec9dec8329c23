"""Names of pods: one for each attempt, valid for Kubernetes, and read back by what wrote them."""

from __future__ import annotations

import re
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gateway.cluster.marks import LAUNCH_ID, TASK, is_pod_name, pod_name

LAUNCHES = st.uuids().map(str)
KEYS = st.binary(min_size=32, max_size=32).map(bytes.hex)
TASKS = KEYS | st.sampled_from(["probe", "resolve"])
ATTEMPTS = st.integers(1, 99_999)  # of a task; more would not fit
ANY_ATTEMPT = st.integers(0, 10**9 - 1)


@given(LAUNCHES, TASKS, ATTEMPTS)
def test_names_are_dns_labels(launch: str, task: str, attempt: int) -> None:
    """A name is a DNS label, so that it is the pod's host name too, uncut."""
    name = pod_name(launch, task, attempt)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name)


@given(LAUNCHES, TASKS, ANY_ATTEMPT)
def test_names_are_recognised(launch: str, task: str, attempt: int) -> None:
    """What was written by the rule is recognised by it, and the attempt can be read off."""
    name = pod_name(launch, task, attempt)
    assert is_pod_name(name, {LAUNCH_ID: launch, TASK: task})
    assert int(name.rpartition("-")[2]) == attempt
    assert UUID(name.partition("-")[0]) == UUID(launch)


@given(
    st.tuples(LAUNCHES, TASKS, ATTEMPTS),
    st.tuples(LAUNCHES, TASKS, ATTEMPTS),
)
def test_two_attempts_have_two_names(
    one: tuple[str, str, int], other: tuple[str, str, int]
) -> None:
    """Different launches, tasks or attempts never share a name."""
    assert (pod_name(*one) == pod_name(*other)) == (one == other)


@given(LAUNCHES, TASKS, LAUNCHES, TASKS, ATTEMPTS)
def test_a_borrowed_name_is_noticed(
    launch: str, task: str, other: str, other_task: str, attempt: int
) -> None:
    """A name goes with no other launch and no other task than its own."""
    notes = {LAUNCH_ID: other, TASK: other_task}
    assert is_pod_name(pod_name(launch, task, attempt), notes) == (
        (launch, task) == (other, other_task)
    )


@given(st.text(max_size=80), LAUNCHES, TASKS)
def test_foreign_names_are_not_ours(name: str, launch: str, task: str) -> None:
    """Whatever else a pod is called, reading its name never fails."""
    assert not is_pod_name(name, {LAUNCH_ID: launch, TASK: task})
