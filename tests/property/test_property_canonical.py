"""Canonical bytes equal RFC 8785 on the subset, and nothing outside the subset has any."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.canonical import MAX_INTEGER, decode, encode
from gateway.errors import Rejected

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
KEYS = st.text(st.characters(max_codepoint=0x7F), max_size=8)
INTEGERS = st.integers(-MAX_INTEGER, MAX_INTEGER)
SCALARS = st.none() | st.booleans() | INTEGERS | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5)
)

SHORT = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}


def jcs(value: Any) -> str:
    """Serialize by the rules of RFC 8785 section 3.2, written down from its text."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)  # 3.2.2.3: an integer within 2^53 is its decimal digits
        case str():
            return jcs_text(value)
        case list():
            return f"[{','.join(jcs(item) for item in value)}]"
        case dict():  # 3.2.3: by UTF-16 code units
            names = sorted(value, key=lambda name: name.encode("utf-16-be"))
            return f"{{{','.join(f'{jcs_text(name)}:{jcs(value[name])}' for name in names)}}}"
    raise AssertionError(value)


def jcs_text(text: str) -> str:
    """Serialize a text: section 3.2.2.2."""
    shown = []
    for char in text:
        code = ord(char)
        if code in SHORT:
            shown.append(SHORT[code])
        elif code < 0x20:
            shown.append(f"\\u{code:04x}")
        else:
            shown.append(char)
    return f'"{"".join(shown)}"'


@given(VALUES)
def test_encoding_equals_rfc_8785(value: Any) -> None:
    """Any implementation of the standard makes the same bytes, and so the same digests."""
    assert encode(value) == jcs(value).encode()


@given(VALUES)
def test_decoding_undoes_encoding(value: Any) -> None:
    """Nothing is lost, and the type of each value is kept."""
    again = decode(encode(value))
    assert again == value
    assert repr(again) == repr(in_order(value))


def in_order(value: Any) -> Any:
    """Return the value with its keys in canonical order, for a comparison that sees types."""
    if isinstance(value, dict):
        return {name: in_order(value[name]) for name in sorted(value)}
    return [in_order(item) for item in value] if isinstance(value, list) else value


@given(VALUES, VALUES)
def test_different_values_have_different_bytes(one: Any, other: Any) -> None:
    """Also where Python calls them equal: 1 and true are two values."""
    assert (encode(one) == encode(other)) == (repr(in_order(one)) == repr(in_order(other)))


OUTSIDE = st.one_of(
    st.floats(),
    st.integers(min_value=MAX_INTEGER + 1),
    st.integers(max_value=-MAX_INTEGER - 1),
    st.binary(),
    st.text(st.characters(categories=("Cs",)), min_size=1),
    st.dictionaries(st.text(st.characters(min_codepoint=0x80), min_size=1), SCALARS, min_size=1),
    st.dictionaries(st.integers(), SCALARS, min_size=1),
    st.sets(st.integers(), min_size=1),
)


@given(OUTSIDE, st.lists(SCALARS, max_size=3), KEYS)
def test_what_is_outside_the_subset_is_refused(value: Any, beside: list[Any], key: str) -> None:
    """Floats, large integers, keys beyond ASCII, lone surrogates, other types: at any depth."""
    for wrapped in (value, [*beside, value], {key: {"inner": [value]}}):
        with pytest.raises(Rejected) as caught:
            encode(wrapped)
        assert caught.value.code == "not_canonical"


@given(st.binary(max_size=60))
def test_decoding_takes_canonical_bytes_only(data: bytes) -> None:
    """Whatever is accepted is the one encoding of its value; anything else is refused."""
    try:
        value = decode(data)
    except Rejected:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" 1",
        b"1 ",
        b"1.0",
        b"1e3",
        b"-0",
        b"01",
        b"NaN",
        b"Infinity",
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a": 1}',
        b'"\\u0041"',
        b'"\\/"',
        b'"\\ud800"',
        b'"\xff"',
        b"\xef\xbb\xbf1",
        '"a"'.encode("utf-16"),
        b"9007199254740992",
        '{"é":1}'.encode(),
    ],
)
def test_each_other_way_to_write_a_value_is_refused(data: bytes) -> None:
    """Spaces, other numbers, repeated or unsorted keys, needless escapes, other encodings."""
    with pytest.raises(Rejected):
        decode(data)
