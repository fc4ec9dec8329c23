"""What a pipeline's author is told, and what nobody is told."""

from __future__ import annotations

import pytest

from gateway.graph.failures import DETAILS, Secrets, Unresolvable, from_guest


def test_failures_name_what_is_wrong_where_and_the_way_out() -> None:
    """One sentence of three parts; the reason's code is there for programs."""
    error = Unresolvable("import_failed", "importing pipe raised ImportError", "pipe.py:3")
    assert error.public_message == (
        "importing pipe raised ImportError (pipe.py:3); correct the module; it is imported without"
        " network and without credentials"
    )
    assert (error.code, error.detail, error.step) == (
        "graph_unresolvable",
        "import_failed",
        "resolve",
    )


@pytest.mark.parametrize("detail", DETAILS)
def test_failures_each_reason_has_a_way_out(detail: str) -> None:
    """A short instruction, without a full stop: it ends a sentence."""
    assert 10 < len(DETAILS[detail]) < 100
    assert not DETAILS[detail].endswith(".")


@pytest.mark.parametrize(
    ("secret", "text", "left"),
    [
        ("hunter2", "no user hunter2 in xhunter2x", "no user (hidden) in x(hidden)x"),
        ("a\nb", r"KeyError: 'a\nb'", "KeyError: '(hidden)'"),
        ("7", "7 of 77 at line 17", "(hidden) of 77 at line 17"),
        ("", "nothing", "nothing"),
        (".*", "a .* b", "a (hidden) b"),
        ("pass", "password pass", "(hidden)word (hidden)"),
        ("c0ffee-c0ffee-c0ffee", "Job_c0ffee_c0ffee_c0_01234 failed", "Job_(hidden)_01234 failed"),
    ],
)
def test_failures_hide_values_in_texts(secret: str, text: str, left: str) -> None:
    """As they are, as Python writes them and as Luigi does; short ones as whole words only."""
    assert Secrets([secret]).hide(text) == left


def test_failures_hide_the_longest_value_first() -> None:
    """One value inside another leaves no rest."""
    assert Secrets(["abcd", "abcdef"]).hide("abcdef") == "(hidden)"


def test_failures_take_nothing_from_the_guest_unseen() -> None:
    """Unknown codes, control characters, other types, and lengths are all cut down."""
    said = {"code": "memory", "message": "a\x1b[31mb\u202ehunter2\n" + "x" * 5_000, "where": 7}
    error = from_guest(said, Secrets(["hunter2"]))
    assert error.detail == "memory"
    assert "\x1b" not in error.public_message
    assert "hunter2" not in error.public_message
    assert len(error.public_message) < 1_200
    for odd in (None, [], {}, {"code": []}, {"code": "root_password"}, "x"):
        assert from_guest(odd, Secrets([])).detail == "result_invalid"
