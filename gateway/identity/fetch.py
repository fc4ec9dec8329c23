"""One HTTP request for an issuer's key set, under bounds that hold whatever the server does.

Only https, or http on loopback; no redirect is followed; 3 seconds and 256 KiB are the end of it.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from gateway.errors import Misconfigured
from gateway.identity.keys import KeySet
from gateway.identity.strict import parse_object

MAX_BYTES = 256 * 1024
MAX_KEYS = 100
_HTTP_OK = 200
_HEADERS = {
    "Accept": "application/jwk-set+json, application/json",
    # A compressed body could be larger than its bound before we see a byte of it.
    "Accept-Encoding": "identity",
}


class FetchFailed(Exception):
    """The key set could not be had this time; the text says why, for the operator."""


def trusted_url(text: str) -> URL:
    """Return the URL of a key set. Raises ``Misconfigured`` (code ``jwks_url_unsafe``)."""
    try:
        url = URL(text)
        safe = url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.host))
        plain = url.host and not (url.user or url.password or url.fragment)
    except ValueError as error:
        raise Misconfigured("jwks_url_unsafe", f"jwks_url {text!a} is not a URL") from error
    if not (safe and plain):
        raise Misconfigured(
            "jwks_url_unsafe",
            f"jwks_url {text!a}: use https without a user name (http on loopback only)",
        )
    return url


async def fetch_keys(session: ClientSession, url: URL, timeout_seconds: float) -> KeySet:
    """Return the key set at ``url``. Raises ``FetchFailed``."""
    timeout = ClientTimeout(total=timeout_seconds)
    try:
        async with session.get(
            url, allow_redirects=False, timeout=timeout, headers=_HEADERS
        ) as response:
            body = await _bounded_body(response)
    # TimeoutError is an OSError; a session that was closed is a RuntimeError.
    except (ClientError, OSError, ValueError, RuntimeError) as error:
        raise FetchFailed(f"{type(error).__name__}: {error}") from error
    # A hundred RSA keys take some ten milliseconds to read: not on the event loop.
    return await asyncio.to_thread(_parse, body)


async def _bounded_body(response: ClientResponse) -> bytes:
    if response.status != _HTTP_OK:
        raise FetchFailed(f"status {response.status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchFailed("compressed although the request said identity")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise FetchFailed(f"more than {MAX_BYTES} bytes")
    return bytes(body)


def _parse(body: bytes) -> KeySet:
    try:
        jwks = parse_object(body).get("keys")
    except ValueError as error:
        raise FetchFailed(f"not a key set: {error}") from error
    if not isinstance(jwks, Sequence) or isinstance(jwks, str) or len(jwks) > MAX_KEYS:
        raise FetchFailed(f"not a key set: keys is not a list of at most {MAX_KEYS}")
    return KeySet.of(jwks)


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
