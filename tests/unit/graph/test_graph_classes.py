"""How data classes flow."""

from __future__ import annotations

import time

from graph_records import EMITS, build, key_of, record

from gateway.graph.classes import UNKNOWN, propagate
from gateway.model import TaskGraph


def carries(graph: TaskGraph, **options: object) -> dict[str, tuple[str, ...]]:
    """Return what each family carries."""
    given = {"emits": EMITS, **options}
    nodes = propagate(graph.nodes, **given)  # type: ignore[arg-type]
    return {node.family: node.carries for node in nodes.values()}


CHAIN = (
    record("Publish", 1, egress=["web"]),
    record("Join", 2, 3),
    record("People", egress=["warehouse"]),
    record("Notes", egress=["bucket"]),
)


def test_classes_follow_destinations_and_then_edges() -> None:
    """A task carries what its destinations emit and what its upstream carries, sorted."""
    assert carries(build(*CHAIN)) == {
        "People": ("pii",),
        "Notes": ("internal",),
        "Join": ("internal", "pii"),
        "Publish": ("internal", "pii"),
    }


def test_classes_of_the_workspace_reach_every_task() -> None:
    """What earlier launches may have left there, anybody may have read."""
    found = carries(build(*CHAIN), base=("internal",))
    assert found["People"] == ("internal", "pii")


def test_classes_of_a_destination_that_nobody_described_are_unknown() -> None:
    """No destination accepts that class, so such a task is refused by policy for good."""
    found = carries(build(record("Top", 1), record("A", egress=["elsewhere"])))
    assert found == {"A": (UNKNOWN,), "Top": (UNKNOWN,)}


def test_classes_flow_through_possible_tasks() -> None:
    """A task that may yield readers of the warehouse carries what they may learn."""
    graph = build(
        record("Top", 1, may_yield={"P": 3}),
        record("P", 2, kind="possible", may_yield={"Q": 1}),
        record("Q", kind="possible", egress=["warehouse"]),
    )
    assert carries(graph)["Top"] == ("pii",)


def test_classes_are_shed_by_the_listed_family_alone() -> None:
    """What it sheds does not reach its users; the same class by another way does."""
    graph = build(*CHAIN)
    assert carries(graph, declassified={"Join": {"pii"}})["Publish"] == ("internal",)
    assert carries(graph, declassified={"Notes": {"pii"}})["Publish"] == ("internal", "pii")


def test_classes_leave_graph_and_order_alone() -> None:
    """Only ``carries`` changes: keys, digest and order are what was built."""
    graph = build(*CHAIN)
    nodes = propagate(graph.nodes, emits={"warehouse": {"other"}, "bucket": (), "web": ()})
    assert list(nodes) == list(graph.nodes)
    assert nodes[key_of(graph, "Join")].deps == graph.nodes[key_of(graph, "Join")].deps


def test_classes_take_linear_time() -> None:
    """3,000 tasks in a chain, each with a destination: well under a second."""
    chain = [record("A", n + 1, parameters={"n": str(n)}, egress=["web"]) for n in range(2_999)]
    graph = build(*chain, record("End", egress=["warehouse"]), max_nodes=3_000, max_edges=3_000)
    began = time.monotonic()
    nodes = propagate(graph.nodes, emits=EMITS)
    assert time.monotonic() - began < 10
    assert {node.carries for node in nodes.values()} == {("pii",)}
