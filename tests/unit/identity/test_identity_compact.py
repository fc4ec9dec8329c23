"""Taking a token apart: one text, one reading, before any library sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from identity_forge import Forge, claims

from gateway.errors import Unauthenticated
from gateway.identity.compact import take_apart


def test_good_token(forge: Forge) -> None:
    """Header and claims come out as they went in."""
    token = take_apart(forge.token())
    assert token.claims == claims()
    assert token.header == {"alg": "EdDSA", "kid": "ed", "typ": "at+jwt"}


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "=",
        lambda text: text + "==",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:4] + " " + text[4:],
        lambda text: text[:4] + "\r\n" + text[4:],
        lambda text: text[:4] + "\x00" + text[4:],
        lambda text: text[:4] + "+" + text[5:],
        lambda text: text[:4] + "/" + text[5:],
        lambda text: text[:4] + "!" + text[4:],
        lambda text: text[:4] + "\u0661" + text[5:],
        lambda text: text[:4] + "\uff21" + text[5:],
        lambda text: text[:4] + "\ud800" + text[5:],
        lambda _text: "",
        lambda _text: "A",
        lambda _text: "=",
    ],
)
def test_one_spelling_of_base64url(forge: Forge, part: int, change: Callable[[str], str]) -> None:
    """Padding, spaces, NUL, plain base64, digits and letters of other scripts: all are refused."""
    parts = forge.token().split(".")
    parts[part] = change(parts[part])
    with pytest.raises(Unauthenticated, match="token_malformed"):
        take_apart(".".join(parts))


def test_left_over_bits_are_not_ignored(forge: Forge) -> None:
    """The last character of a 64-byte signature has spare bits; only zeroes may stand there."""
    token = forge.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for bits in range(1, 4):
        twin = token[:-1] + alphabet[alphabet.index(token[-1]) + bits]
        with pytest.raises(Unauthenticated, match="token_malformed"):
            take_apart(twin)
