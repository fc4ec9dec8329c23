"""A relay before the API server: what a test does not touch, the real server answers.

A ``Door`` knows bytes; this one knows requests, so that one of them can be lost, or be late, or be
answered by an overloaded load balancer. Who asks is who the token says; no certificate is shown.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web
from bed.api import Api, Object
from bed.objects import collection

_PASSED_ON = ("Authorization", "Content-Type", "Accept")


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    target: str  # path and query
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def object(self) -> Object:
        """What was sent."""
        found: Object = json.loads(self.body or b"{}")
        return found


Touch = Callable[[Asked], Awaitable[int | None]]
"""Returns a status to answer with, in the server's place, or None."""


class Relay:
    """Listens on loopback, in plain HTTP; a context manager."""

    def __init__(self, api: Api) -> None:
        """``api`` is whose server is asked."""
        self._server = api.server
        self._tls = api.with_token("")._tls  # which shows no certificate
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.touch: Touch | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application(client_max_size=1 << 24)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()

    def kubeconfig(self, folder: Path) -> Path:
        """Return a kubeconfig that leads here, without a user."""
        assert self._runner is not None
        host, port = self._runner.addresses[0][:2]
        named = {
            "clusters": [{"name": "x", "cluster": {"server": f"http://{host}:{port}"}}],
            "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        }
        path = folder / "relay.kubeconfig"
        path.write_text(json.dumps({"current-context": "x", **named}), encoding="utf-8")
        return path

    async def pass_on(self, asked: Asked) -> int:
        """Send the server a request, late perhaps; return the status of its answer."""
        async with self._ask(asked) as answer:
            return answer.status

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        body = await request.read()
        asked = Asked(request.method, request.path, request.path_qs, headers, body)
        if self.touch and (status := await self.touch(asked)):
            return web.Response(status=status, text="<html>the load balancer's own words</html>")
        async with self._ask(asked) as answer:
            said = web.StreamResponse(status=answer.status)
            said.content_type = answer.content_type
            await said.prepare(request)
            async for piece in answer.content.iter_any():  # a watch ends when somebody ends it
                await said.write(piece)
            await said.write_eof()
            return said

    def _ask(self, asked: Asked) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        assert self._session is not None
        return self._session.request(
            asked.method,
            f"{self._server}{asked.target}",
            headers=asked.headers,
            data=asked.body,
            ssl=self._tls,
            timeout=aiohttp.ClientTimeout(total=None),
        )


def token_for(api: Api, namespace: str, folder: Path) -> Path:
    """Return a file with the token of an account that may do everything in a namespace."""
    group = "rbac.authorization.k8s.io"
    binding: Object = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "all"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    api.create(f"/apis/{group}/v1/namespaces/{namespace}/rolebindings", binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"{collection(namespace, 'serviceaccounts')}/default/token"
    token = folder / "everything.token"
    token.write_text(api.create(path, request)["status"]["token"], encoding="utf-8")
    return token
