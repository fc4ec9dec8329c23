"""Policy: denials only add up, order does not matter, the same input gets the same answer.

The first half is about adding up, over made-up answers; the second asks the shipped rules through
the real engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.canonical import Json, digest
from gateway.model import (
    Decision,
    Kind,
    LaunchRequest,
    Member,
    PolicyVersion,
    Principal,
    TaskGraph,
    TaskNode,
    graph_digest,
)
from gateway.policy.decide import LoadedPolicy
from gateway.policy.engine import Answer, Question
from gateway.policy.findings import PolicyInvalid
from gateway.policy.inputs import admit_questions, graph_questions, policy_input
from gateway.policy.loading import load_policy
from gateway.policy.sentences import MOST, show
from gateway.policy.snapshot import Snapshot, load_snapshot
from gateway.policy.verdict import Said, decision
from gateway.policy.yamlfile import read_yaml

SHIPPED = Path(__file__).parents[2] / "policies"
VERSION = PolicyVersion("sha256:0", "0", "0")
NOW = "2026-11-22T08:15:00.000Z"
ISSUER = "https://dev.sluice.local"
STRENGTH = {"allow": 0, "needs_approval": 1, "deny": 2}


def task(number: int, egress: tuple[str, ...] = (), carries: tuple[str, ...] = ()) -> TaskNode:
    """Return one task."""
    return TaskNode(
        key=digest(number),
        module="m",
        family=f"F{number}",
        task_id=f"F{number}",
        kind="task",
        parameters={},
        egress=egress,
        carries=carries,
    )


NODES = [task(number) for number in range(3)]

# --- adding up ----------------------------------------------------------------------------------

values = st.dictionaries(
    st.sampled_from(["a", "b", "destination"]),
    st.integers(-5, 5) | st.text(max_size=4).filter(str.isprintable) | st.none(),
    max_size=2,
)
denials = st.builds(lambda rule, more: {"rule": rule, **more}, st.sampled_from("xyz"), values)
needs = st.builds(
    lambda rule, groups: {"rule": rule, "approvers": groups},
    st.sampled_from("pq"),
    st.lists(st.sampled_from(["g", "h"]), min_size=1, max_size=3),
)
answers = st.builds(
    lambda member, node, deny, need: Said(f"i#{member}", node, Answer(deny, need)),
    st.sampled_from("uvw"),
    st.none() | st.sampled_from(NODES),
    st.lists(denials, max_size=2),
    st.lists(needs, max_size=2),
)


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """Return the shipped policy."""
    return load_snapshot(SHIPPED)


def add_up(snapshot: Snapshot, said: list[Said]) -> Decision:
    """Decide, leaving out the id, which is new each time."""
    return replace(decision(VERSION, snapshot.data, "city-weather", said), id="")


@given(st.lists(answers, max_size=6), st.lists(answers, max_size=3))
def test_property_policy_more_answers_never_weaken(
    snapshot: Snapshot, said: list[Said], more: list[Said]
) -> None:
    """A further member, task or rule can only make a verdict stricter."""
    before, after = add_up(snapshot, said), add_up(snapshot, said + more)
    assert STRENGTH[after.verdict] >= STRENGTH[before.verdict]
    if before.verdict == "deny":
        told = {(item.rule, item.task) for item in after.violations}
        assert {(item.rule, item.task) for item in before.violations} <= told


@given(st.lists(answers, max_size=6), st.data())
def test_property_policy_order_of_objects_does_not_matter(
    snapshot: Snapshot, said: list[Said], data: st.DataObject
) -> None:
    """Whatever order an engine puts objects out in, the decision is the same."""
    shuffled = [
        replace(
            item,
            answer=Answer(
                data.draw(st.permutations(item.answer.deny)),
                data.draw(st.permutations(item.answer.needs_approval)),
            ),
        )
        for item in said
    ]
    assert add_up(snapshot, shuffled) == add_up(snapshot, said)


@given(st.lists(answers, max_size=5))
def test_property_policy_saying_it_twice_changes_nothing(
    snapshot: Snapshot, said: list[Said]
) -> None:
    """Repetition is not a second reason."""
    assert add_up(snapshot, said + said) == add_up(snapshot, said)


@given(st.lists(answers, max_size=5))
def test_property_policy_deny_iff_somebody_denies(snapshot: Snapshot, said: list[Said]) -> None:
    """The verdict is exactly what the answers say."""
    expected = "allow"
    if any(item.answer.needs_approval for item in said):
        expected = "needs_approval"
    if any(item.answer.deny for item in said):
        expected = "deny"
    assert add_up(snapshot, said).verdict == expected


@given(st.text())
def test_property_policy_shown_values_are_one_bounded_line(text: str) -> None:
    """No text of a request breaks out of its place in a sentence."""
    shown = show(text)
    assert len(shown) <= MOST
    assert shown.isprintable()


@given(
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
)
def test_property_policy_yaml_reads_or_refuses(data: bytes) -> None:
    """Whatever the bytes, reading ends in plain data or in a finding."""
    with suppress(PolicyInvalid):
        digest(read_yaml("f.yaml", data).value)


# --- the shipped rules, through the engine ------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A loaded policy and the loop that it runs in."""

    policy: LoadedPolicy
    runner: asyncio.Runner

    def decide(self, who: Principal, tasks: TaskGraph) -> Decision:
        """Decide about a launch of the weather report, leaving out the id."""
        found = self.policy.decide(
            who,
            LaunchRequest("city-weather", {}),
            tasks,
            parameters={},
            history=history(tasks),
            now=NOW,
            enforcement="none",
        )
        return replace(self.runner.run(found), id="")

    def answers(self, questions: list[Question]) -> list[list[Any]]:
        """Ask the engine itself."""
        return self.runner.run(self.policy.engine.evaluate(questions))


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """Load the shipped policy once for all examples."""
    with asyncio.Runner() as runner:
        policy = runner.run(load_policy(SHIPPED))
        yield Running(policy, runner)
        runner.run(policy.close())


