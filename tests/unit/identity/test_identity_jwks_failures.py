"""Remote key sets that cannot be had: bounded in time and size, and never in the way."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from aiohttp import ClientSession, web
from identity_forge import Clock, Keyring, KeyServer, until
from structlog.testing import capture_logs

from gateway.errors import Misconfigured, Retryable
from gateway.identity.jwks import RemoteKeys

HOUR = 3600.0


async def unavailable(keys: RemoteKeys) -> int:
    """Return when to come back, where the keys cannot be had."""
    with pytest.raises(Retryable) as caught:
        await keys.key("ed", "EdDSA")
    assert caught.value.code == "keys_unavailable"
    assert caught.value.step == "authenticate"
    assert caught.value.retry_after is not None
    return caught.value.retry_after


# --- the issuer is down or slow -------------------------------------------------------------------


async def test_issuer_that_was_never_reached(
    remote: RemoteKeys, key_server: KeyServer, clock: Clock
) -> None:
    """Without any keys the answer is not known: retryable, with a back-off that doubles."""
    key_server.say("down", status=500)
    waits = []
    for attempt in range(1, 9):
        waits.append(await unavailable(remote))
        await asyncio.gather(*(unavailable(remote) for _ in range(20)))
        assert key_server.requests == attempt
        clock.now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_success_ends_the_back_off(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring, clock: Clock
) -> None:
    """After a success failures count from one again, and old keys are asked for before use."""
    key_server.say("down", status=500)
    for _ in range(4):
        clock.now += await unavailable(remote)
    key_server.publish(keyring.ed)
    assert await remote.key("ed", "EdDSA") is not None
    key_server.publish(keyring.rsa)
    clock.now += HOUR
    assert await remote.key("ed", "EdDSA") is None
    key_server.say("down", status=500)
    clock.now += 25 * HOUR
    assert await unavailable(remote) == 1


async def test_last_keys_serve_while_the_issuer_is_down(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring, clock: Clock
) -> None:
    """Errors leave the last keys in force for a day; then nobody is believed."""
    key_server.publish(keyring.ed)
    assert await remote.key("ed", "EdDSA") is not None
    key_server.say("down", status=503)
    clock.now += 23 * HOUR
    assert await remote.key("ed", "EdDSA") is not None
    assert key_server.requests == 2
    clock.now += HOUR - 1
    assert await remote.key("ed", "EdDSA") is not None
    clock.now += 1
    await unavailable(remote)
    key_server.publish(keyring.ed)
    clock.now += 120
    assert await remote.key("ed", "EdDSA") is not None


async def test_slow_issuer_delays_one_lookup(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring, clock: Clock
) -> None:
    """While an issuer hangs, the first lookup waits out the bound and later ones do not wait."""
    key_server.publish(keyring.ed)
    assert await remote.key("ed", "EdDSA") is not None
    gate = asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        await gate.wait()
        return web.json_response({"keys": []})

    key_server.answer = answer
    clock.now += HOUR
    assert await asyncio.wait_for(remote.key("ed", "EdDSA"), 1) is not None
    clock.now += 5
    assert await asyncio.wait_for(remote.key("ed", "EdDSA"), 0.1) is not None
    await until(lambda: key_server.requests == 3)
    gate.set()


async def test_server_that_is_not_there(session: ClientSession, clock: Clock) -> None:
    """A refused connection is a failure like any other."""
    keys = RemoteKeys("http://127.0.0.1:1/jwks", session, clock=clock)
    await unavailable(keys)
    await keys.close()


async def test_session_that_was_closed(key_server: KeyServer, clock: Clock) -> None:
    """A lookup after the application closed its session is a failure like any other."""
    session = ClientSession()
    keys = RemoteKeys(key_server.url, session, clock=clock)
    await session.close()
    with capture_logs() as logs:
        await unavailable(keys)
    assert [line["event"] for line in logs] == ["key_set_unavailable"]
    await keys.close()


async def test_failure_is_logged_with_its_reason(remote: RemoteKeys, key_server: KeyServer) -> None:
    """The operator reads what happened."""
    key_server.say("", status=500)
    with capture_logs() as logs:
        await unavailable(remote)
    assert [(line["event"], line["reason"]) for line in logs] == [
        ("key_set_unavailable", "status 500")
    ]


async def test_close_ends_a_request_under_way(
    key_server: KeyServer, session: ClientSession, clock: Clock
) -> None:
    """Closing waits for nobody, and whoever waited is told to come back."""
    gate = asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        await gate.wait()
        return web.json_response({"keys": []})

    key_server.answer = answer
    keys = RemoteKeys(key_server.url, session, clock=clock)
    waiting = asyncio.create_task(unavailable(keys))
    await until(lambda: key_server.requests == 1)
    await asyncio.wait_for(keys.close(), 0.5)
    assert await waiting
    gate.set()


# --- what it answers ------------------------------------------------------------------------------


async def test_body_that_trickles(remote: RemoteKeys, key_server: KeyServer) -> None:
    """The bound is on the whole answer: a byte now and then does not keep a request alive."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    key_server.answer = answer
    await asyncio.wait_for(unavailable(remote), 1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring, status: int
) -> None:
    """Whoever can make the issuer's server redirect does not choose the keys."""
    key_server.publish(keyring.ed)
    good = key_server.answer
    assert good is not None

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/elsewhere":
            return await good(request)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    key_server.answer = answer
    await unavailable(remote)
    assert key_server.requests == 1


