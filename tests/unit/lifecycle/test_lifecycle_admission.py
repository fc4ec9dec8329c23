"""Step 2's rate window and masking, without the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import TooMany
from gateway.lifecycle.admission import RateWindow
from gateway.lifecycle.masking import MASK, masked

KEY = b"k" * 32


class Clock:
    """Virtual seconds."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_window_slides() -> None:
    """The limit counts the last sixty seconds, and says when to come back."""
    clock = Clock()
    window = RateWindow(2, clock)
    window.take("a")
    clock.now = 30
    window.take("a")
    with pytest.raises(TooMany) as caught:
        window.take("a")
    assert caught.value.retry_after == 31
    clock.now = 60.5
    window.take("a")


def test_principals_do_not_share_a_window() -> None:
    """One busy agent does not keep another out."""
    window = RateWindow(1, Clock())
    window.take("a")
    window.take("b")


def test_silent_principals_are_forgotten() -> None:
    """Memory does not grow with everybody who ever asked."""
    clock = Clock()
    window = RateWindow(1, clock)
    for number in range(1000):
        clock.now += 61
        window.take(f"p{number}")
    assert len(window._seen) == 1  # the memory itself is what this pins


@given(st.text(max_size=20), st.text(max_size=20))
def test_masks_hide_and_distinguish(first: str, second: str) -> None:
    """A masked value shows nothing, and two values mask alike only when they are equal."""
    a = masked(KEY, "p", {"x": first}, ())["x"]
    b = masked(KEY, "p", {"x": second}, ())["x"]
    assert a.startswith(MASK)
    assert (a == b) == (first == second)
    assert len(a) == len(MASK) + 64


def test_masks_depend_on_key_pipeline_and_name() -> None:
    """A table of masks of one installation, pipeline or parameter is useless for another."""
    values = {
        masked(KEY, "p", {"x": "1"}, ())["x"],
        masked(b"l" * 32, "p", {"x": "1"}, ())["x"],
        masked(KEY, "q", {"x": "1"}, ())["x"],
        masked(KEY, "p", {"y": "1"}, ())["y"],
    }
    assert len(values) == 4


def test_only_allow_listed_values_are_shown() -> None:
    """What the catalogue does not list is masked: the default is to hide."""
    found = masked(KEY, "p", {"month": "2012-01", "api_key": "s3cret"}, {"month"})
    assert found["month"] == "2012-01"
    assert "s3cret" not in found["api_key"]
