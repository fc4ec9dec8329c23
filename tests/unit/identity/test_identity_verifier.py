"""The verification procedure but for keys: sizes, headers, rows, claims, once only, and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from identity_forge import (
    ISSUER,
    NOW,
    Clock,
    Forge,
    Keyring,
    Trust,
    accepted,
    claims,
    refused,
)

from gateway.errors import Misconfigured, Unauthenticated
from gateway.identity.issuers import Issuer
from gateway.identity.keys import StaticKeys
from gateway.identity.refusals import MESSAGES
from gateway.identity.replay import SeenTokens
from gateway.identity.verifier import TokenVerifier
from gateway.settings import IssuerSettings
from tests.fixtures.identity.unasked import Unasked


@pytest.mark.parametrize("sort", ["ed", "ec", "rsa"])
async def test_good_token_is_its_subject(
    trust: Trust, forge: Forge, keyring: Keyring, sort: str
) -> None:
    """A token that passes every step is a principal with the claims' names and times."""
    principal = await accepted(trust(), forge.token(key=getattr(keyring, sort)))
    assert principal.subject.account == f"{ISSUER}#alice"
    assert (principal.client_id, principal.token_id) == ("cli", "0193-a")
    assert principal.expires_at == NOW + 600


# --- step 1: size and segments -----------------------------------------------------------------


async def test_more_than_8_kib_is_not_read(trust: Trust, forge: Forge) -> None:
    """A token of 8193 characters is refused for its size before anything is decoded."""
    padding = {"x": "a" * 6200}
    assert await refused(trust(), forge.token(claims(**padding))) == "token_too_large"
    assert await refused(trust(), "." * 8193) == "token_too_large"
    assert await refused(trust(), "." * 8192) == "token_malformed"


@pytest.mark.parametrize("segments", [0, 1, 2, 4, 5])
async def test_other_than_three_segments(trust: Trust, forge: Forge, segments: int) -> None:
    """Neither a fragment nor an encrypted token (five segments) is looked at."""
    parts = [*forge.token().split("."), "AAAA", "AAAA"][:segments]
    assert await refused(trust(), ".".join(parts)) == "token_malformed"


@pytest.mark.parametrize("prefix", ["Bearer ", "\ufeff", " "])
async def test_nothing_stands_before_the_token(trust: Trust, forge: Forge, prefix: str) -> None:
    """The verifier repairs nothing: a word or a byte-order mark in front is not a token."""
    assert await refused(trust(), prefix + forge.token()) == "token_malformed"


# --- step 2: members and headers ---------------------------------------------------------------

GOOD_HEADER = {"alg": "EdDSA", "kid": "ed", "typ": "at+jwt"}


@pytest.mark.parametrize("twin", ['"alg":"none"', '"\\u0061lg":"none"', '"a\\u006cg":"EdDSA"'])
async def test_header_member_twice(trust: Trust, forge: Forge, twin: str) -> None:
    """A header with two ``alg``, escaped or not, is refused whichever comes last."""
    good = json.dumps(GOOD_HEADER)[1:-1]
    for members in (f"{{{good},{twin}}}", f"{{{twin},{good}}}"):
        assert await refused(trust(), forge.token(header=members.encode())) == "token_malformed"


@pytest.mark.parametrize("twin", ['"sub":"root"', '"s\\u0075b":"root"', '"x":{"a":1,"\\u0061":2}'])
async def test_claim_twice(trust: Trust, forge: Forge, twin: str) -> None:
    """A payload with a member twice is refused at any depth, also where the signature is right."""
    payload = json.dumps(claims())[:-1] + f",{twin}}}"
    assert await refused(trust(), forge.token(payload.encode())) == "token_malformed"


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b'"text"',
        b"null",
        b"{",
        b"\xff{}",
        json.dumps(claims()).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(claims()).encode(),
        b'{"exp":NaN}',
        b'{"exp":-Infinity}',
        b'{"exp":' + b"9" * 5000 + b"}",
        b'{"x":' + b"[" * 2900 + b"]" * 2900 + b"}",
    ],
    ids=["list", "text", "null", "cut", "latin", "utf-16", "bom", "nan", "inf", "digits", "deep"],
)
async def test_only_a_json_object_in_utf8(trust: Trust, forge: Forge, payload: bytes) -> None:
    """What another parser might read differently is not read at all."""
    assert await refused(trust(), forge.token(payload)) == "token_malformed"


