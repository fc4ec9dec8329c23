"""Quantities: exact, canonical, and in agreement with plain arithmetic on fractions."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.canonical import MAX_INTEGER
from gateway.policy.quantities import canonical, memory_bytes, millicores

DECIMAL = {suffix: Fraction(1000) ** power for power, suffix in enumerate("kMGTP", 1)}
BINARY = {f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTP", 1)}
WORTH = {"": Fraction(1), "m": Fraction(1, 1000), **DECIMAL, **BINARY}

numbers = st.builds(
    lambda whole, digits: f"{whole}.{digits}" if digits else str(whole),
    st.integers(0, 5000) | st.integers(0, 10**16),
    st.just("") | st.sampled_from(["0", "5", "25", "125", "0625"]) | st.from_regex(r"\A\d{1,4}\Z"),
)
quantities = st.tuples(numbers, st.sampled_from(list(WORTH)))


def read(function: Callable[[str], int], text: str) -> int | None:
    """Return what a text stands for; None when it is refused."""
    with suppress(ValueError):
        return function(text)
    return None


def sentence(function: Callable[[str], int], text: str) -> str | None:
    """Return why a text is refused; None when it is read as a positive amount."""
    try:
        found = function(text)
    except ValueError as error:
        return str(error)
    return None if found > 0 else "x" * 200


@given(quantities)
@example(("1.5", "Gi"))
@example(("0.5", "m"))
def test_property_quantities_are_exact(drawn: tuple[str, str]) -> None:
    """An amount is read as exactly what it says, or refused: nothing is ever rounded."""
    number, suffix = drawn
    worth = Fraction(number) * WORTH[suffix]
    for function, unit in ((millicores, Fraction(1, 1000)), (memory_bytes, Fraction(1))):
        found = read(function, number + suffix)
        if found is not None:
            assert found == worth / unit
            assert 0 < found <= MAX_INTEGER


@given(st.integers(1, MAX_INTEGER // 1000), st.sampled_from(list(WORTH)))
def test_property_quantities_every_whole_amount_is_read(count: int, suffix: str) -> None:
    """What can be counted is accepted, whatever its suffix."""
    worth = count * WORTH[suffix]
    if worth * 1000 <= MAX_INTEGER:
        assert read(millicores, f"{count}{suffix}") == worth * 1000
    if worth <= MAX_INTEGER and worth.denominator == 1:
        assert read(memory_bytes, f"{count}{suffix}") == worth


@given(quantities)
def test_property_quantities_have_one_spelling(drawn: tuple[str, str]) -> None:
    """The canonical text says the same, has no fraction, and is canonical itself."""
    text = "".join(drawn)
    with suppress(ValueError):
        short = canonical(text)
        assert canonical(short) == short
        assert re.fullmatch(r"0|[1-9][0-9]*(m|[kMGTP]|[KMGTP]i)?", short)
        for function in (millicores, memory_bytes):
            assert read(function, short) == read(function, text)


@given(st.text(max_size=12) | st.from_regex(r"\A[+-]?[0-9.]{0,6}[a-zA-Z0-9+-]{0,4}\Z"))
def test_property_quantities_read_or_refuse(text: str) -> None:
    """Whatever the text: a positive whole number, or one sentence that quotes little of it."""
    for function in (millicores, memory_bytes):
        said = sentence(function, text)
        assert said is None or len(said) < 200