@pytest.mark.parametrize("declared", [True, False])
async def test_body_beyond_256_kib(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring, declared: bool
) -> None:
    """A set that is too large is not read to its end, whether or not its length was announced."""
    body = json.dumps({"keys": [keyring.ed.jwk], "x": "a" * 262_144}).encode()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if declared:
            response.content_length = len(body)
        await response.prepare(request)
        await response.write(body)
        return response

    key_server.answer = answer
    await unavailable(remote)


async def test_compressed_body(remote: RemoteKeys, key_server: KeyServer) -> None:
    """What was compressed against our wish is not unpacked: its size could be anything."""

    async def answer(_request: web.Request) -> web.Response:
        body = gzip.compress(b'{"keys":[]}')
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    key_server.answer = answer
    await unavailable(remote)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "[]",
        "{}",
        '{"keys":{}}',
        '{"keys":"abc"}',
        '{"keys":null}',
        '{"keys":[],"keys":[]}',
        '{"keys":[],"k\\u0065ys":[]}',
        '{"keys":[{"kid":"a","kid":"b"}]}',
        '{"keys":[NaN]}',
        "[" * 100_000,
        json.dumps({"keys": [{}] * 101}),
    ],
)
async def test_answer_that_is_no_key_set(
    remote: RemoteKeys, key_server: KeyServer, text: str
) -> None:
    """Anything but one JSON object with a list of at most 100 keys is a failure."""
    key_server.say(text)
    await unavailable(remote)


async def test_bad_key_is_skipped_with_a_warning(
    remote: RemoteKeys, key_server: KeyServer, keyring: Keyring
) -> None:
    """A secret, a duplicate or a small key in the set is named in the log; the others serve."""
    secret = {"kty": "oct", "kid": "ed", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ"}
    key_server.publish(secret, keyring.ed, {"kty": "RSA", "kid": "bad", "n": "AQ", "e": "AQAB"})
    with capture_logs() as logs:
        assert await remote.key("ed", "EdDSA") is not None
    assert [line["event"] for line in logs] == ["key_skipped", "key_skipped"]
    assert secret["k"] not in json.dumps(logs)


# --- where keys may come from ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.org/jwks",
        "http://10.0.0.1/jwks",
        "http://127.0.0.1.example.org/jwks",
        "http://0.0.0.0/jwks",
        "https://user:secret@id.example.org/jwks",
        "https://id.example.org/jwks#x",
        "file:///etc/passwd",
        "ftp://id.example.org/jwks",
        "https://",
        "//id.example.org/jwks",
        "jwks",
        "",
        "http://[::1",
    ],
)
async def test_url_that_could_be_tampered_with(session: ClientSession, url: str) -> None:
    """Keys come over https, or from this machine itself."""
    with pytest.raises(Misconfigured, match="jwks_url_unsafe"):
        RemoteKeys(url, session)


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.org/jwks?x=1",
        "http://127.0.0.1:8080/jwks",
        "http://127.8.8.8/jwks",
        "http://[::1]:8080/jwks",
        "http://localhost/jwks",
    ],
)
async def test_url_that_is_safe(session: ClientSession, url: str) -> None:
    """Any https URL, and http on loopback."""
    assert RemoteKeys(url, session)