@pytest.mark.parametrize(
    "extra",
    [
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/cert"},
        {"jwk": {"kty": "OKP"}},
        {"x5c": ["MIIB"]},
        {"b64": False},
        {"b64": True},
        {"crit": ["b64"], "b64": False},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
    ],
)
async def test_headers_that_carry_keys_or_demands(
    trust: Trust, forge: Forge, extra: dict[str, Any]
) -> None:
    """Headers that bring or fetch a key, change what is signed, or are critical are refused."""
    assert await refused(trust(), forge.token(**extra)) == "token_malformed"


async def test_key_in_the_header_is_not_used(trust: Trust, forge: Forge, keyring: Keyring) -> None:
    """A token that brings its own matching public key stays a stranger's."""
    token = forge.token(key=keyring.stranger, jwk=keyring.stranger.jwk)
    assert await refused(trust(), token) == "token_malformed"


async def test_harmless_unknown_header_is_ignored(trust: Trust, forge: Forge) -> None:
    """``x5t``, which real issuers send, neither helps nor hurts (RFC 7515 section 4)."""
    assert await accepted(trust(), forge.token(x5t="abc"))


# --- step 3: the issuer's row ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issuer", "code"),
    [
        ("https://evil.example", "issuer_unknown"),
        (ISSUER + "/", "issuer_unknown"),
        (ISSUER.upper(), "issuer_unknown"),
        ("", "issuer_unknown"),
        (7, "issuer_unknown"),
        ([ISSUER], "issuer_unknown"),
        ({"a": 1}, "issuer_unknown"),
        (None, "claim_missing"),
    ],
)
async def test_issuer_is_one_of_the_table_to_the_byte(
    trust: Trust, forge: Forge, issuer: object, code: str
) -> None:
    """An issuer is known by its exact text, and nothing else picks a row."""
    assert await refused(trust(), forge.token(claims(iss=issuer))) == code


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt"])
async def test_typ_is_compared_as_a_media_type(trust: Trust, forge: Forge, typ: str) -> None:
    """Case and the word ``application/`` make no difference (RFC 7515 section 4.1.9)."""
    assert await accepted(trust(), forge.token(typ=typ))


@pytest.mark.parametrize("typ", ["logout+jwt", "id+jwt", "", 5, ["JWT"], None])
async def test_other_typ(trust: Trust, forge: Forge, typ: object) -> None:
    """A token of another kind, or of none where the row does not say so, is refused."""
    assert await refused(trust(), forge.token(typ=typ)) == "token_type_wrong"


async def test_row_may_allow_no_typ(trust: Trust, forge: Forge) -> None:
    """A row that lists the empty text takes tokens without the header: Kubernetes sends such."""
    assert await accepted(trust(types=("",)), forge.token(typ=None))


# --- step 5: audience, required claims ------------------------------------------------------------


@pytest.mark.parametrize(
    ("audience", "code"),
    [
        ("other", "audience_wrong"),
        ("SLUICE", "audience_wrong"),
        ("sluice ", "audience_wrong"),
        (["sluice"], "audience_wrong"),
        (["sluice", "other"], "audience_wrong"),
        ({"sluice": 1}, "audience_wrong"),
        (True, "audience_wrong"),
        ("", "claim_missing"),
        ([], "claim_missing"),
    ],
)
async def test_audience_is_this_gateway_alone(
    trust: Trust, forge: Forge, audience: object, code: str
) -> None:
    """One audience, as a text, equal to the row's: a list is refused even where it holds ours."""
    assert await refused(trust(), forge.token(claims(aud=audience))) == code


@pytest.mark.parametrize("claim", ["iss", "sub", "aud", "exp", "iat", "jti"])
async def test_each_required_claim(trust: Trust, forge: Forge, claim: str) -> None:
    """A token without one of the six claims, or with null for it, is refused."""
    assert await refused(trust(), forge.token(claims(**{claim: None}))) == "claim_missing"
    payload = json.dumps(claims() | {claim: None}).encode()
    assert await refused(trust(), forge.token(payload)) == "claim_missing"


@pytest.mark.parametrize("claim", ["sub", "jti"])
@pytest.mark.parametrize(
    "value", ["", " ", "a\x00b", "a\nb", "a\u202eb", "\ud800", "x" * 257, 7, True, ["a"], {"a": 1}]
)
async def test_names_are_short_visible_texts(
    trust: Trust, forge: Forge, claim: str, value: object
) -> None:
    """A subject or token id that is empty, long, invisible or no text is refused."""
    assert await refused(trust(), forge.token(claims(**{claim: value}))) == "claim_invalid"


async def test_subject_of_256_characters(trust: Trust, forge: Forge) -> None:
    """The longest subject passes, in any script."""
    principal = await accepted(trust(), forge.token(claims(sub="é" * 256)))
    assert principal.subject.subject == "é" * 256


# --- step 7: once only -------------------------------------------------------------------------


