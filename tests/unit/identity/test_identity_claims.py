"""When a token holds: times are whole seconds within bounds, by the verifier's own clock."""

from __future__ import annotations

import json

import pytest
from identity_forge import NOW, Clock, Forge, Trust, accepted, claims, refused


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        (NOW - 31, "token_not_yet_valid"),
        (NOW - 30, None),
        (NOW, None),
        (NOW + 600, None),
        (NOW + 629.9, None),
        (NOW + 630, "token_expired"),
        (NOW + 10**9, "token_expired"),
    ],
)
async def test_token_holds_from_iat_to_exp_with_leeway(
    trust: Trust, forge: Forge, clock: Clock, moment: float, code: str | None
) -> None:
    """Leeway is 30 seconds on both sides, and the clock is the one that was injected."""
    clock.now = moment
    if code is None:
        assert await accepted(trust(), forge.token())
    else:
        assert await refused(trust(), forge.token()) == code


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf", "auth_time"])
@pytest.mark.parametrize(
    "value",
    [
        str(NOW),
        "\u0661\u0662\u0663",
        float(NOW),
        NOW + 0.5,
        True,
        -1,
        0,
        -NOW,
        2**53,
        10**300,
        [NOW],
        {"s": NOW},
    ],
)
async def test_time_is_a_whole_number(
    trust: Trust, forge: Forge, claim: str, value: object
) -> None:
    """Texts, digits of other scripts, floats, booleans, negative and huge numbers are no times."""
    assert await refused(trust(), forge.token(claims(**{claim: value}))) == "claim_invalid"


@pytest.mark.parametrize("literal", ["1.79e9", "1e400", "1790000600.0", "-0"])
async def test_time_is_written_as_a_whole_number(trust: Trust, forge: Forge, literal: str) -> None:
    """A number that only equals a whole one, or overflows, is refused for how it is written."""
    payload = json.dumps(claims(exp=424242)).replace("424242", literal).encode()
    assert await refused(trust(), forge.token(payload)) == "claim_invalid"


async def test_lifetime_is_bounded_by_the_row(trust: Trust, forge: Forge) -> None:
    """An ``exp`` years away is refused however right the signature is."""
    assert await accepted(trust(), forge.token(claims(exp=NOW + 3600)))
    for seconds in (3601, 10 * 365 * 86_400):
        token = forge.token(claims(exp=NOW + seconds))
        assert await refused(trust(), token) == "lifetime_too_long"
    longer = trust(max_lifetime_seconds=86_400)
    assert await accepted(longer, forge.token(claims(exp=NOW + 86_400)))


async def test_old_iat_does_not_shorten_the_lifetime(trust: Trust, forge: Forge) -> None:
    """The lifetime is exp - iat: an old ``iat`` with a far ``exp`` is too long, too."""
    token = forge.token(claims(iat=NOW - 3600, exp=NOW + 10))
    assert await refused(trust(), token) == "lifetime_too_long"


@pytest.mark.parametrize("expires", [NOW, NOW - 5])
async def test_exp_comes_after_iat(trust: Trust, forge: Forge, expires: int) -> None:
    """A token that ends before it began is nonsense, also within the leeway."""
    assert await refused(trust(), forge.token(claims(exp=expires))) == "claim_invalid"


@pytest.mark.parametrize("claim", ["iat", "nbf", "auth_time"])
async def test_nothing_lies_in_the_future(trust: Trust, forge: Forge, claim: str) -> None:
    """Issued, valid or signed in later than now: not yet. A future sign-in would never grow old."""
    assert await accepted(trust(), forge.token(claims(**{claim: NOW + 30})))
    assert await refused(trust(), forge.token(claims(**{claim: NOW + 31}))) == "token_not_yet_valid"


async def test_null_is_not_absent(trust: Trust, forge: Forge) -> None:
    """An optional claim that is there has to have its form; null is not that."""
    for claim in ("nbf", "auth_time", "client_id", "azp", "act"):
        payload = json.dumps(claims() | {claim: None}).encode()
        code = await refused(trust(may_assert_actors=True), forge.token(payload))
        assert code == ("actor_not_allowed" if claim == "act" else "claim_invalid")
