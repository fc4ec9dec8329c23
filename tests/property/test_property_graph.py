"""Laws of digests, graphs and data classes that hold for any input."""

from __future__ import annotations

import random
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.graph.build import Masking, build_graph
from gateway.graph.classes import propagate
from gateway.graph.code import code_digest, materialise, read_tree
from gateway.graph.failures import Unresolvable
from gateway.guest.tree_digest import check
from gateway.model import TaskGraph

NAME = st.text("abcdeé日_", min_size=1, max_size=4)
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join)
FILES = st.dictionaries(PATH, st.binary(max_size=20), max_size=6)
CLASSES = ("pii", "internal", "payment")


def is_tree(files: dict[str, bytes]) -> bool:
    """Whether no file is also a folder of another."""
    return not any(other.startswith(name + "/") for name in files for other in files)


@given(FILES, FILES)
def test_code_digests_are_equal_for_equal_trees_alone(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    """Injective up to SHA-256: no bytes can move between a name and a content, or two files."""
    assert (code_digest(one) == code_digest(other)) == (one == other)


@settings(max_examples=30, deadline=None)
@given(FILES.filter(is_tree))
def test_code_digests_survive_the_disk_and_the_guest(files: dict[str, bytes]) -> None:
    """Written, read, kept and checked by the guest: one digest."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "source")
        source.mkdir()
        for path, data in files.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(data)
        tree = read_tree(source)
        assert tree.digest == code_digest(files)
        kept = materialise(tree, Path(name, "store"))
        check(str(kept), tree.digest)
        for folder in (kept, *kept.rglob("*")):
            folder.chmod(0o755)


@st.composite
def graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw records of an acyclic graph in which all hang below the first."""
    count = draw(st.integers(1, 12))
    records = []
    for index in range(count):
        below = list(range(index + 1, count))
        deps = draw(st.lists(st.sampled_from(below), unique=True)) if below else []
        records.append(
            {
                "module": "pipe",
                "family": draw(st.sampled_from(["A", "B"])),
                "task_id": f"T_{index}",
                "kind": "task",
                "parameters": {"n": {"value": str(index), "private": draw(st.booleans())}},
                "egress": draw(st.lists(st.sampled_from(["one", "two", "new"]), unique=True)),
                "may_yield": [],
                "deps": deps,
                "priority": 0,
                "resources": {},
                "retry_count": None,
                "worker_timeout": None,
                "disabled": False,
            }
        )
    return records


def build(records: Any, root: Any = 0) -> TaskGraph:
    """Build a graph with fixed surroundings."""
    return build_graph(
        {"root": root, "nodes": records},
        masking=Masking(b"k" * 32, {"n"}),
        code_digest="c" * 64,
        max_nodes=50,
        max_edges=200,
    )


@given(graphs(), st.randoms(use_true_random=False))
def test_graphs_do_not_depend_on_numbering(
    records: list[dict[str, Any]], shuffle: random.Random
) -> None:
    """Any order of the records gives the same graph, to the byte."""
    order = list(range(len(records)))
    shuffle.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    moved = [
        {**records[old], "deps": [place[dep] for dep in records[old]["deps"]]} for old in order
    ]
    assert build(moved, place[0]).to_json() == build(records).to_json()


@given(graphs(), st.data())
def test_graphs_change_their_digest_with_any_edge_or_value(
    records: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Digest and keys cover egress, parameters and edges."""
    before = build(records)
    changed = [dict(item) for item in records]
    item = changed[data.draw(st.integers(0, len(changed) - 1))]
    match data.draw(st.sampled_from(["value", "egress", "dep"])):
        case "value":
            item["parameters"] = {"n": {"value": "other", "private": False}}
        case "egress":
            item["egress"] = [*item["egress"], "more"]
        case "dep":
            leaf = {**changed[-1], "task_id": "T_new", "deps": []}
            leaf["parameters"] = {"n": {"value": "new", "private": False}}
            changed.append(leaf)
            item["deps"] = [*item["deps"], len(changed) - 1]
    assert build(changed).digest != before.digest


EMITS = st.dictionaries(
    st.sampled_from(["one", "two"]), st.sets(st.sampled_from(CLASSES)), max_size=2
)


@given(graphs(), EMITS, st.sets(st.sampled_from(CLASSES)))
def test_classes_only_add_up_along_edges(
    records: list[dict[str, Any]], emits: dict[str, set[str]], base: set[str]
) -> None:
    """A task carries everything that its dependencies carry, what it reads, and the base."""
    nodes = propagate(build(records).nodes, emits=emits, base=base)
    for node in nodes.values():
        carries = set(node.carries)
        assert base <= carries
        for dep in node.deps:
            assert set(nodes[dep].carries) <= carries
        for name in node.egress:
            assert set(emits.get(name, {"unknown"})) <= carries


@given(graphs(), EMITS)
def test_classes_come_from_somewhere(
    records: list[dict[str, Any]], emits: dict[str, set[str]]
) -> None:
    """Nothing is carried that no destination at or above the task emits."""
    nodes = propagate(build(records).nodes, emits=emits)
    sources: dict[str, set[str]] = {}
    for key, node in nodes.items():
        own = {item for name in node.egress for item in emits.get(name, {"unknown"})}
        sources[key] = own.union(*(sources[dep] for dep in node.deps))
        assert set(node.carries) == sources[key]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(graphs(), st.data())
def test_graphs_of_a_lying_guest_are_refused_or_built(
    records: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Any value in any field ends as a graph or as a reason: never as a fault of ours."""
    item = records[data.draw(st.integers(0, len(records) - 1))]
    item[data.draw(st.sampled_from(sorted(item)))] = data.draw(JSON)
    root = data.draw(st.just(0) | JSON)
    with suppress(Unresolvable):
        build(records, root)
