"""The verification procedure, step by step, against the known attacks on JSON Web Tokens."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from identity_forge import (
    ISSUER,
    NOW,
    OTHER_ISSUER,
    Clock,
    Forge,
    Keyring,
    Trust,
    accepted,
    b64,
    claims,
    pair,
    refused,
)

from gateway.errors import Misconfigured, Unauthenticated
from gateway.identity.issuers import Issuer
from gateway.identity.keys import StaticKeys
from gateway.identity.refusals import MESSAGES
from gateway.identity.replay import MemorySeenTokens
from gateway.identity.verifier import TokenVerifier
from gateway.settings import IssuerSettings

# The order of P-256's group (SEC 2 section 2.4.2).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


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


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "", "HS256", "eddsa", "PS256", 5])
async def test_algorithm_is_the_row_s_choice(trust: Trust, forge: Forge, algorithm: object) -> None:
    """``none`` in any spelling and every algorithm outside the row are refused."""
    token = forge.token(header={**GOOD_HEADER, "alg": algorithm})
    assert await refused(trust(), token) == "algorithm_refused"
    token = forge.token(header={"kid": "ed", "typ": "at+jwt"})
    assert await refused(trust(), token) == "algorithm_refused"


async def test_none_without_a_signature(trust: Trust, forge: Forge) -> None:
    """An unsecured token has an empty third segment, and that is no segment."""
    token = forge.token(header={**GOOD_HEADER, "alg": "none"}, signature=b"")
    assert await refused(trust(), token) == "token_malformed"


async def test_public_key_is_not_a_shared_secret(
    trust: Trust, forge: Forge, keyring: Keyring
) -> None:
    """HS256 under any spelling of a published key is refused."""
    pem = keyring.rsa.public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    secrets = [pem, pem.strip(), json.dumps(keyring.rsa.jwk).encode(), keyring.ed.jwk["x"].encode()]
    for secret in secrets:
        token = forge.with_secret(secret, kid="rsa")
        assert await refused(trust(), token) == "algorithm_refused"


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


# --- step 4: the key ---------------------------------------------------------------------------


@pytest.mark.parametrize("kid", [None, "", 5, ["ed"], "e\x00d", "x" * 257, "\ud800", " ed"])
async def test_kid_names_a_key(trust: Trust, forge: Forge, kid: object) -> None:
    """Without a ``kid`` that can name a key no key is tried."""
    assert await refused(trust(), forge.token(kid=kid)) == "token_malformed"


@pytest.mark.parametrize(
    "kid",
    ["../../etc/passwd", "/dev/null", "' OR 1=1 --", "https://evil.example/k", "Ed", "ed\u200c"],
)
async def test_kid_is_a_name_and_nothing_more(trust: Trust, forge: Forge, kid: str) -> None:
    """A ``kid`` is looked up and never opened, queried or fetched."""
    assert await refused(trust(), forge.token(kid=kid)) in {"key_unknown", "token_malformed"}


@pytest.mark.parametrize(
    ("kid", "algorithm"), [("rsa", "ES256"), ("ec", "RS256"), ("ed", "ES256"), ("ec", "EdDSA")]
)
async def test_algorithm_must_fit_the_key(
    trust: Trust, forge: Forge, kid: str, algorithm: str
) -> None:
    """An allowed algorithm under a key of another sort finds no key."""
    token = forge.token(header={"alg": algorithm, "kid": kid, "typ": "JWT"})
    assert await refused(trust(), token) == "key_unknown"


async def test_key_that_says_its_algorithm_verifies_no_other(
    trust: Trust, forge: Forge, keyring: Keyring
) -> None:
    """An RSA key published for RS256 does not verify PS256, though the mathematics would."""
    pss = pair(keyring.rsa.private, "PS256", "rsa")
    either = trust(algorithms=("RS256", "PS256"))
    assert await accepted(either, forge.token(key=pss))
    only = trust(algorithms=("RS256", "PS256"), keys=({**keyring.rsa.jwk, "alg": "RS256"},))
    assert await refused(only, forge.token(key=pss)) == "key_unknown"


async def test_key_of_another_issuer(trust: Trust, forge: Forge, keyring: Keyring) -> None:
    """Keys belong to their row: a trusted issuer cannot sign for another one."""
    assert await refused(trust(), forge.token(key=keyring.stranger)) == "signature_invalid"
    token = forge.token(claims(iss=OTHER_ISSUER), key=keyring.ed)
    assert await refused(trust(), token) == "signature_invalid"


# --- step 5: signature, audience, required claims ----------------------------------------------


async def test_changed_bytes(trust: Trust, forge: Forge) -> None:
    """A claim changed after signing breaks the signature."""
    header, _payload, signature = forge.token().split(".")
    payload = b64(json.dumps(claims(sub="root")).encode())
    assert await refused(trust(), f"{header}.{payload}.{signature}") == "signature_invalid"


@pytest.mark.parametrize(
    "signature",
    [
        bytes(64),
        bytes(63),
        bytes(65),
        b"\x00",
        P256_ORDER.to_bytes(32, "big") * 2,
        bytes(32) + P256_ORDER.to_bytes(32, "big"),
        b"\xff" * 64,
        encode_dss_signature(0, 0),
    ],
    ids=["psychic", "short", "long", "one byte", "r=s=n", "s=n", "beyond", "DER zero"],
)
@pytest.mark.parametrize("sort", ["ec", "ed", "rsa"])
async def test_signatures_out_of_nothing(
    trust: Trust, forge: Forge, keyring: Keyring, sort: str, signature: bytes
) -> None:
    """Zeroes (CVE-2022-21449), the group's order and odd lengths are no signatures."""
    token = forge.token(key=getattr(keyring, sort), signature=signature)
    assert await refused(trust(), token) == "signature_invalid"


