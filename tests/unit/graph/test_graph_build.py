"""From records to a graph: keys, masks, limits, order, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from graph_records import CODE, KEY, build, key_of, record

from gateway.canonical import keyed
from gateway.graph.failures import Unresolvable
from gateway.graph.records import MASK
from gateway.model import TaskGraph, graph_digest, node_key


def detail_of(*records: Any, **bounds: Any) -> str:
    """Return the reason for which records are refused."""
    with pytest.raises(Unresolvable) as caught:
        build(*records, **bounds)
    assert caught.value.code == "graph_unresolvable"
    return caught.value.detail


def test_build_computes_keys_as_the_model_fixes_them() -> None:
    """Module, family, masked parameters, code and egress: nothing of it comes from the guest."""
    graph = build(record("A", parameters={"n": "1"}, egress=["web", "bucket"]))
    (node,) = graph.nodes.values()
    assert node.key == node_key("pipe", "A", {"n": "1"}, CODE, ("bucket", "web"))
    assert graph.root == node.key
    assert graph.digest == graph_digest(graph.nodes)


def test_build_masks_what_is_private_or_not_shown() -> None:
    """Both become HMACs under the installation key; clear values are sealed beside the graph."""
    graph = build(record("A", parameters={"n": "1", "who": "ann"}, private={"token": "s3cret"}))
    (node,) = graph.nodes.values()
    value = {"module": "pipe", "family": "A", "name": "token", "value": "s3cret"}
    assert node.parameters["token"] == MASK + keyed(KEY, value)
    assert node.parameters["n"] == "1"
    assert node.parameters["who"].startswith(MASK)
    assert graph.clear_parameters(node.key) == {"n": "1", "who": "ann", "token": "s3cret"}
    assert "s3cret" not in str(graph.to_json()) + repr(graph)


def test_build_shows_no_private_parameter_even_when_the_catalogue_lists_it() -> None:
    """The task's own word that a value is private cannot be overruled."""
    graph = build(record("A", private={"n": "1"}))
    assert graph.nodes[graph.root].parameters["n"].startswith(MASK)


def test_build_gives_two_private_values_two_keys() -> None:
    """Luigi sees one task; what runs differs, so the identity does."""
    one = build(record("A", private={"token": "a"})).root
    assert one != build(record("A", private={"token": "b"})).root


def test_build_merges_what_is_one_task() -> None:
    """Two records of one identity are one node; if they disagree, both are refused."""
    top = record("Top", 1, 2)
    graph = build(top, record("A"), record("A"))
    assert len(graph.nodes) == 2
    assert detail_of(top, record("A"), record("A", priority=1)) == "result_invalid"


def test_build_refuses_two_tasks_with_one_luigi_id() -> None:
    """Forged or by accident: Luigi's scheduler would run one and drop the other."""
    forged = record("A", parameters={"n": "2"}, task_id="A_1")
    with pytest.raises(Unresolvable, match=r"differ in n and have one Luigi task id") as caught:
        build(record("Top", 1, 2), record("A", parameters={"n": "1"}), forged)
    assert caught.value.detail == "luigi_id_collision"
    hidden = [record("A", private={"host": host}) for host in ("good", "evil")]
    assert detail_of(record("Top", 1, 2), *hidden) == "luigi_id_collision"


def test_build_orders_dependencies_first() -> None:
    """Whatever order the guest chose."""
    graph = build(record("Top", 1, 2), record("B", 2), record("A"))
    place = {node.family: number for number, node in enumerate(graph.nodes.values())}
    assert place["A"] < place["B"] < place["Top"]
    assert graph.edges == 3


def test_build_refuses_a_cycle_and_names_it() -> None:
    """The families, in the order in which they wait for each other."""
    with pytest.raises(Unresolvable, match="B needs C needs B") as caught:
        build(record("Top", 1), record("B", 2), record("C", 1, 3), record("D"))
    assert caught.value.detail == "cycle"


def test_build_does_not_depend_on_the_guests_numbering() -> None:
    """Renumbered records give the same graph, byte for byte."""
    one = build(record("Top", 1, 2), record("B", 2), record("A"))
    two = build(record("A"), record("Top", 0, 2), record("B", 0), root=1)
    assert one.to_json() == two.to_json()


def test_build_survives_its_own_json() -> None:
    """What is stored is what was built, except for the sealed values."""
    graph = build(record("Top", 1, may_yield={"P": 2}), record("P", kind="possible"))
    assert TaskGraph.from_json(graph.to_json()).to_json() == graph.to_json()


def test_build_counts_how_many_tasks_a_possible_node_stands_for() -> None:
    """The sum over all that may yield it; through a possible yielder, times its own number."""
    graph = build(
        record("Top", 1, 2),
        record("S", 3, parameters={"n": "1"}, may_yield={"P": 2}),
        record("S", 3, parameters={"n": "2"}, may_yield={"P": 2}),
        record("P", 4, kind="possible", may_yield={"Q": 5, "P": 3}),
        record("Q", kind="possible"),
    )
    possible = graph.nodes[key_of(graph, "P")]
    assert possible.limit == 4
    assert dict(possible.parameters) == {"*": "4"}
    assert graph.nodes[key_of(graph, "Q")].limit == 20


def test_build_lets_a_family_that_yields_itself_say_how_many() -> None:
    """Its own number is the total, where it is larger."""
    graph = build(
        record("Top", 1, may_yield={"P": 1}),
        record("P", kind="possible", may_yield={"P": 30}),
    )
    assert graph.nodes[key_of(graph, "P")].limit == 30


def test_build_bounds_possible_tasks_as_others() -> None:
    """May_yield cannot promise more tasks than a graph may have."""
    top = record("Top", 1, may_yield={"P": 101})
    assert detail_of(top, record("P", kind="possible")) == "too_many_tasks"
    self_yielding = record("P", kind="possible", may_yield={"P": 101})
    assert detail_of(record("Top", 1, may_yield={"P": 1}), self_yielding) == "too_many_tasks"


def test_build_holds_may_yield_and_edges_together() -> None:
    """A declared family without its node, or a node that nobody declared, is no answer."""
    assert detail_of(record("Top", may_yield={"P": 1})) == "result_invalid"
    assert detail_of(record("Top", 1), record("P", kind="possible")) == "result_invalid"
    twice = record("P", kind="possible"), record("P", kind="possible", egress=["web"])
    assert detail_of(record("Top", 1, 2, may_yield={"P": 1}), *twice) == "result_invalid"


def test_build_root_is_a_task() -> None:
    """A possible task cannot be launched; an index beyond the list is none."""
    assert detail_of(record("P", kind="possible")) == "result_invalid"
    assert detail_of(record("A"), root=1) == "result_invalid"
    assert detail_of(record("A"), root=-1) == "result_invalid"


def test_build_bounds_nodes_and_edges() -> None:
    """The message says the bound; the guest may have ignored it."""
    many = [record("Top", 1, 2, 3), *(record("A", parameters={"n": str(n)}) for n in range(3))]
    assert detail_of(*many, max_nodes=3) == "too_many_tasks"
    assert detail_of(*many, max_edges=2) == "too_many_edges"
