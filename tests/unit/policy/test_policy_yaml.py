"""YAML as plain data: what is read, and what is refused with its line."""

from __future__ import annotations

import pytest

from gateway.policy.findings import PolicyInvalid
from gateway.policy.yamlfile import MAX_BYTES, read_yaml


def refusal(text: str) -> str:
    """Return the only finding of a text that is refused."""
    with pytest.raises(PolicyInvalid) as caught:
        read_yaml("f.yaml", text.encode())
    (finding,) = caught.value.findings
    return str(finding)


def test_policy_yaml_reads_plain_values() -> None:
    """Objects, lists, texts, whole numbers, booleans and null are what they look like."""
    text = "a: [1, -2, yes, 2026-11-22, 127.0.0.1, ~]\nb: {c: true, d: 'true', e: \"1\"}\nf:\n"
    assert read_yaml("f.yaml", text.encode()).value == {
        "a": [1, -2, "yes", "2026-11-22", "127.0.0.1", None],
        "b": {"c": True, "d": "true", "e": "1"},
        "f": None,
    }


def test_policy_yaml_an_empty_file_is_nothing() -> None:
    """No document and an empty document both read as null."""
    assert read_yaml("f.yaml", b"").value is None
    assert read_yaml("f.yaml", b"# only a comment\n").value is None


def test_policy_yaml_knows_the_line_of_each_node() -> None:
    """A finding stands at the node, or at the nearest parent that exists."""
    file = read_yaml("f.yaml", b"a:\n  b:\n    - x\n    - y\n")
    assert str(file.finding(("a", "b", 1), "wrong")) == "f.yaml:4: wrong"
    assert str(file.finding(("a", "b", 7), "wrong")) == "f.yaml:2: wrong"
    assert str(file.finding(("a", "zz"), "wrong")) == "f.yaml:1: wrong"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x [1]\nb: *x\n", "f.yaml:1: anchors and aliases"),
        ("a: 1\nb: *x\n", "f.yaml:2: "),
        ("a: !!python/object/apply:os.system [id]\n", "f.yaml:1: tags are not read"),
        ("a: !!str 1\n", "f.yaml:1: tags are not read"),
        ("x:\n  a: 1\n  a: 2\n", "f.yaml:3: the key 'a' stands here twice"),
        ("a: {<<: {b: 1}}\n", "f.yaml:1: a key has to be plain ASCII text"),
        ("1: a\n", "f.yaml:1: a key has to be plain ASCII text"),
        ("ключ: a\n", "f.yaml:1: a key has to be plain ASCII text"),
        ('"a\\nb": 1\n', "f.yaml:1: a key has to be plain ASCII text"),
        ("a: 1.5\n", "f.yaml:1: '1.5': numbers are whole"),
        ("a: 1e3\n", "f.yaml:1: '1e3': numbers are whole"),
        ("a: 0x1F\n", "f.yaml:1: '0x1F': numbers are whole"),
        ("a: 010\n", "f.yaml:1: '010': numbers are whole"),
        ("a: 99999999999999999\n", "f.yaml:1: '99999999999999999': numbers are whole"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: a second document"),
        ("a: [1,\n", "f.yaml:2: "),
        ("a: \x07\n", "f.yaml: holds characters"),
        ("[" * 40 + "]" * 40, "f.yaml:1: nested deeper"),
    ],
)
def test_policy_yaml_refuses_what_reads_differently_elsewhere(text: str, expected: str) -> None:
    """Whatever YAML readers disagree about, or what could expand, is refused with its line."""
    assert refusal(text).startswith(expected)


def test_policy_yaml_refuses_large_files_and_other_encodings() -> None:
    """Size is bounded before anything is parsed, and only UTF-8 is read."""
    assert "larger than" in refusal("a" * (MAX_BYTES + 1))
    with pytest.raises(PolicyInvalid, match="not UTF-8"):
        read_yaml("f.yaml", b"a: \xff\n")
