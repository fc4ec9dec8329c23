"""The development issuer: whose tokens the ordinary verifier takes, and where it may not be."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from identity_forge import NOW, Clock, accepted, refused
from structlog.testing import capture_logs

from gateway.errors import Misconfigured, Unprocessable
from gateway.identity.development import ISSUER, DevIssuer, development_issuer
from gateway.identity.issuers import Issuer
from gateway.identity.keys import StaticKeys
from gateway.identity.verifier import TokenVerifier
from gateway.settings import IdentitySettings, IssuerSettings, Settings
from tests.fixtures.identity.unasked import Unasked


@pytest.fixture
def issuer(tmp_path: Path) -> DevIssuer:
    """Return an issuer with a fresh key."""
    return DevIssuer.open(tmp_path / "keys")


@pytest.fixture
def verifier(issuer: DevIssuer, clock: Clock) -> TokenVerifier:
    """Return a verifier that trusts it."""
    row = issuer.row()
    return TokenVerifier(
        [Issuer.from_settings(row, StaticKeys(row.keys))],
        leeway_seconds=30,
        clock=clock,
        seen=Unasked(),
    )


def said(token: str) -> dict[str, Any]:
    """Return a token's claims, unverified."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_human(issuer: DevIssuer, verifier: TokenVerifier) -> None:
    """Somebody at the command line is a human of their groups, who signed in just now."""
    token = issuer.issue(subject="alice", groups=["data", "security"], now=NOW)
    principal = await accepted(verifier, token)
    assert principal.subject.account == "https://dev.sluice.local#alice"
    assert principal.subject.groups == ("data", "security")
    assert (principal.kind, principal.client_id) == ("human", "sluice-cli")
    assert (principal.auth_time, principal.expires_at) == (NOW, NOW + 3600)


async def test_sign_in_may_be_older_than_the_token(
    issuer: DevIssuer, verifier: TokenVerifier
) -> None:
    """``auth_time`` can be given, to try what an old sign-in may not do."""
    token = issuer.issue(subject="alice", now=NOW, auth_time=NOW - 7200)
    assert (await accepted(verifier, token)).auth_time == NOW - 7200


@pytest.mark.parametrize("client", ["copilot", "anything-else"])
async def test_agent(issuer: DevIssuer, verifier: TokenVerifier, client: str) -> None:
    """An agent's client, and any client that is not listed, acts for its subject as an agent."""
    token = issuer.issue(subject="alice", client=client, now=NOW)
    principal = await accepted(verifier, token)
    assert (principal.kind, principal.subject.kind) == ("agent", "human")
    assert [actor.subject for actor in principal.actors] == [client]
    assert "auth_time" not in said(token)


async def test_service(issuer: DevIssuer, verifier: TokenVerifier) -> None:
    """The ``ci`` client is a service, and nobody signed in."""
    token = issuer.issue(subject="nightly", client="ci", now=NOW)
    assert (await accepted(verifier, token)).kind == "service"
    assert "auth_time" not in said(token)


async def test_actor(issuer: DevIssuer, verifier: TokenVerifier) -> None:
    """``act`` names who acts for the subject; then nobody is human."""
    token = issuer.issue(subject="alice", act="planner", now=NOW)
    principal = await accepted(verifier, token)
    assert [actor.subject for actor in principal.actors] == ["planner"]
    assert (principal.kind, principal.auth_time) == ("agent", None)


async def test_each_token_has_its_own_id(issuer: DevIssuer) -> None:
    """Two tokens of one second differ in ``jti``."""
    one, two = (said(issuer.issue(subject="alice", now=NOW))["jti"] for _ in range(2))
    assert one != two


@pytest.mark.parametrize("ttl", [1, 86_400])
async def test_lifetime(issuer: DevIssuer, verifier: TokenVerifier, clock: Clock, ttl: int) -> None:
    """A token lives for its ``ttl``, up to a day."""
    token = issuer.issue(subject="alice", ttl=ttl, now=NOW)
    assert (await accepted(verifier, token)).expires_at == NOW + ttl
    clock.now = NOW + ttl + 30
    assert await refused(verifier, token) == "token_expired"