async def test_ordinary_token_is_used_again(trust: Trust, forge: Forge) -> None:
    """Without ``single_use`` a client may retry with its token."""
    verifier, token = trust(), forge.token()
    assert await accepted(verifier, token)
    assert await accepted(verifier, token)


async def test_single_use_token_counts_once_until_it_is_too_old(
    trust: Trust, forge: Forge, clock: Clock, seen: SeenTokens
) -> None:
    """Up to the last moment at which leeway lets a token pass, its jti is remembered."""
    verifier, token = trust(single_use=True, seen=seen), forge.token()
    assert await accepted(verifier, token)
    for moment in (NOW, NOW + 599, NOW + 601, NOW + 629.9):
        clock.now = moment
        assert await refused(verifier, token) == "token_replayed"
    clock.now = NOW + 630
    assert await refused(verifier, token) == "token_expired"


async def test_refused_token_is_not_used_up(
    trust: Trust, forge: Forge, clock: Clock, seen: SeenTokens
) -> None:
    """A token that came too early counts when it comes again in time."""
    verifier, token = trust(single_use=True, seen=seen), forge.token()
    clock.now = NOW - 60
    assert await refused(verifier, token) == "token_not_yet_valid"
    clock.now = NOW
    assert await accepted(verifier, token)


# --- construction, and what is told ------------------------------------------------------------


async def test_message_tells_the_way_out_and_not_the_token(trust: Trust, forge: Forge) -> None:
    """The two texts of a refusal hold neither the token nor, for the caller, any detail."""
    for payload in (b"\xff-secret", b"{-secret"):
        with pytest.raises(Unauthenticated) as malformed:
            await trust().verify(forge.token(payload))
        assert "secret" not in str(malformed.value)
    token = forge.token(claims(iss="https://evil.example"))
    with pytest.raises(Exception, match="trusts") as caught:
        await trust().verify(token)
    error = caught.value
    assert token.split(".")[2] not in str(error)
    assert "evil" not in error.public_message
    assert "evil" in error.diagnostics


def test_every_code_has_a_message() -> None:
    """The closed table has one sentence, with a way out, per code."""
    assert all(";" in text or "," in text for text in MESSAGES.values())


def test_one_row_per_issuer(keyring: Keyring) -> None:
    """Two rows for one issuer would let the second decide what the first may mean."""
    row = IssuerSettings(issuer=ISSUER, keys=(keyring.ed.jwk,))
    issuer = Issuer.from_settings(row, StaticKeys(row.keys))
    with pytest.raises(Misconfigured, match="issuer_duplicate"):
        TokenVerifier([issuer, issuer], leeway_seconds=30, seen=Unasked())


@pytest.mark.parametrize("leeway", [-1, 31])
def test_leeway_is_bounded(leeway: int) -> None:
    """More than 30 seconds of leeway is refused, whoever builds the verifier."""
    with pytest.raises(Misconfigured, match="leeway"):
        TokenVerifier([], leeway_seconds=leeway, seen=Unasked())


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "ES256K", "RS1"])
def test_row_cannot_allow_an_unsafe_algorithm(keyring: Keyring, algorithm: str) -> None:
    """``none``, shared secrets and what we do not know cannot be configured."""
    row = IssuerSettings(issuer=ISSUER, keys=(keyring.ed.jwk,), algorithms=("EdDSA", algorithm))
    with pytest.raises(Misconfigured, match="algorithm_unsupported"):
        Issuer.from_settings(row, StaticKeys(row.keys))


@pytest.mark.parametrize("changes", [{"issuer": ""}, {"issuer": "https://a#b"}, {"audience": ""}])
def test_row_needs_an_issuer_and_an_audience(keyring: Keyring, changes: dict[str, str]) -> None:
    """A row whose accounts could be read two ways, or whose audience is nobody, is refused."""
    row = IssuerSettings(**({"issuer": ISSUER, "keys": (keyring.ed.jwk,)} | changes))
    with pytest.raises(Misconfigured, match="issuer_invalid"):
        Issuer.from_settings(row, StaticKeys(row.keys))


@pytest.mark.parametrize("jwks_url", [None, "https://id.example.org/jwks"])
def test_row_says_once_where_its_keys_are(keyring: Keyring, jwks_url: str | None) -> None:
    """No keys at all, or two places for them, is refused: which ones hold would be a guess."""
    keys = () if jwks_url is None else (keyring.ed.jwk,)
    row = IssuerSettings(issuer=ISSUER, jwks_url=jwks_url, keys=keys)
    with pytest.raises(Misconfigured, match="issuer_keys_unclear"):
        Issuer.from_settings(row, StaticKeys(row.keys))
