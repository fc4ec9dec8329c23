"""Answers -> decision: any denial denies, everything adds up, nonsense is an error."""

from __future__ import annotations

from typing import Any

import pytest
from policy_kit import ISSUER, files, node

from gateway.errors import Misconfigured
from gateway.model import Decision, PolicyVersion, TaskNode
from gateway.policy.catalogue import parse_data
from gateway.policy.engine import Answer
from gateway.policy.verdict import MOST_VALUES, MOST_VIOLATIONS, Said, decision

VERSION = PolicyVersion("sha256:0", "0", "0")
DATA = parse_data(files())[0]
ADA, BOT = f"{ISSUER}#ada", f"{ISSUER}#bot"
LOAD, SAVE = node("Load"), node("Save")
ASK = {"rule": "ask", "approvers": ["stewards"]}


def said(
    *deny: Any, member: str = ADA, about: TaskNode | None = None, needs: tuple[Any, ...] = ()
) -> Said:
    """Return one answer."""
    return Said(member, about, Answer(deny, needs))


def decide(*answers: Said) -> Decision:
    """Decide about the sample's pipeline."""
    return decision(VERSION, DATA, "report", answers)


def test_policy_verdict_nothing_said_is_allowed() -> None:
    """No denial and no need is an allow, with the version that allowed it."""
    found = decide(said(), said(about=LOAD))
    assert (found.verdict, found.violations, found.needs) == ("allow", (), ())
    assert found.policy == VERSION


def test_policy_verdict_a_denial_wins_over_a_need() -> None:
    """People cannot agree to what policy denies."""
    found = decide(said(needs=(ASK,)), said({"rule": "no"}))
    assert found.verdict == "deny"
    assert found.needs == ()


def test_policy_verdict_a_need_waits_for_people() -> None:
    """Who may agree is sorted and each group once; the same need of two members is one."""
    twice = {"rule": "ask", "approvers": ["b", "a", "b"], "tier": "high"}
    found = decide(said(needs=(twice,)), said(needs=(twice,), member=BOT))
    assert found.verdict == "needs_approval"
    (need,) = found.needs
    assert (need.rule, need.groups, need.values) == ("ask", ("a", "b"), {"tier": "high"})


def test_policy_verdict_names_the_member_who_alone_is_refused() -> None:
    """What all are refused for is about the task; what one is refused for is about them."""
    both = {"rule": "destination_not_allowed", "destination": "web"}
    agent = {"rule": "destination_not_for_agents", "destination": "web"}
    found = decide(said(both, about=LOAD), said(both, agent, member=BOT, about=LOAD))
    assert [(v.rule, v.member) for v in found.violations] == [
        ("destination_not_allowed", None),
        ("destination_not_for_agents", BOT),
    ]


def test_policy_verdict_says_it_of_each_member_by_name() -> None:
    """A sentence that names an account is said once for each account."""
    refusal = {"rule": "launcher_not_in_group", "launchers": ["x"], "owner": "x"}
    found = decide(said(refusal), said(refusal, member=BOT))
    assert [violation.member for violation in found.violations] == [ADA, BOT]


def test_policy_verdict_orders_by_task_then_rule() -> None:
    """The whole comes first, then tasks in the graph's order, whatever order answers came in."""
    first, second = {"rule": "aa"}, {"rule": "bb"}
    answers = [
        said(second, first, about=SAVE),
        said(first, about=LOAD),
        said(second),
    ]
    found = decide(*answers)
    assert [(v.rule, v.task_name) for v in found.violations] == [
        ("bb", None),
        ("aa", "Save"),
        ("bb", "Save"),
        ("aa", "Load"),
    ]
    assert found.violations[1].task == SAVE.key


def test_policy_verdict_names_the_destination_that_was_meant() -> None:
    """An unknown destination comes with the nearest name of the catalogue."""
    unknown = {"rule": "destination_unknown", "destination": "lakes"}
    (violation,) = decide(said(unknown, about=LOAD)).violations
    assert violation.remediation.startswith("did you mean lake? ")


def test_policy_verdict_bounds_how_much_it_says() -> None:
    """A graph of thousands of wrong tasks does not make a log entry of megabytes."""
    refusals = [{"rule": "x", "n": number} for number in range(MOST_VIOLATIONS + 30)]
    found = decide(said(*refusals))
    assert len(found.violations) == MOST_VIOLATIONS + 1
    assert found.violations[-1].rule == "more_violations"
    assert found.violations[-1].values == {"count": 30}


@pytest.mark.parametrize(
    "raw",
    [
        "text",
        None,
        ["rule", "x"],
        {},
        {"rule": None},
        {"rule": ""},
        {"rule": "Upper"},
        {"rule": "a b"},
        {"rule": "x", "Key": 1},
        {"rule": "x", "k\n": 1},
        {"rule": "x", "v": 1.5},
        {"rule": "x", "v": "\ud800"},
        {"rule": "x", "v": 2**60},
        {"rule": "x", "v": "a" * MOST_VALUES},
    ],
)
def test_policy_verdict_an_answer_that_is_not_understood_is_an_error(raw: Any) -> None:
    """A denial in a form that nobody reads must not get lost: it is an error, not an allow."""
    with pytest.raises(Misconfigured) as caught:
        decide(said(raw))
    assert (caught.value.code, caught.value.step) == ("policy_error", "decide")


@pytest.mark.parametrize("approvers", [None, [], "stewards", [1], [""], [["a"]]])
def test_policy_verdict_a_need_without_approvers_is_an_error(approvers: Any) -> None:
    """A need that nobody could meet, or anybody, is a mistake in the policy."""
    with pytest.raises(Misconfigured):
        decide(said(needs=({"rule": "ask", "approvers": approvers},)))
