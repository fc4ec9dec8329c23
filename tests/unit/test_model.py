"""The nouns: transitions, digests, and what must never show."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.model import LUIGI_ID, Plan, TaskGraph, TaskNode, graph_digest, node_key
from gateway.states import TRANSITIONS, LaunchState

DOCUMENT = Path(__file__).parents[2] / "docs" / "launch-states.md"
PLAN = Plan(
    launch_id="l",
    pipeline="p",
    parameters={"a": "1"},
    graph_digest="g",
    code_digest="c",
    profiles=("p-1",),
    enforcement="none",
    policy_revision="r",
    expires_at="2026-01-01T00:00:00.000Z",
)


def test_document_and_code_agree_on_transitions() -> None:
    """docs/launch-states.md shows exactly the table that code obeys."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    shown = {name: set(re.findall(r"`(\w+)`", following)) for name, following in rows}
    assert shown == {s.value: {t.value for t in following} for s, following in TRANSITIONS.items()}


def test_final_states_are_the_ones_without_a_way_on() -> None:
    """Five ends, and no launch leaves one of them."""
    ends = {state.value for state in LaunchState if state.final}
    assert ends == {"denied", "rejected", "expired", "succeeded", "failed", "cancelled"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("graph_digest", "other"),
        ("profiles", ("p-2",)),
        ("images", ("sha256:1",)),
        ("parameters", {"a": "2"}),
        ("policy_revision", "other"),
        ("expires_at", "2027-01-01T00:00:00.000Z"),
        ("pipeline", "q"),
        ("launch_id", "m"),
    ],
)
def test_plan_digest_covers(field: str, value: object) -> None:
    """An approval of one plan is worth nothing for a plan that differs in anything."""
    assert replace(PLAN, **{field: value}).plan_digest != PLAN.plan_digest


@pytest.mark.parametrize("field", ["parameters", "policy_revision", "expires_at", "launch_id"])
def test_content_digest_leaves_out(field: str) -> None:
    """The content digest says whether what would run is the same, whoever asks and when."""
    other = {"a": "2"} if field == "parameters" else "other"
    assert replace(PLAN, **{field: other}).content_digest == PLAN.content_digest


def test_node_key_covers_all_that_decides_what_a_task_does() -> None:
    """Another parameter, destination, module, family or code is another task."""
    key = node_key("m", "F", {"a": "1"}, "c", ("x",))
    others = [
        node_key("n", "F", {"a": "1"}, "c", ("x",)),
        node_key("m", "G", {"a": "1"}, "c", ("x",)),
        node_key("m", "F", {"a": "2"}, "c", ("x",)),
        node_key("m", "F", {"a": "1"}, "d", ("x",)),
        node_key("m", "F", {"a": "1"}, "c", ("x", "y")),
    ]
    assert len({key, *others}) == 6
    assert node_key("m", "F", {}, "c", ("x", "y")) == node_key("m", "F", {}, "c", ("y", "x"))


def test_graph_digest_covers_edges() -> None:
    """The same tasks in another order are another graph."""
    one = TaskNode("k1", "m", "F", "t1", "task", {})
    two = TaskNode("k2", "m", "F", "t2", "task", {})
    apart = graph_digest({"k1": one, "k2": two})
    joined = graph_digest({"k1": one, "k2": replace(two, deps=("k1",))})
    assert apart != joined


def test_sealed_values_never_show() -> None:
    """Clear values of masked parameters are in neither the stored form nor a repr."""
    node = TaskNode("k", "m", "F", "t", "task", {"p": "hmac-sha256:00"})
    sealed = {"k": {"p": "hunter2", LUIGI_ID: "F_hunter2_0"}}
    graph = TaskGraph("k", {"k": node}, "c", "d", sealed=sealed)
    assert "hunter2" not in str(graph.to_json()) + repr(graph)
    assert graph.clear_parameters("k") == {"p": "hunter2"}
    assert graph.luigi_id("k") == "F_hunter2_0"
    assert TaskGraph.from_json(graph.to_json()).nodes == graph.nodes


def test_no_parameter_can_be_taken_for_a_luigi_id() -> None:
    """Its place among the sealed values has a name that Python cannot give."""
    assert not LUIGI_ID.isidentifier()
    graph = TaskGraph("k", {"k": TaskNode("k", "m", "F", "t", "task", {})}, "c", "d")
    assert (graph.luigi_id("k"), graph.clear_parameters("k")) == ("t", {})


def test_a_graph_grows_beside_what_was_approved() -> None:
    """Tasks and sealed values come on top; the digest is still that of the approval."""
    one = TaskNode("k1", "m", "F", "t1", "task", {})
    graph = TaskGraph("k1", {"k1": one}, "c", "d", sealed={"k1": {"p": "1"}})
    grown = graph.grown([replace(one, key="k2")], {"k2": {"p": "2"}})
    assert (list(grown.nodes), grown.digest, list(graph.nodes)) == (["k1", "k2"], "d", ["k1"])
    assert grown.sealed == {"k1": {"p": "1"}, "k2": {"p": "2"}}
