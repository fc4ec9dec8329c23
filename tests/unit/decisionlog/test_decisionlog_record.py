"""What becomes of an entry's texts before they are logged."""

from __future__ import annotations

import json
from enum import StrEnum

import pytest

from gateway.decisionlog import record
from gateway.decisionlog.log import Entry
from gateway.errors import Rejected


def logged(text: str) -> str:
    """Return what the log holds of ``text``."""
    _, raw = record.encode_entry(record.clean_entry(Entry("plan.decided", {"text": text})), 0, {})
    return str(json.loads(raw)["body"]["text"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with ünïcode and 日本", "plain, with ünïcode and 日本"),
        ("fine\n2026 ERROR forged", "fine\\u000a2026 ERROR forged"),
        ("a\r\nb", "a\\u000d\\u000ab"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("\x9b31mred", "\\u009b31mred"),
        ("nul\0", "nul\\u0000"),
        ("del\x7f", "del\\u007f"),
        ("line\u2028para\u2029", "line\\u2028para\\u2029"),
        ("nel\x85", "nel\\u0085"),
        ("access\u202egnp.exe", "access\\u202egnp.exe"),
        ("lone \ud800", "lone \\ud800"),
    ],
)
def test_no_text_forges_a_line_or_reorders_one(text: str, shown: str) -> None:
    """Control characters, separators, direction marks and lone surrogates become visible."""
    assert logged(text) == shown
    assert len(shown.splitlines()) == 1


def test_long_texts_are_cut_with_a_mark() -> None:
    """What is cut says so, and how long it was; the cap holds after escaping as well."""
    assert logged("x" * record.MAX_TEXT) == "x" * record.MAX_TEXT
    cut = logged("y" * 10_000)
    assert len(cut) == record.MAX_TEXT
    assert cut.endswith("y... [cut: 10000 characters]")
    assert len(logged("\n" * record.MAX_TEXT)) == record.MAX_TEXT


def test_everything_that_is_not_ours_is_cleaned() -> None:
    """Body at any depth, keys, the requester, the ids."""
    dirty = Entry(
        "plan.decided",
        {"a\n": [{"b": ("c\n", {"d": "e\n"})}]},
        launch_id="l\n",
        decision_id="d\n",
        requested_by={"subject": "s\n"},
    )
    _, raw = record.encode_entry(record.clean_entry(dirty), 0, {})
    value = json.loads(raw)
    assert value["body"] == {"a\\u000a": [{"b": ["c\\u000a", {"d": "e\\u000a"}]}]}
    assert value["launch_id"] == "l\\u000a"
    assert value["decision_id"] == "d\\u000a"
    assert value["requested_by"] == {"subject": "s\\u000a"}


def test_an_entry_is_a_copy() -> None:
    """Whoever changes their own object later changes nothing that waits to be logged."""
    body = {"list": [1]}
    entry = record.clean_entry(Entry("plan.decided", body))
    body["list"].append(2)
    assert entry.body == {"list": [1]}


def test_enumerated_texts_are_texts() -> None:
    """A launch state can be logged as it is."""

    class State(StrEnum):
        QUEUED = "queued"

    assert logged(State.QUEUED) == "queued"


def test_keys_that_become_one_are_refused() -> None:
    """Otherwise one of two values would silently be missing."""
    with pytest.raises(Rejected) as caught:
        record.clean_entry(Entry("plan.decided", {"a\n": 1, "a\\u000a": 2}))
    assert caught.value.code == "entry_keys_collide"


def test_a_deep_entry_is_refused() -> None:
    """Before it can exhaust the stack."""
    value: object = "x"
    for _ in range(10_000):
        value = [value]
    with pytest.raises(Rejected) as caught:
        record.clean_entry(Entry("plan.decided", {"deep": value}))  # type: ignore[dict-item]
    assert caught.value.code == "entry_too_deep"


def test_a_large_entry_is_refused() -> None:
    """Nobody fills the log with one request."""
    body = {f"k{number}": "x" * 4000 for number in range(70)}
    with pytest.raises(Rejected) as caught:
        record.encode_entry(Entry("plan.decided", body), 0, {})
    assert caught.value.code == "entry_too_large"


def test_the_form_of_an_entry_is_fixed() -> None:
    """Readers and other tools rely on these keys."""
    entry_id, raw = record.encode_entry(Entry("decision.deny", {"x": 1}), 7, {"id": "gw-1"})
    value = json.loads(raw)
    assert list(value) == sorted(value)
    assert value["timestamp"].endswith("Z")
    assert {**value, "timestamp": ""} == {
        "v": 1,
        "seq": 7,
        "id": entry_id,
        "timestamp": "",
        "code": "SLC1004W",
        "event": "decision.deny",
        "labels": {"id": "gw-1"},
        "launch_id": None,
        "decision_id": None,
        "requested_by": None,
        "body": {"x": 1},
    }


def test_the_mac_is_of_these_bytes_at_this_place_under_this_key() -> None:
    """An entry cannot be moved to another place, and no other key makes its MAC."""
    made = record.authentication(b"k" * 32, 1, b"entry")
    assert made == record.authentication(b"k" * 32, 1, b"entry")
    assert made != record.authentication(b"k" * 32, 2, b"entry")
    assert made != record.authentication(b"k" * 32, 1, b"Entry")
    assert made != record.authentication(b"j" * 32, 1, b"entry")
