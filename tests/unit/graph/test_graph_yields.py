"""What a running task may yield, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
from graph_records import KEY, build, key_of, record

from gateway.errors import Rejected
from gateway.graph.yields import AdmittedYield, admit_yield
from gateway.model import LUIGI_ID, TaskGraph

# Report needs Split, which may yield Parts, which may yield Crumbs; Split needs Raw.
# Other stands aside; Late needs Split; Secret carries pii, which Parts do not.
GRAPH = build(
    record("Report", 1, 4, 5, 6),
    record("Split", 2, 3, may_yield={"Part": 2}),
    record("Raw", kind="external"),
    record("Part", 7, kind="possible", may_yield={"Crumb": 2}, egress=["bucket"]),
    record("Other", parameters={"n": "0"}),
    record("Late", 1),
    record("Secret", egress=["warehouse"]),
    record("Crumb", kind="possible"),
    shown=("n",),
)
SPLIT = key_of(GRAPH, "Split")
PART = key_of(GRAPH, "Part")
CRUMB = record("Crumb", kind="possible")


def part(n: int, *deps: int, **fields: Any) -> dict[str, Any]:
    """Return an instance of Part; its possible Crumb is the record before the last number."""
    given = {"egress": ["bucket"], "parameters": {"n": str(n)}, **fields}
    return record("Part", *deps, **given)


def admit(
    *records: dict[str, Any],
    roots: list[int] | None = None,
    graph: TaskGraph = GRAPH,
    yielder: str = SPLIT,
    instances: frozenset[str] = frozenset(),
) -> AdmittedYield:
    """Admit a yield; by default every record was yielded."""
    listed = list(range(len(records))) if roots is None else roots
    raw = {"roots": listed, "nodes": list(records)}
    return admit_yield(graph, yielder, raw, instances, installation_key=KEY)


def refused(*records: dict[str, Any], **more: Any) -> str:
    """Return why a yield is not admitted."""
    with pytest.raises(Rejected) as caught:
        admit(*records, **more)
    assert caught.value.code == "yield_outside_graph"
    assert caught.value.step == "run"
    return caught.value.public_message


def grown(graph: TaskGraph, admitted: AdmittedYield) -> TaskGraph:
    """Return the graph with what was admitted."""
    return graph.grown(admitted[0], admitted[2])


def test_yields_of_a_declared_family_become_nodes() -> None:
    """Same module, family and egress: a node with a key of its own and the approved classes."""
    nodes, roots, sealed = admit(part(1), part(2, private={"token": "s3cret"}))
    assert [node.kind for node in nodes] == ["task", "task"]
    assert set(roots) == {node.key for node in nodes}
    assert {node.carries for node in nodes} == {("internal",)}
    assert {node.parameters["n"] for node in nodes} == {"1", "2"}
    ((values),) = sealed.values()
    assert values == {"token": "s3cret", LUIGI_ID: "Part_2"}
    assert "s3cret" not in str([node.to_json() for node in nodes])


def test_yields_of_what_the_task_waits_for_anyway_are_no_news() -> None:
    """Luigi's custom: a task yields what it also requires."""
    nodes, roots, _ = admit(record("Raw", kind="external"))
    assert nodes == []
    assert roots == [key_of(GRAPH, "Raw")]


def test_yields_outside_the_declaration_are_refused() -> None:
    """An unknown family, a task that stands aside, and one that waits for the yielder."""
    assert "Stranger is neither in the graph nor in may_yield" in refused(record("Stranger"))
    assert "Other is no task that it may wait for" in refused(
        record("Other", parameters={"n": "0"})
    )
    late = refused(
        record("Late", 1),
        record("Split", 2, 3, may_yield={"Part": 2}),
        record("Raw", kind="external"),
        record("Part", 4, kind="possible", may_yield={"Crumb": 2}, egress=["bucket"]),
        CRUMB,
        roots=[0],
    )
    assert "Late is no task that it may wait for" in late


def test_yields_with_another_egress_or_module_are_refused() -> None:
    """The same name with more reach is not what was approved."""
    assert "another egress" in refused(part(1, egress=["bucket", "web"]))
    assert "another egress" in refused(part(1, egress=[]))
    assert "neither in the graph" in refused(part(1, module="other"))


def test_yields_beyond_the_number_are_refused() -> None:
    """Distinct tasks count, over the whole launch; the same ones again do not."""
    assert "more than 2 tasks Part" in refused(part(1), part(2), part(3))
    first = admit(part(1), part(2))
    graph, instances = grown(GRAPH, first), frozenset(first[1])
    nodes, roots, _ = admit(part(2), part(1), graph=graph, instances=instances)
    assert nodes == []
    assert set(roots) == instances
    assert "more than 2" in refused(part(3), graph=graph, instances=instances)