@pytest.mark.parametrize("ttl", [0, -1, 86_401])
def test_lifetime_that_no_verifier_takes(issuer: DevIssuer, ttl: int) -> None:
    """Whoever asks for more than a day is told so."""
    with pytest.raises(Unprocessable, match="ttl_out_of_range"):
        issuer.issue(subject="alice", ttl=ttl)


@pytest.mark.parametrize(
    "changes", [{"subject": ""}, {"client": ""}, {"groups": ["a\n"]}, {"act": ""}]
)
def test_name_that_no_verifier_takes(issuer: DevIssuer, changes: dict[str, Any]) -> None:
    """A name that cannot name anybody is refused when the token is made."""
    with pytest.raises(Unprocessable, match="name_invalid"):
        issuer.issue(**({"subject": "alice"} | changes))


async def test_key_is_kept(tmp_path: Path, verifier: TokenVerifier) -> None:
    """Another process that opens the same folder signs with the same key."""
    again = DevIssuer.open(tmp_path / "keys")
    assert await accepted(verifier, again.issue(subject="alice", now=NOW))


async def test_key_of_another_folder(tmp_path: Path, verifier: TokenVerifier) -> None:
    """Two installations do not trust each other's tokens, nor mix up their keys."""
    other = DevIssuer.open(tmp_path / "other")
    assert await refused(verifier, other.issue(subject="alice", now=NOW)) == "key_unknown"


def test_key_file_is_its_owners(tmp_path: Path) -> None:
    """File and folder are made for their owner alone, and nothing else is left behind."""
    DevIssuer.open(tmp_path / "keys")
    path = tmp_path / "keys" / "dev-issuer.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    """Of several that find no key, one makes it and all use that one."""
    with ThreadPoolExecutor(8) as pool:
        issuers = list(pool.map(DevIssuer.open, [tmp_path] * 8))
    assert len({json.dumps(issuer.row().keys) for issuer in issuers}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["dev-issuer.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_exposed_key(tmp_path: Path, mode: int) -> None:
    """A key that others may read or replace is not used."""
    DevIssuer.open(tmp_path)
    (tmp_path / "dev-issuer.key").chmod(mode)
    with pytest.raises(Misconfigured, match="key_exposed"):
        DevIssuer.open(tmp_path)


def test_damaged_key(tmp_path: Path) -> None:
    """A file that is no key stops the start, and is not replaced."""
    path = tmp_path / "dev-issuer.key"
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(Misconfigured, match="key_damaged"):
        DevIssuer.open(tmp_path)
    assert path.read_bytes() == b"short"


def test_trusting_it_is_logged(issuer: DevIssuer) -> None:
    """A gateway that adds the row says so in its log (invariant 9)."""
    with capture_logs() as logs:
        row = issuer.row()
    assert [line["event"] for line in logs] == ["development_issuer_trusted"]
    assert "d" not in row.keys[0]


@pytest.mark.parametrize(
    "identity",
    [
        IdentitySettings(development_issuer=True),
        IdentitySettings(issuers=(IssuerSettings(issuer=ISSUER),)),
    ],
)
def test_never_in_production(tmp_path: Path, identity: IdentitySettings) -> None:
    """Neither the setting nor a row that an operator wrote brings it into production."""
    settings = Settings(environment="production", identity=identity)
    with pytest.raises(Misconfigured) as caught:
        development_issuer(settings, tmp_path)
    assert caught.value.code == "development_issuer_in_production"
    assert list(tmp_path.iterdir()) == []


def test_only_where_the_settings_ask_for_it(tmp_path: Path) -> None:
    """Without the setting there is none, and no key is made."""
    assert development_issuer(Settings(), tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    wanted = Settings(identity=IdentitySettings(development_issuer=True))
    assert isinstance(development_issuer(wanted, tmp_path), DevIssuer)
