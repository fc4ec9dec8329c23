"""Luigi's id of a task spells its parameters out: with masked ones it is sealed, as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from graph_records import CODE, KEY, build, key_of, record

from gateway.canonical import encode, sha256
from gateway.errors import Rejected
from gateway.graph.failures import Unresolvable
from gateway.graph.yields import AdmittedYield, admit_yield
from gateway.keys import KeyRing
from gateway.model import TaskGraph, TaskNode
from gateway.policy.inputs import task_input
from gateway.runs.executor import Assignment
from gateway.store import launches
from gateway.store.connection import open_writer
from tests.fixtures.luigi_ids import luigi_id

TOKEN = "c0ffee-c0ffee-c0ffee"
SPELLED = "c0ffee_c0ffee_c0"  # of the token, in Luigi's id


def masked(family: str, *deps: int, **more: Any) -> dict[str, Any]:
    """Return the record of a task whose token the catalogue does not show, but Luigi spells."""
    given = {"n": "1", "token": TOKEN}
    return record(
        family, *deps, **{"parameters": given, "task_id": luigi_id(family, **given), **more}
    )


@pytest.fixture
def graph() -> TaskGraph:
    """Return a task with the token that waits for another one, and may yield more."""
    return build(
        masked("Top", 1, 2, 3, may_yield={"Part": 2}),
        masked("Low"),
        record("Plain", parameters={"n": "1"}),
        record("Part", kind="possible"),
    )


def ids(graph: TaskGraph) -> dict[str, str]:
    """Return what Luigi calls each task, by family."""
    return {node.family: graph.luigi_id(key) for key, node in graph.nodes.items()}


def shows(text: str, graph: TaskGraph) -> bool:
    """Whether a text has the token, the beginning of it, or an id by which it could be guessed."""
    hashes = [ids(graph)[family].rpartition("_")[2] for family in ("Top", "Low")]
    return any(word in text for word in (TOKEN[:6], SPELLED, *hashes))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    """Return the launches' tables in a file, and its folder."""
    with closing(open_writer(tmp_path / "sluice.db")) as connection:
        for statement in launches.SCHEMA:
            connection.execute(statement)
        yield connection, tmp_path


def test_luigi_ids_with_masked_values_are_public_ones(graph: TaskGraph) -> None:
    """Family and key stand in the node; a task that shows everything keeps Luigi's."""
    nodes = {node.family: node for node in graph.nodes.values()}
    assert nodes["Top"].task_id == f"Top_{graph.root[:10]}"
    assert nodes["Plain"].task_id == "Plain_1"
    assert ids(graph) == {
        "Top": luigi_id("Top", n="1", token=TOKEN),
        "Low": luigi_id("Low", n="1", token=TOKEN),
        "Plain": "Plain_1",
        "Part": "",
    }
    assert shows(ids(graph)["Top"].rpartition("_")[0], graph)


def test_luigi_ids_are_in_nothing_that_is_stored_or_asked(graph: TaskGraph) -> None:
    """Neither value, nor what the id spells of it, nor the hash: in node, graph, policy, repr."""
    for node in graph.nodes.values():
        assert not shows(str(node.to_json()), graph)
        assert not shows(str(task_input(node, {})), graph)
    assert not shows(str(graph.to_json()), graph)
    assert not shows(repr(graph), graph)
    assert not shows(repr(Assignment.of(graph, graph.root)), graph)


def test_luigi_ids_are_at_rest_sealed(graph: TaskGraph, database: tuple[Any, Path]) -> None:
    """The bytes of the database, its write-ahead log too; and they come back from the seal."""
    connection, folder = database
    keys = KeyRing.open(folder / "keys")
    data = encode(graph.to_json())
    seal = keys.seal({key: dict(values) for key, values in graph.sealed.items()}, "l")
    launches.put_graph(connection, "l", data, seal)
    written = [path.read_bytes() for path in folder.glob("sluice.db*")]
    assert any(data in text for text in written)
    assert not any(shows(text.decode("latin-1"), graph) for text in written)
    stored = launches.get_graph(connection, sha256(data))
    sealed: Any = keys.unseal(launches.get_sealed(connection, "l") or b"", "l")
    again = TaskGraph(stored.root, stored.nodes, CODE, stored.digest, sealed)
    assert ids(again) == ids(graph)


