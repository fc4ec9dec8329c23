"""The bookkeeping of a run: what a driver is told, and what people are told at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.model import LUIGI_ID, Receipt, TaskGraph, TaskNode
from gateway.runs.book import Book
from gateway.runs.executor import Outcome, RunOrder
from gateway.runs.protocol import Finished, PlanSettings

SETTINGS = PlanSettings(4, 2, 1.0, 0)
MASK = "hmac-sha256:"


def node(key: str, *deps: str, **more: Any) -> TaskNode:
    """Return a task of family ``Key`` with key ``key``."""
    fields: dict[str, Any] = {"kind": "task", "parameters": {}, **more}
    return TaskNode(key=key, module="m", family=key.capitalize(), task_id=key, deps=deps, **fields)


def book(*nodes: TaskNode, sealed: Mapping[str, Any] | None = None, **more: Any) -> Book:
    """Return the book of a run whose root is the last node."""
    graph = TaskGraph(
        root=nodes[-1].key,
        nodes={item.key: item for item in nodes},
        code_digest="c",
        digest="d",
        sealed=sealed or {},
    )
    order = RunOrder(
        launch_id="l",
        graph=graph,
        code_path=Path("code"),
        code_digest="c",
        module="m",
        workspace=Path("workspace"),
        scratch=Path("scratch"),
        receipt=Receipt(1, "e", "h", "v"),
        **more,
    )
    return Book(order, retry_count=2)


def answered(found: Book, **answers: bool | str) -> Book:
    """Let ``complete()`` have said something; False where nothing is given."""
    nodes = tuple(found.graph.nodes.values())
    found.answer(
        nodes, {q.node.key: answers.get(q.node.key, False) for q in found.questions(nodes)}
    )
    return found


def planned(found: Book) -> dict[str, Any]:
    """Return the plan's nodes by key."""
    return {item.key: item for item in found.plan(SETTINGS).nodes}


def test_who_is_asked() -> None:
    """Tasks and external data are asked; wrappers, possible, done and declassifying ones not."""
    found = book(
        node("task"),
        node("data", kind="external"),
        node("maybe", kind="possible"),
        node("done"),
        node("cleans"),
        node("wrap", "task", kind="wrapper"),
        done=frozenset({"done"}),
        declassifying=frozenset({"cleans"}),
    )
    assert [q.node.key for q in found.questions(found.graph.nodes.values())] == ["task", "data"]


def test_wrapper_is_complete_when_all_below_is() -> None:
    """Wrappers over wrappers are worked out in one pass; possible nodes do not count."""
    nodes = (
        node("a"),
        node("maybe", kind="possible"),
        node("inner", "a", "maybe", kind="wrapper"),
        node("outer", "inner", kind="wrapper"),
    )
    assert planned(answered(book(*nodes), a=True))["outer"].complete is True
    assert planned(answered(book(*nodes), a=False))["outer"].complete is False


def test_declassifying_task_counts_as_incomplete() -> None:
    """Even a wrapper of a declassifying task is not complete before the task has run."""
    found = book(
        node("cleans"), node("wrap", "cleans", kind="wrapper"), declassifying=frozenset({"cleans"})
    )
    assert planned(answered(found, cleans=True))["wrap"].complete is False


def test_completeness_that_raised() -> None:
    """A complete() that raised is neither yes nor no, and its text stays here."""
    found = answered(book(node("a")), a="OSError: no route")
    assert planned(found)["a"].complete is None


def test_dependencies_in_clear() -> None:
    """An assignment has all parameters in clear, and the Luigi ids of the real dependencies."""
    found = book(
        node("a"),
        node("maybe", kind="possible"),
        node("root", "a", "maybe", parameters={"p": MASK + "0", "q": "shown"}),
        sealed={"root": {"p": "secret"}},
    )
    task = found.questions([found.graph.nodes["root"]])[0]
    assert task.parameters == {"p": "secret", "q": "shown"}
    assert task.deps == ("a",)
    assert "secret" not in repr(task)


def test_failures_outlive_a_driver() -> None:
    """For the next driver attempts go on counting, and failures still count against retries."""
    found = answered(book(node("a"), node("own", retry_count=5), node("root", "a", "own")))
    for key in ("a", "own"):
        found.started(key, 1)
        found.ended(key, Outcome("FAILED", "why"))
    plan = planned(found)
    assert (plan["a"].attempts, plan["a"].retry_count, plan["a"].disabled) == (1, 1, False)
    assert plan["own"].retry_count == 4
    found.started("a", 2)
    found.ended("a", Outcome("FAILED", "why"))
    assert planned(found)["a"].disabled is True
    assert planned(found)["root"].retry_count is None


def test_done_outlives_a_driver() -> None:
    """For the next driver, what was done is complete."""
    found = answered(book(node("a"), node("root", "a")))
    found.ended("a", Outcome("DONE"))
    assert planned(found)["a"].complete is True


