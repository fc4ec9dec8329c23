"""``input``: exactly what ``input.schema.json`` promises, and nothing that is masked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from policy_kit import HISTORY, ISSUER, NOW, files, graph, member, node, principal

import gateway.policy.inputs as under_test
from gateway.errors import IntegrityViolation
from gateway.model import LaunchRequest, Principal, TaskGraph
from gateway.policy.catalogue import parse_data
from gateway.policy.engine import Question
from gateway.policy.inputs import admit_questions, graph_questions, policy_input, shown_parameters

DATA = parse_data(files())[0]
SCHEMA = json.loads(
    Path(under_test.__file__).with_name("input.schema.json").read_bytes()  # the contract
)
CHAIN = principal(member("ada", "human", "night"), member("bot", "agent"))
GRAPH = graph(
    [
        node("Load", egress=("lake",), carries=("personal",), resources={"db": 1}),
        node("Publish", egress=("web", "wbe"), carries=("personal",)),
        node("Part", kind="possible", parameters={"*": "5"}, limit=5),
    ]
)


def facts(tasks: TaskGraph | None, who: Principal = CHAIN) -> dict[str, Any]:
    """Return the input that all questions of one decision share."""
    return policy_input(
        DATA,
        who,
        LaunchRequest("report", {"day": "2026-11-22", "key": "hush hush"}, "because"),
        parameters={"day": "2026-11-22", "key": "hmac-sha256:ab"},
        history=HISTORY,
        now=NOW,
        enforcement="none",
        graph=tasks,
    )


def inputs(question: Question) -> list[dict[str, Any]]:
    """Return every ``input`` that a question stands for, as rules see it."""
    return [json.loads(json.dumps({**question.shared, **part})) for part in question.parts]


def test_policy_inputs_are_what_the_schema_promises() -> None:
    """Every field that a rule may read is there, in every package, and no other."""
    everything = facts(GRAPH)
    questions = admit_questions(everything) + graph_questions(DATA, everything, GRAPH)
    assert [question.package for question in questions] == ["admit"] * 2 + ["task", "launch"] * 2
    for question in questions:
        schema = {**SCHEMA, "$ref": f"#/$defs/{question.package}"}
        for value in inputs(question):
            errors = [error.message for error in Draft202012Validator(schema).iter_errors(value)]
            assert errors == []


def test_policy_inputs_at_admission_are_those_of_a_later_decision() -> None:
    """``sluice.admit`` is asked again with every decision, about the same facts."""
    early, late = admit_questions(facts(None)), admit_questions(facts(GRAPH))
    assert [inputs(question) for question in early] == [inputs(question) for question in late]


def test_policy_inputs_ask_about_each_member_with_all_its_groups() -> None:
    """Groups of the token and of groups.yaml add up; the owner of an agent is known."""
    asked = [inputs(question)[0]["principal"] for question in admit_questions(facts(None))]
    assert asked == [
        {
            "account": f"{ISSUER}#ada",
            "issuer": ISSUER,
            "subject": "ada",
            "kind": "human",
            "groups": ["analysts", "night"],
            "person": "ada",
            "owner": None,
        },
        {
            "account": f"{ISSUER}#bot",
            "issuer": ISSUER,
            "subject": "bot",
            "kind": "agent",
            "groups": [],
            "person": None,
            "owner": "ada",
        },
    ]


def test_policy_inputs_join_the_catalogue_into_tasks() -> None:
    """A task shows its destinations whole; a name that the catalogue lacks shows as unknown."""
    question = graph_questions(DATA, facts(GRAPH), GRAPH)[0]
    load, publish, part = (value["task"] for value in inputs(question))
    assert load["destinations"] == [DATA.destinations["lake"].to_json()]
    assert publish["destinations"][1] == {"name": "wbe", "known": False}
    assert part["limit"] == 5


def test_policy_inputs_count_what_may_be_yielded() -> None:
    """A task that stands for five counts as five: limits cannot be dodged by yielding."""
    assert facts(GRAPH)["request"]["tasks"] == 7


def test_policy_inputs_never_hold_what_is_masked() -> None:
    """Clear values that the catalogue does not show reach no rule, at admission neither."""
    assert "hush hush" not in json.dumps(facts(GRAPH))
    pipeline = DATA.pipelines["report"]
    shown = shown_parameters(pipeline, {"day": "1", "key": "hush hush", "unheard": "of"})
    assert shown == {"day": "1", "key": "hidden", "unheard": "hidden"}


@pytest.mark.parametrize("missing", sorted(HISTORY))
def test_policy_inputs_refuse_an_incomplete_history(missing: str) -> None:
    """A rule on a count that is not there would never fire, so nothing is asked."""
    history = {name: value for name, value in HISTORY.items() if name != missing}
    with pytest.raises(IntegrityViolation):
        policy_input(
            DATA,
            CHAIN,
            LaunchRequest("report", {}),
            parameters={},
            history=history,
            now=NOW,
            enforcement="none",
        )