def history(tasks: TaskGraph) -> dict[str, Json]:
    """Return a history in which this code was approved."""
    return {
        "launches_last_hour": 0,
        "launches_today": 0,
        "running": 0,
        "approved_code_digests": [tasks.code_digest],
        "last_approved_content_digest": None,
    }


kinds: st.SearchStrategy[Kind] = st.sampled_from(("human", "agent", "service"))
members = st.builds(
    Member,
    st.sampled_from([ISSUER, "https://elsewhere.example"]),
    st.sampled_from(["ada", "ben", "copilot", "eve"]),
    kinds,
    st.lists(st.sampled_from(["analysts", "other"]), max_size=2).map(tuple),
)


def sets(*names: str) -> st.SearchStrategy[tuple[str, ...]]:
    """Return sorted tuples of some of these names."""
    return st.lists(st.sampled_from(names), unique=True).map(lambda found: tuple(sorted(found)))


graphs = st.lists(
    st.tuples(
        sets("open-data", "crm", "public-web", "unheard-of"),
        sets("public", "personal"),
    ),
    min_size=1,
    max_size=5,
).map(lambda items: make_graph([task(n, *item) for n, item in enumerate(items)]))

engine_settings = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def make_graph(nodes: list[TaskNode]) -> TaskGraph:
    """Return a graph without edges."""
    found = {node.key: node for node in nodes}
    return TaskGraph(nodes[-1].key, found, digest("code"), graph_digest(found))


def chain(items: list[Member]) -> Principal:
    """Return a principal with this chain."""
    return Principal(items[0], items[-1].kind, actors=tuple(items[1:]))


@engine_settings
@given(st.lists(members, min_size=1, max_size=3), members, graphs)
def test_property_policy_another_actor_never_widens(
    running: Running, items: list[Member], more: Member, tasks: TaskGraph
) -> None:
    """Whoever joins the chain can only take rights away."""
    before = running.decide(chain(items), tasks)
    after = running.decide(chain([*items, more]), tasks)
    assert STRENGTH[after.verdict] >= STRENGTH[before.verdict]


@engine_settings
@given(members, graphs, graphs)
def test_property_policy_more_tasks_never_widen(
    running: Running, who: Member, first: TaskGraph, second: TaskGraph
) -> None:
    """A graph that holds another one is judged at least as strictly."""
    moved = {key + "x": replace(node, key=key + "x") for key, node in second.nodes.items()}
    both = make_graph([*first.nodes.values(), *moved.values()])
    part, whole = running.decide(chain([who]), first), running.decide(chain([who]), both)
    assert STRENGTH[whole.verdict] >= STRENGTH[part.verdict]


@engine_settings
@given(st.lists(members, min_size=1, max_size=3), graphs, st.randoms(use_true_random=False))
def test_property_policy_the_order_of_actors_does_not_matter(
    running: Running, items: list[Member], tasks: TaskGraph, random: Any
) -> None:
    """Rights are those that all have, whoever acts for whom; asking twice says the same."""
    shuffled = items[:]
    random.shuffle(shuffled)
    first = running.decide(chain(items), tasks)
    assert running.decide(chain(items), tasks) == first
    again = running.decide(chain(shuffled), tasks)
    assert again.verdict == first.verdict
    assert {item.rule for item in again.violations} == {item.rule for item in first.violations}


@engine_settings
@given(st.lists(members, min_size=1, max_size=2), graphs)
def test_property_policy_asking_once_is_asking_each(
    running: Running, items: list[Member], tasks: TaskGraph
) -> None:
    """Sharing answers between inputs that rules cannot tell apart changes none of them."""
    data = running.policy.snapshot.data
    facts = policy_input(
        data,
        chain(items),
        LaunchRequest("city-weather", {}),
        parameters={},
        history=history(tasks),
        now=NOW,
        enforcement="none",
        graph=tasks,
    )
    questions = admit_questions(facts) + graph_questions(data, facts, tasks)
    each = [
        [running.answers([replace(question, parts=(part,))])[0][0] for part in question.parts]
        for question in questions
    ]
    assert running.answers(questions) == each
