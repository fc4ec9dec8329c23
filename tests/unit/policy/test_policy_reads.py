"""What rules can read, and that asking each distinct thing once changes no answer."""

from __future__ import annotations

import pytest
from policy_kit import files, module, plans

from gateway.policy.compiler import DENY
from gateway.policy.distinct import distinct
from gateway.policy.engine import Question
from gateway.policy.plan import read_plan
from gateway.policy.reads import Path, paths_read, value_at

HELPER = "helper if input.history.running > 3\n"
FUNCTION = "f(t) if t.limit > 1\n"

# name -> (condition, rules beside it, what counts as read)
CASES = {
    "fields": ("input.task.family == input.principal.kind", "", {"task.family", "principal.kind"}),
    "whether it is there": ("input.task.resources.db", "", {"task.resources.db"}),
    "items of a list": ("some d in input.task.destinations; d.known", "", {"task.destinations"}),
    "a computed field": ("input.task.parameters[input.time]", "", {"task.parameters", "time"}),
    "behind a variable": ("t := input.task; t.limit > 1", "", {"task"}),
    "given to a function": ("f(input.task)", FUNCTION, {"task"}),
    "looked into and given away": ("f(input.task); input.task.limit > 1", FUNCTION, {"task"}),
    "given to a builtin": ("count(input.task.carries) > 1", "", {"task.carries"}),
    "iterated over": ("some k, v in input.request; k == v", "", {"request"}),
    "everything": ('object.get(input, "x", 1) == 1', "", {""}),
    "in another rule": ("helper", HELPER, {"history.running"}),
    "under not": ("not input.time in input.task.carries", "", {"time", "task.carries"}),
    "in a comprehension": ("count([c | some c in input.task.carries]) > 1", "", {"task.carries"}),
    "in every": ("every c in input.chain { c.kind == input.time }", "", {"chain", "time"}),
    "in the head": ("v := input.task.limit", "", {"task.limit"}),
}


@pytest.fixture(scope="module")
def read() -> dict[str, tuple[Path, ...]]:
    """Return what each case reads, from its compiled form."""
    cases = {
        name: files(
            task__rego=module(
                "task", f'deny contains {{"rule": "x"}} if {{ {condition} }}\n\n{beside}'
            )
        )
        for name, (condition, beside, _) in CASES.items()
    }
    return {name: paths_read(plan, DENY[1:2]) for name, plan in plans(cases).items()}


@pytest.mark.parametrize("name", CASES)
def test_policy_reads_are_found(name: str, read: dict[str, tuple[Path, ...]]) -> None:
    """Whatever decides an answer is among what counts as read, by field or as a whole."""
    assert {".".join(path) for path in read[name]} == CASES[name][2]


def test_policy_reads_a_look_up_that_goes_nowhere_counts() -> None:
    """Whether a field is there at all is a condition, even when its value is not used."""
    look_up = {
        "type": "DotStmt",
        "stmt": {
            "source": {"type": "local", "value": 0},
            "key": {"type": "string_index", "value": 0},
            "target": 3,
            "file": 0,
            "row": 0,
            "col": 0,
        },
    }
    function = {
        "name": "g0.data.sluice.task.deny",
        "params": [0, 1],
        "return": 2,
        "blocks": [{"stmts": [look_up]}],
    }
    static = {"files": [{"value": "task.rego"}], "strings": [{"value": "time"}]}
    plan = read_plan({"static": static, "funcs": {"funcs": [function]}})
    assert paths_read(plan, DENY[1:2]) == (("time",),)


def test_policy_reads_tell_nothing_from_null() -> None:
    """A field that is not there differs from one that is null or empty."""
    assert value_at({"a": {"b": None}}, ("a", "b")) == [None]
    assert value_at({"a": {}}, ("a", "b")) == []
    assert value_at({"a": []}, ("a", "b")) == []
    assert value_at(5, ()) == [5]


def test_policy_distinct_asks_each_thing_once() -> None:
    """Parts that agree in all that is read share a place; others do not."""
    parts = [{"task": {"family": name, "key": str(n)}} for n, name in enumerate("abaab")]
    ada = Question("task", {"principal": {"kind": "human", "account": "ada"}}, parts)
    ben = Question("task", {"principal": {"kind": "human", "account": "ben"}}, parts)
    bot = Question("task", {"principal": {"kind": "agent", "account": "bot"}}, parts)
    paths = {"task": (("principal", "kind"), ("task", "family"))}
    left, places = distinct([ada, ben, bot], paths)
    assert [len(question.parts) for question in left] == [2, 0, 2]
    assert places[0] == places[1] == [(0, 0), (0, 1), (0, 0), (0, 0), (0, 1)]
    assert places[2] == [(2, 0), (2, 1), (2, 0), (2, 0), (2, 1)]


def test_policy_distinct_keeps_packages_and_whole_inputs_apart() -> None:
    """Two packages never share an answer, and what reads everything shares only with its equal."""
    task = Question("task", {"x": 1}, ({"y": 1}, {"y": 2}, {"y": 1}))
    launch = Question("launch", {"x": 1}, ({"y": 1},))
    left, places = distinct([task, launch], {"task": ((),), "launch": ((),)})
    assert [len(question.parts) for question in left] == [2, 1]
    assert places == [[(0, 0), (0, 1), (0, 0)], [(1, 0)]]
