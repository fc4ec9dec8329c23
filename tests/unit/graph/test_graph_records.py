"""Every field of what the guest says is checked: one wrong value, and there is no graph."""

from __future__ import annotations

from typing import Any

import pytest
from graph_records import record

from gateway.graph.failures import Unresolvable
from gateway.graph.records import parse_records

WRONG: list[tuple[str, Any]] = [
    ("module", "os; rm"),
    ("module", ""),
    ("module", "пайп"),
    ("module", "a" * 201),
    ("family", "A B"),
    ("family", "A\n"),
    ("family", None),
    ("task_id", "A-1"),
    ("task_id", ""),
    ("task_id", "A" * 401),
    ("kind", "root"),
    ("kind", ["task"]),
    ("parameters", []),
    ("parameters", {"a b": {"value": "1", "private": False}}),
    ("parameters", {"*": {"value": "1", "private": False}}),
    ("parameters", {"n": "1"}),
    ("parameters", {"n": {"value": 1, "private": False}}),
    ("parameters", {"n": {"value": "1", "private": 0}}),
    ("parameters", {"n": {"value": "1"}}),
    ("parameters", {"n": {"value": "\ud800", "private": False}}),
    ("parameters", {"n": {"value": "x" * 65_537, "private": False}}),
    ("parameters", {"n": {"value": "hmac-sha256:00", "private": False}}),
    ("parameters", {f"n{n}": {"value": "", "private": False} for n in range(201)}),
    ("egress", "web"),
    ("egress", ["Web"]),
    ("egress", [["web"]]),
    ("egress", ["web"] * 65),
    ("may_yield", {"P": 1}),
    ("may_yield", [["P", 0]]),
    ("may_yield", [["P", True]]),
    ("may_yield", [["P", 1], ["P", 2]]),
    ("may_yield", [["P"]]),
    ("may_yield", [[["P"], 1]]),
    ("deps", [1]),
    ("deps", [-1]),
    ("deps", [True]),
    ("deps", [0.0]),
    ("deps", {"0": 0}),
    ("deps", [0, 0]),
    ("priority", 1.5),
    ("priority", 2**31 + 1),
    ("resources", {"gpu": -1}),
    ("resources", {"g p u": 1}),
    ("resources", {"gpu": "1"}),
    ("retry_count", -1),
    ("worker_timeout", "60"),
    ("disabled", 0),
    ("disabled", None),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_records_refuse_a_wrong_value(name: str, value: Any) -> None:
    """Types, lengths, ranges and characters, field by field."""
    with pytest.raises(Unresolvable) as caught:
        parse_records([record("A") | {name: value}], max_nodes=9, max_edges=9)
    assert caught.value.detail == "result_invalid"


@pytest.mark.parametrize("nodes", [None, {}, [], "x", [None], [[]], [{}], [record("A") | {"x": 1}]])
def test_records_refuse_another_shape(nodes: Any) -> None:
    """Not a list, an empty one, or one of something else."""
    with pytest.raises(Unresolvable) as caught:
        parse_records(nodes, max_nodes=9, max_edges=9)
    assert caught.value.detail == "result_invalid"


@pytest.mark.parametrize("name", sorted(record("A")))
def test_records_refuse_a_missing_field(name: str) -> None:
    """Nothing has a default here."""
    incomplete = record("A")
    del incomplete[name]
    with pytest.raises(Unresolvable):
        parse_records([incomplete], max_nodes=9, max_edges=9)


def test_records_keep_possible_tasks_without_identity() -> None:
    """A possible task has neither id nor parameters."""
    good = record("P", kind="possible")
    assert parse_records([good], max_nodes=9, max_edges=9)[0].kind == "possible"
    for change in ({"task_id": "P_1"}, {"parameters": {"n": {"value": "1", "private": False}}}):
        with pytest.raises(Unresolvable):
            parse_records([good | change], max_nodes=9, max_edges=9)