def test_yields_may_wait_for_what_carries_no_more() -> None:
    """An instance may need an approved task, unless that brings in a class or waits itself."""
    nodes, _, _ = admit(part(1, 1), record("Other", parameters={"n": "0"}), roots=[0])
    assert nodes[0].deps == (key_of(GRAPH, "Other"),)
    secret = record("Secret", egress=["warehouse"])
    assert "Part may not wait for Secret" in refused(part(1, 1), secret, roots=[0])
    report = [
        part(1, 1),
        record("Late", 2),
        record("Split", 3, 4, may_yield={"Part": 2}),
        record("Raw", kind="external"),
        record("Part", 5, kind="possible", may_yield={"Crumb": 2}, egress=["bucket"]),
        CRUMB,
    ]
    assert "Part may not wait for Late" in refused(*report, roots=[0])


def test_yields_may_wait_for_other_declared_families() -> None:
    """Requirements of an instance are instances themselves, counted and judged alike."""
    nodes, roots, _ = admit(part(1, 1), record("Crumb", parameters={"n": "7"}), roots=[0])
    assert [node.family for node in nodes] == ["Crumb", "Part"]
    assert roots == [nodes[1].key]
    assert "neither in the graph" in refused(part(1, 1), record("Stranger"), roots=[0])


def test_yields_may_declare_no_more_than_their_family() -> None:
    """An instance keeps the may_yield that was approved for its family."""
    nodes, _, _ = admit(part(1, 1, may_yield={"Crumb": 2}), CRUMB, roots=[0])
    assert nodes[0].deps == (key_of(GRAPH, "Crumb"),)
    undeclared = record("Ghost", kind="possible")
    told = refused(part(1, 1, may_yield={"Ghost": 1}), undeclared, roots=[0])
    assert "Ghost was declared by no task" in told
    other = record("Part", 1, kind="possible", may_yield={"Crumb": 2}, egress=["bucket"])
    crumb = record("Crumb", 1, parameters={"n": "1"}, may_yield={"Part": 1})
    assert "Crumb may not yield Part" in refused(crumb, {**other, "deps": [2]}, CRUMB, roots=[0])


def test_yields_of_an_instance_reach_as_far_as_its_family() -> None:
    """A Part that was yielded may yield Crumbs, and still no Part."""
    first = admit(part(1, 1, may_yield={"Crumb": 2}), CRUMB, roots=[0])
    graph, instances = grown(GRAPH, first), frozenset(first[1])
    crumb = record("Crumb", parameters={"n": "1"})
    again = {"graph": graph, "yielder": first[1][0], "instances": instances}
    assert [node.family for node in admit(crumb, **again)[0]] == ["Crumb"]
    assert "neither in the graph nor in may_yield" in refused(part(2), **again)


def test_yields_count_only_what_was_yielded() -> None:
    """Records beside the yield are not admitted with it, and a possible task is none to yield."""
    nodes, _, _ = admit(part(1), part(2), part(3), record("Stranger"), roots=[0])
    assert len(nodes) == 1
    assert "Crumb is no task" in refused(CRUMB)


def test_yields_of_a_known_task_must_fit_the_declaration_too() -> None:
    """A task of the graph of a declared family is none if it waits, or carries more."""
    split = record("Split", 2, may_yield={"Part": 5})
    possible = record("Part", kind="possible", egress=["bucket"])
    secret = record("Secret", egress=["warehouse"])

    def graph(of_part: list[int]) -> TaskGraph:
        return build(record("Top", 1, 4), split, possible, secret, part(9, *of_part))

    def part_of(found: TaskGraph) -> list[str]:
        return admit(part(9), graph=found, yielder=key_of(found, "Split"))[1]

    aside = graph([])
    assert part_of(aside) == [key_of(aside, "Part", n="9")]
    waiting = graph([1])
    told = refused(
        part(9, 1), split, possible, graph=waiting, yielder=key_of(waiting, "Split"), roots=[0]
    )
    assert "Part is no task that it may wait for" in told
    knowing = graph([3])
    told = refused(part(9, 1), secret, graph=knowing, yielder=key_of(knowing, "Split"), roots=[0])
    assert "Part is no task that it may wait for" in told


def test_yields_with_a_forged_luigi_id_are_refused() -> None:
    """A new task with the id of an approved one would take its place in Luigi's scheduler."""
    assert "one Luigi task id" in refused(part(1, task_id="Raw_"))


def test_yields_that_wait_for_each_other_are_refused() -> None:
    """A cycle among them would never end."""
    assert "wait for each other" in refused(part(1, 1), part(2, 0))


def test_yields_that_are_known_must_be_unchanged() -> None:
    """A task of the graph with other requirements than approved has drifted."""
    drifted = record("Raw", 1, kind="external"), record("Other", parameters={"n": "0"})
    assert "waits for other tasks than were approved" in refused(*drifted, roots=[0])


@pytest.mark.parametrize(
    "raw",
    [{}, {"roots": [0]}, {"roots": 0, "nodes": [part(1)]}, {"roots": [1], "nodes": [part(1)]}],
)
def test_yields_that_are_no_yields_are_refused(raw: dict[str, Any]) -> None:
    """The guest may say anything; it ends as a reason, never as a fault of ours."""
    with pytest.raises(Rejected) as caught:
        admit_yield(GRAPH, SPLIT, raw, frozenset(), installation_key=KEY)
    assert caught.value.code == "yield_outside_graph"