def test_luigi_ids_reach_the_task_itself(graph: TaskGraph) -> None:
    """Its process compares them, its own and those of what it waits for; they are no parameters."""
    told = Assignment.of(graph, graph.root).to_json()
    assert told["task_id"] == ids(graph)["Top"]
    assert told["parameters"] == {"n": "1", "token": TOKEN}
    deps = told["deps"]
    assert isinstance(deps, list)
    assert set(deps) == {ids(graph)["Low"], "Plain_1"}


def test_luigi_ids_of_an_earlier_version_still_serve() -> None:
    """It stored them in the node, and sealed values alone: a run goes on across the upgrade."""
    node = TaskNode("k", "pipe", "Old", "Old_old_1", "task", {"token": "hmac-sha256:00"})
    old = TaskGraph("k", {"k": node}, CODE, "d", sealed={"k": {"token": "old"}})
    told = Assignment.of(old, "k").to_json()
    assert (told["task_id"], told["parameters"]) == ("Old_old_1", {"token": "old"})


def test_luigi_ids_that_are_equal_are_refused_masked_too() -> None:
    """Public ids differ, Luigi's do not: its scheduler would run one task and drop the other."""
    same = luigi_id("Low", n="1", token=TOKEN)
    two = masked("Low"), masked("Low", parameters={"n": "1", "token": "other"}, task_id=same)
    with pytest.raises(Unresolvable, match=r"differ in token and have one Luigi task id") as caught:
        build(record("Top", 1, 2), *two)
    assert caught.value.detail == "luigi_id_collision"
    assert SPELLED not in caught.value.public_message
    plain = record("Low", parameters={"n": "2"}, task_id=same)
    with pytest.raises(Unresolvable, match="one Luigi task id"):
        build(record("Top", 1, 2), masked("Low"), plain)


def test_luigi_ids_of_one_task_are_one() -> None:
    """A guest that says two ids of one masked task lies in one of them."""
    with pytest.raises(Unresolvable, match="two different things about one task"):
        build(record("Top", 1, 2), masked("Low"), masked("Low", task_id="Low_forged"))


def admit(graph: TaskGraph, *records: dict[str, Any], roots: tuple[int, ...]) -> AdmittedYield:
    """Admit what Top yields."""
    raw = {"roots": list(roots), "nodes": list(records)}
    return admit_yield(graph, graph.root, raw, frozenset(), installation_key=KEY)


def test_luigi_ids_of_yielded_tasks_are_sealed(graph: TaskGraph) -> None:
    """In their nodes, which the log gets, stands a public id; their processes get Luigi's."""
    part = masked("Part", 1)
    nodes, roots, sealed = admit(graph, part, masked("Low"), roots=(0,))
    assert [node.task_id for node in nodes] == [f"Part_{roots[0][:10]}"]
    assert not shows(str([node.to_json() for node in nodes]), graph)
    grown = graph.grown(nodes, sealed)
    told = Assignment.of(grown, roots[0]).to_json()
    assert (told["task_id"], told["deps"]) == (part["task_id"], [ids(graph)["Low"]])
    assert told["parameters"] == {"n": "1", "token": TOKEN}
    assert admit(grown, part, masked("Low"), roots=(0,)) == ([], roots, {})


@pytest.mark.parametrize("taken", ["Low", "Part"])
def test_luigi_ids_of_yielded_tasks_may_not_be_taken(graph: TaskGraph, taken: str) -> None:
    """By an approved task, or by another one of the same yield, though both are masked."""
    other = {"n": "1", "token": "another"}
    forged = masked("Part", parameters=other, task_id=luigi_id(taken, n="1", token=TOKEN))
    with pytest.raises(Rejected, match="one Luigi task id"):
        admit(graph, masked("Part"), forged, roots=(0, 1))


def test_luigi_ids_in_the_graph_are_of_the_right_node(graph: TaskGraph) -> None:
    """Each node is treated on its own: who waits for a masked task may show everything."""
    top = build(record("Top", 1), masked("Low"))
    assert top.nodes[top.root].task_id == "Top_"
    assert set(top.sealed) == {key_of(top, "Low")}
    assert not shows(str(top.to_json()), graph)