def test_success() -> None:
    """A run succeeds when Luigi says so and the root is complete."""
    found = answered(book(node("root")))
    found.ended("root", Outcome("DONE", outputs=("/workspace/out",)))
    assert found.verdict(Finished("SUCCESS", {})) == ("succeeded", "1 task done")
    assert found.outputs() == ("/workspace/out",)


def test_disabled_root() -> None:
    """Luigi calls a run whose root is disabled a success; we do not."""
    found = answered(book(node("root", disabled=True)))
    verdict = found.verdict(Finished("SUCCESS", {"root": "DISABLED"}))
    assert verdict == ("failed", "1 task disabled: Root")


@pytest.mark.parametrize(
    "why", ["", "ValueError: no table", "Traceback\n  File x\nValueError: no table\n"]
)
def test_failure_is_named_by_its_last_line(why: str) -> None:
    """The reason names the task and takes the last line of what it said."""
    found = answered(book(node("bad"), node("root", "bad")))
    found.ended("bad", Outcome("FAILED", why))
    end = Finished("FAILED", {"bad": "DISABLED", "root": "PENDING"})
    text = " (ValueError: no table)" if why else ""
    assert found.verdict(end) == ("failed", f"1 task failed: Bad{text}")


def test_many_failures_are_counted() -> None:
    """A reason names three tasks and counts the others."""
    keys = [f"t{i}" for i in range(7)]
    found = answered(book(*map(node, keys), node("root", *keys)))
    for key in keys:
        found.ended(key, Outcome("FAILED"))
    _, reason = found.verdict(Finished("FAILED", {}))
    assert reason == "7 tasks failed: T0, T1, T2, and 4 more"


def test_every_kind_of_hindrance_is_said() -> None:
    """What failed, what is unknown and what is missing all belong in the sentence."""
    found = answered(
        book(node("bad"), node("odd"), node("data", kind="external"), node("root")),
        odd="OSError: no route",
    )
    found.ended("bad", Outcome("FAILED", "crash"))
    states = {"bad": "DISABLED", "odd": "UNKNOWN", "data": "PENDING", "root": "PENDING"}
    _, reason = found.verdict(Finished("FAILED_AND_SCHEDULING_FAILED", states))
    assert reason == (
        "1 task failed: Bad (crash); "
        "1 task cannot be judged complete or not: Odd (OSError: no route); "
        "external data missing: Data"
    )


def test_resource_that_is_never_granted() -> None:
    """A task that needs more of a resource than there is says so."""
    found = answered(book(node("root", resources={"database": 2})))
    _, reason = found.verdict(Finished("NOT_RUN", {"root": "PENDING"}))
    assert reason == "1 task never started: Root (needs more than the 1 there is of database)"


def test_names_show_what_may_be_shown() -> None:
    """A name for people has the parameters in clear, and none of the masked ones."""
    found = book(node("root", parameters={"date": "2026-11-21", "token": MASK + "00"}))
    assert found.name("root") == "Root(date=2026-11-21)"


def test_masked_values_are_cut_out() -> None:
    """A text of a task loses the masked values of the task and of its dependencies."""
    found = book(
        node("a"), node("root", "a"), sealed={"a": {"p": "alpha"}, "root": {"q": "alphabet"}}
    )
    assert found.clean("root", "alphabet, alpha, beta") == "***, ***, beta"


def test_luigi_ids_are_cut_out_with_masked_values() -> None:
    """A traceback may name a task as Luigi does: with the beginning of a long value, and a hash."""
    sealed = {
        "a": {"p": "c0ffee-c0ffee-c0ffee", LUIGI_ID: "A_c0ffee_c0ffee_c0_0123456789"},
        "root": {"p": "x", LUIGI_ID: "Root_x_9876543210"},
    }
    found = book(node("a"), node("root", "a"), sealed=sealed)
    said = "Root_x_9876543210 needs A_c0ffee_c0ffee_c0_0123456789 of c0ffee-c0ffee-c0ffee"
    assert found.clean("root", said) == "*** needs *** of ***"


def test_going_in_circles() -> None:
    """A task that yields only complete tasks twice in a row would be run again for ever."""
    found = answered(book(node("a"), node("b"), node("root")), a=True)
    assert not found.going_in_circles("root", ["a"])
    assert not found.going_in_circles("root", ["a", "b"])
    assert not found.going_in_circles("root", ["a"])
    assert found.going_in_circles("root", ["a"])


def test_what_complete_raises_is_cut_too() -> None:
    """The reason of a run never repeats a masked value, not even from ``complete()``."""
    found = book(node("root"), sealed={"root": {"token": "hunter2-secret"}})
    answered(found, root="ValueError: cannot ask with hunter2-secret")
    _, reason = found.verdict(Finished("SCHEDULING_FAILED", {"root": "UNKNOWN"}))
    assert "cannot ask with ***" in reason
    assert "hunter2" not in reason
