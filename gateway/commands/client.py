"""A client of a running gateway, for commands: JSON in and out, and the event stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

_LINE = 2**22
_RETRIES = 5


class ClientError(Exception):
    """The gateway refused, or could not be reached. ``problem`` is its problem document, if any."""

    def __init__(self, message: str, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.problem = problem or {}


@dataclass(frozen=True, slots=True)
class Event:
    """One Server-Sent Event."""

    name: str
    data: Mapping[str, Any]
    id: str | None


class GatewayClient:
    """Speaks to one gateway as one token's holder."""

    def __init__(self, url: str, token: str | None) -> None:
        """``url`` as in ``SLUICE_URL``."""
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session = aiohttp.ClientSession(headers=headers, read_bufsize=_LINE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def get(self, path: str, **query: str) -> Any:  # noqa: ANN401 -- JSON
        """GET a JSON document. Raises ``ClientError``."""
        return await self._call("GET", path, params=query)

    async def post(self, path: str, body: Mapping[str, Any] | None = None, **headers: str) -> Any:  # noqa: ANN401 -- JSON
        """POST a JSON document. Raises ``ClientError``."""
        extra: dict[str, Any] = {"json": dict(body)} if body is not None else {}
        return await self._call("POST", path, headers=headers, **extra)

    async def text(self, path: str) -> str:
        """GET plain text. Raises ``ClientError``."""
        return str(await self._call("GET", path))

    async def events(self, launch_id: str) -> AsyncIterator[Event]:
        """Follow a launch to its end, reconnecting where the connection breaks."""
        last: str | None = None
        failures = 0
        while True:
            try:
                async for event in self._stream(launch_id, last):
                    last, failures = event.id or last, 0
                    yield event
                    if event.name == "end":
                        return
            except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
                if failures >= _RETRIES:
                    raise ClientError(f"lost the gateway at {self._url}: {error}") from error
            failures += 1
            if failures > _RETRIES:
                raise ClientError(f"the event stream of {launch_id} ended early")
            await asyncio.sleep(0.2 * failures)

    async def _stream(self, launch_id: str, last: str | None) -> AsyncIterator[Event]:
        headers = {"Last-Event-ID": last} if last else {}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
        url = f"{self._url}/v1/launches/{launch_id}/events"
        async with self._session.get(url, headers=headers, timeout=timeout) as response:
            if response.status != 200:  # noqa: PLR2004 -- OK
                raise await _refused(response)
            fields: dict[str, str] = {}
            async for raw in response.content:
                line = raw.decode().rstrip("\r\n")
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    name = fields.get("event", "message")
                    yield Event(name, json.loads(fields["data"]), fields.get("id"))
                    fields = {}
                else:
                    fields = {}

    async def _call(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401 -- JSON
        try:
            async with self._session.request(method, self._url + path, **more) as response:
                if response.status >= 400:  # noqa: PLR2004 -- HTTP's boundary
                    raise await _refused(response)
                if response.content_type == "application/json":
                    return await response.json()
                return await response.text()
        except aiohttp.ClientConnectionError as error:
            message = f"cannot reach a gateway at {self._url}: is `sluice serve` running? ({error})"
            raise ClientError(message) from error


async def _refused(response: aiohttp.ClientResponse) -> ClientError:
    try:
        problem = json.loads(await response.text())
    except ValueError:
        problem = {}
    detail = problem.get("detail") or f"the gateway answered {response.status}"
    return ClientError(str(detail), problem if isinstance(problem, dict) else {})
