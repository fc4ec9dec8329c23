"""Talks to an API server, as one user: plain objects in and out, every failure one of ours.

The official client (``kubernetes.aio``) finds the server and logs in: kubeconfigs with their
plug-ins, in-cluster tokens and their renewal, TLS. Its models are not used: they drop fields that
they do not know, and what is compared must be what the server said.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import aiohttp

from gateway.errors import GatewayError, IntegrityViolation, Misconfigured, Retryable

if TYPE_CHECKING:  # half a second and 40 MB, which a gateway without a cluster need not pay
    from kubernetes.aio.client import ApiClient
    from kubernetes.aio.client.rest import RESTResponse

Object = dict[str, Any]

_TOKEN_LIVES = 60.0  # seconds for which a token's file is not read again
_CONNECTIONS = 64
_SILENCE = 150.0  # seconds of a watch; a bookmark comes each minute
_LONGEST_EVENT = 8_000_000  # bytes; etcd keeps objects below 1.5 MB, and JSON is longer
_LONGEST = 16_000_000  # bytes of one answer; a list of 1,000 pods has some 8 MB
_OK, _UNKNOWN_USER, _CONFLICT, _GONE, _TOO_MANY, _BROKEN = 400, 401, 409, 410, 429, 500
_PAGE = "500"  # objects of one answer
_DRY_RUN = {"dryRun": "All"}
_STRICT = {"fieldValidation": "Strict"}
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class ClusterAway(Retryable):
    """Nobody answered, or not now. What was asked for may have happened all the same."""


class ClusterRefused(GatewayError):
    """The API server said no: HTTP's ``code``, Kubernetes' ``reason``, and its sentence."""

    def __init__(self, http_status: int, reason: str, message: str) -> None:
        """``reason`` is a word of the Kubernetes API: ``NotFound``, ``AlreadyExists`` ..."""
        super().__init__(
            "cluster_refused", f"the cluster refused: {message}", diagnostics=f"{http_status}"
        )
        self.http_status = http_status
        self.reason = reason
        self.message = message

    @property
    def missing(self) -> bool:
        """Whether there is no such object."""
        return self.reason == "NotFound"

    @property
    def exists(self) -> bool:
        """Whether there is one of that name already."""
        return self.reason == "AlreadyExists"


class WatchExpired(Retryable):
    """The server no longer knows the version from which to watch: list again."""


class ClusterClient:
    """One user of one API server.

    Everything that asks it raises ``ClusterRefused``, ``ClusterAway`` where the answer is not known
    (nor what came of the question), ``Misconfigured`` (``cluster_token``) where the token's file
    cannot be read, and ``IntegrityViolation`` (``cluster_answer``) where an answer is no object.
    """

    def __init__(self, client: ApiClient, token: Path | None = None) -> None:
        """Use ``open``."""
        self._client = client
        self._token = token
        self._token_text = ""
        self._token_read = -_TOKEN_LIVES
        self.requests = 0  # so far

    @classmethod
    async def open(cls, kubeconfig: Path | None = None, token: Path | None = None) -> Self:
        """Log in with a kubeconfig, or as the pod that we are; ``token`` is a file to use instead.

        Raises ``Misconfigured``: ``cluster_config``.
        """
        from kubernetes.aio.client import ApiClient, Configuration
        from kubernetes.aio.config import (
            ConfigException,
            load_incluster_config,
            load_kube_config,
        )

        configuration = Configuration()
        try:
            if kubeconfig is None:
                load_incluster_config(configuration)
            else:
                await load_kube_config(str(kubeconfig), client_configuration=configuration)
        except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:
            where = str(kubeconfig) if kubeconfig else "the pod's own service account"
            raise Misconfigured(
                "cluster_config",
                f"cannot log in to a cluster with {where}: {error}",
                field="cluster.kubeconfig",
            ) from error
        if token is not None:
            configuration.api_key.clear()
            configuration.refresh_api_key_hook = None
            configuration.cert_file = configuration.key_file = None
        configuration.connection_pool_maxsize = _CONNECTIONS
        configuration.retries = None  # who calls knows what may be repeated
        return cls(ApiClient(configuration), token)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def get(self, path: str, **query: str) -> Object:
        """Return an object or a list. Raises ``ClusterRefused`` (``missing``), ``ClusterAway``."""
        return await self._object("GET", path, query)

    async def listed(self, path: str, *, metadata_only: bool = False) -> AsyncIterator[Object]:
        """Yield every object of a collection, a page at a time, all as of one moment.

        ``metadata_only`` leaves out what the objects hold: of ConfigMaps that is nearly all.
        """
        query = {"limit": _PAGE}
        while True:
            accept = _METADATA if metadata_only else _JSON
            page = await self._object("GET", path, query, accept=accept)
            items, meta = page.get("items"), page.get("metadata")
            if not (isinstance(items, list) and isinstance(meta, dict)):
                raise IntegrityViolation("cluster_answer", "the cluster's answer is no list")
            for item in items:
                yield item
            if not meta.get("continue"):
                return
            query["continue"] = meta["continue"]

    async def create(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Create under a collection; fields that the schema lacks are refused."""
        return await self._object("POST", path, _query(_STRICT, dry_run=dry_run), body)

    async def apply(
        self, path: str, body: Mapping[str, Any], manager: str, *, dry_run: bool = False
    ) -> Object:
        """Apply an object on the server's side; other managers' fields are taken over."""
        query = _query({**_STRICT, "fieldManager": manager, "force": "true"}, dry_run=dry_run)
        return await self._object("PATCH", path, query, body, APPLY)

    async def merge(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Change an object by a merge patch (RFC 7396).

        Fields are not checked against the schema: it costs the server a tenth of a cut's time, and
        guard rails look at what comes of the patch.
        """
        query = _query({"fieldValidation": "Ignore"}, dry_run=dry_run)
        return await self._object("PATCH", path, query, body, MERGE)

    async def delete(self, path: str, *, grace: int | None = None, uid: str | None = None) -> None:
        """Delete an object, this very one where ``uid`` is given; one that is gone is no error."""
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._object("DELETE", path, {}, body)
        except ClusterRefused as error:
            other = uid is not None and error.http_status == _CONFLICT
            if not (error.missing or other):
                raise

    async def data(self, path: str, limit: int, **query: str) -> bytes:
        """Return an answer as it comes, cut at ``limit`` bytes.

        Raises ``ClusterRefused`` (``missing``), ``ClusterAway``, ``Misconfigured``.
        """
        async with _translated():
            response = await self._send("GET", path, query, None, _JSON)
            try:
                if response.status >= _OK:
                    raise _refusal(response.status, await response.content.read(_LONGEST))
                found = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    found += chunk
                    if len(found) >= limit:
                        break
                return bytes(found[:limit])
            finally:
                response.close()

    async def watch(
        self, path: str, version: str, *, seconds: int = 300
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield what changes in a collection: ``ADDED``, ``MODIFIED``, ``DELETED``, ``BOOKMARK``.

        Ends when the server ends it, after ``seconds`` at the latest. Raises ``WatchExpired`` when
        ``version`` is too old.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        async with _translated():
            response = await self._send(
                "GET", path, query, None, _JSON, seconds + 30, silence=_SILENCE
            )
            try:
                if response.status >= _OK:
                    raise _expired(_refusal(response.status, await response.content.read(_LONGEST)))
                async for line in _lines(response.content):
                    event = _parsed(line)
                    kind, found = str(event.get("type")), event.get("object") or {}
                    if kind == "ERROR":
                        status = int(found.get("code") or _BROKEN)
                        raise _expired(_refusal(status, json.dumps(found).encode()))
                    yield kind, found
            finally:
                response.close()

    async def _object(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> Object:
        async with _translated():
            response = await self._send(method, path, query, body, content, accept=accept)
            data = await response.read()
        if response.status >= _OK:
            raise _refusal(response.status, data)
        return _parsed(data)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        content: str,
        seconds: float = 30.0,
        silence: float | None = None,
        accept: str = _JSON,
    ) -> aiohttp.ClientResponse:
        self.requests += 1
        configuration = self._client.configuration
        url = f"{configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Content-Type": content, "Accept": accept}
        if login := await self._login():
            headers["Authorization"] = login
        answer: RESTResponse = await self._client.rest_client.request(
            method,
            url,
            headers=headers,
            body=body,
            _request_timeout=aiohttp.ClientTimeout(total=seconds, connect=10, sock_read=silence),
        )
        response: aiohttp.ClientResponse = answer.response
        if response.status == _UNKNOWN_USER:
            self._token_read = -_TOKEN_LIVES  # it may have been rotated: read it again
        return response

    async def _login(self) -> str | None:
        if self._token is None:
            login: str | None = await self._client.configuration.get_api_key_with_prefix(
                "BearerToken", alias="authorization"
            )
            return login
        if time.monotonic() - self._token_read >= _TOKEN_LIVES:
            try:
                self._token_text = (await asyncio.to_thread(self._token.read_text)).strip()
            except OSError as error:
                raise Misconfigured(
                    "cluster_token", f"cannot read the token {self._token}: {error.strerror}"
                ) from error
            self._token_read = time.monotonic()
        return f"Bearer {self._token_text}"


class _translated:  # noqa: N801 -- used as a statement
    """Turn the client library's faults of transport into ours."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
            raise ClusterAway(
                "cluster_away",
                "the cluster's API server does not answer; try again",
                diagnostics=f"{type(error).__name__}: {error}",
            ) from error


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield whole lines; aiohttp's own reader gives up on lines of 128 KiB."""
    rest = bytearray()
    async for chunk in content.iter_any():
        rest += chunk
        *lines, last = rest.split(b"\n")
        rest = bytearray(last)
        for line in lines:
            yield bytes(line)
        if len(rest) > _LONGEST_EVENT:
            raise ClusterAway("cluster_away", "an event of the cluster is too long")


def _query(base: Mapping[str, str], *, dry_run: bool) -> dict[str, str]:
    return {**base, **(_DRY_RUN if dry_run else {})}


def _parsed(data: bytes) -> Object:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ClusterAway("cluster_away", "the cluster's answer is not JSON") from error
    if not isinstance(value, dict):
        raise IntegrityViolation("cluster_answer", "the cluster's answer is no object")
    return value


def _refusal(status: int, data: bytes) -> GatewayError:
    """Return the error of an answer of 400 or above."""
    try:
        answer = json.loads(data)
        reason, message = str(answer.get("reason") or ""), str(answer.get("message") or "")
    except (ValueError, AttributeError, RecursionError):
        reason, message = "", data[:500].decode(errors="replace")
    refused = ClusterRefused(status, reason, message or f"HTTP status {status}")
    if status == _UNKNOWN_USER:
        stranger = ClusterAway(
            "cluster_login", "the cluster does not take the gateway's token or certificate",
            diagnostics=message,
        )  # fmt: skip
        stranger.__cause__ = refused
        return stranger
    if status >= _BROKEN or status == _TOO_MANY:
        away = ClusterAway(
            "cluster_away", "the cluster's API server is overloaded or failing; try again",
            diagnostics=f"{status} {message}",
        )  # fmt: skip
        away.__cause__ = refused
        return away
    return refused


def _expired(error: GatewayError) -> GatewayError:
    if isinstance(error, ClusterRefused) and error.http_status == _GONE:
        return WatchExpired("watch_expired", "the watch is too old: list again")
    return error
