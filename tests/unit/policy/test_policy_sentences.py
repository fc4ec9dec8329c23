"""Sentences: for people, out of codes and values that are data and stay data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from policy_kit import SHIPPED

from gateway.policy.sentences import MOST, render, render_need, show


def shipped_rules() -> list[tuple[str, str]]:
    """Return each code that the shipped rules put out, and the text of its object."""
    found = []
    for path in SHIPPED.glob("*.rego"):
        if not path.name.endswith("_test.rego"):
            found += re.findall(r'contains (\{\s*"rule": "(\w+)".*?\}) if', _text(path), re.DOTALL)
    return [(rule, text) for text, rule in found]


def _text(path: Path) -> str:
    return path.read_text()


@pytest.mark.parametrize(("rule", "text"), shipped_rules())
def test_policy_sentences_cover_every_shipped_rule(rule: str, text: str) -> None:
    """A rule's values are enough for its sentence, which names them."""
    values = dict.fromkeys(re.findall(r'"(\w+)":', text), "VALUE")
    about = {"account": "ACCOUNT", "pipeline": "PIPELINE", "task": "TASK"}
    message, _ = render(rule, values, about)
    assert not message.startswith("policy rule")
    assert re.search(r"VALUE|ACCOUNT|PIPELINE|TASK", message)


def test_policy_sentences_say_what_to_change() -> None:
    """A denial names what is wrong and the way out."""
    message, remediation = render(
        "destination_not_allowed", {"destination": "web"}, {"task": "Send", "pipeline": "report"}
    )
    assert message == "Send wants to reach web, which report may not"
    assert "policies/data/pipelines.yaml" in remediation


def test_policy_sentences_fall_back_to_code_and_values() -> None:
    """A rule of the reviewer's own, or one without its values, still says something true."""
    assert render("after_hours", {"hour": 23, "who": ["a", "b"]}).message == (
        "policy rule after_hours refuses this (hour 23, who a, b)"
    )
    assert render("destination_not_allowed", {}).message.startswith("policy rule destination_not")
    assert render_need("second_look", {"size": 3}, {"account": "x"}) == (
        "policy rule second_look asks for people's agreement (size 3)"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\nb", "a\\u{a}b"),
        ("a\x1b[31mb", "a\\u{1b}[31mb"),
        ("a\u202eb", "a\\u{202e}b"),
        ("a\u2028b\u00a0c", "a\\u{2028}b\\u{a0}c"),
        ("a\x00b\x7f", "a\\u{0}b\\u{7f}"),
        ("x\u200by", "x\\u{200b}y"),
        ("\ud800", "\\u{d800}"),
        ("größe 雪", "größe 雪"),
        ("{pipeline} %s", "{pipeline} %s"),
        (True, "true"),
        (None, "nothing"),
        ([], "nothing"),
        (list(range(12)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"),
        ({"b": 1, "a\n": 2}, "a\\u{a} 2, b 1"),
    ],
)
def test_policy_sentences_show_values_as_data(value: object, expected: str) -> None:
    """No value can break a line, colour a terminal, turn the direction or be formatted again."""
    assert show(value) == expected  # type: ignore[arg-type]


def test_policy_sentences_are_bounded() -> None:
    """A long value is cut, wherever it stands."""
    assert len(show("x" * 10_000)) == MOST
    assert len(show(["x" * 1000] * 1000)) == MOST
    assert len(render("any_rule", {"v": "x" * 100_000}).message) < 2 * MOST


def test_policy_sentences_do_not_format_values() -> None:
    """Braces in a value are shown: they are no fields of the sentence."""
    message, _ = render(
        "destination_not_allowed",
        {"destination": "{0}"},
        {"task": "{account.__class__}", "pipeline": "p"},
    )
    assert message == "{account.__class__} wants to reach {0}, which p may not"
