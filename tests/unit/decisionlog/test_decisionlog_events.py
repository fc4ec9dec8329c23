"""The closed table of events."""

from __future__ import annotations

import re

import pytest

from gateway.decisionlog import events


def test_codes_are_stable_in_form_and_never_shared() -> None:
    """An alert that matches a code matches one event."""
    assert len(set(events.CODES.values())) == len(events.CODES)
    assert all(re.fullmatch(r"SLC\d{4}[IWE]", code) for code in events.CODES.values())
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", name) for name in events.CODES)


def test_an_unknown_event_is_an_error_of_ours() -> None:
    """A misspelt event is found by the first test that logs it."""
    assert events.code("decision.allow") == "SLC1003I"
    with pytest.raises(ValueError, match="alow"):
        events.code("decision.alow")


def test_the_table_cannot_be_changed_at_run_time() -> None:
    """It is closed."""
    with pytest.raises(TypeError):
        events.CODES["x"] = "SLC9999I"  # type: ignore[index]