async def test_ecdsa_signature_in_der(trust: Trust, forge: Forge, keyring: Keyring) -> None:
    """A right signature in the wrong encoding, or with a byte more, is none (RFC 7518 3.4)."""
    token = forge.token(key=keyring.ec)
    signed, _, text = token.rpartition(".")
    raw = base64.urlsafe_b64decode(text + "==")
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    for other in (encode_dss_signature(r, s), raw + b"\x00", b"\x00" + raw, raw[:32] + raw):
        assert await refused(trust(), f"{signed}.{b64(other)}") == "signature_invalid"


async def test_ecdsa_twin_signature_is_the_same_token(
    trust: Trust, forge: Forge, keyring: Keyring
) -> None:
    """Anybody can turn s into n - s; that the token counts once hangs on its jti and not on it."""
    verifier = trust(single_use=True)
    token = forge.token(key=keyring.ec)
    signed, _, text = token.rpartition(".")
    raw = base64.urlsafe_b64decode(text + "==")
    twin = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    assert await accepted(verifier, token)
    assert await refused(verifier, f"{signed}.{b64(twin)}") == "token_replayed"


async def test_key_on_another_curve(trust: Trust, forge: Forge) -> None:
    """ES256 is P-256: a P-384 key is never bound to it."""
    p384 = pair(ec.generate_private_key(ec.SECP384R1()), "ES384", "p384")
    verifier = trust(keys=(p384.jwk,), algorithms=("ES256", "ES384"))
    assert await accepted(verifier, forge.token(key=p384))
    assert await refused(verifier, forge.token(key=p384, alg="ES256")) == "key_unknown"


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
    trust: Trust, forge: Forge, clock: Clock
) -> None:
    """Up to the last moment at which leeway lets a token pass, its jti is remembered."""
    verifier, token = trust(single_use=True), forge.token()
    assert await accepted(verifier, token)
    for moment in (NOW, NOW + 599, NOW + 601, NOW + 629.9):
        clock.now = moment
        assert await refused(verifier, token) == "token_replayed"
    clock.now = NOW + 630
    assert await refused(verifier, token) == "token_expired"


async def test_refused_token_is_not_used_up(trust: Trust, forge: Forge, clock: Clock) -> None:
    """A token that came too early counts when it comes again in time."""
    verifier, token = trust(single_use=True), forge.token()
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
        TokenVerifier([issuer, issuer], leeway_seconds=30, seen=MemorySeenTokens())


@pytest.mark.parametrize("leeway", [-1, 31])
def test_leeway_is_bounded(leeway: int) -> None:
    """More than 30 seconds of leeway is refused, whoever builds the verifier."""
    with pytest.raises(Misconfigured, match="leeway"):
        TokenVerifier([], leeway_seconds=leeway, seen=MemorySeenTokens())


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
