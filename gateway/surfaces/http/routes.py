"""The route table's row, and what every handler is given."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel

from gateway.errors import Rejected, Unauthenticated
from gateway.launch import LaunchService
from gateway.lifecycle.approval import Approval
from gateway.lifecycle.parts import Parts
from gateway.model import Principal

B = TypeVar("B", bound=BaseModel)
Handler = Callable[["Call"], Awaitable[web.StreamResponse]]
PARTS: web.AppKey[Parts] = web.AppKey("parts", Parts)
SERVICE: web.AppKey[LaunchService] = web.AppKey("service", LaunchService)
APPROVAL: web.AppKey[Approval] = web.AppKey("approval", Approval)
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: how it is reached, what it takes and gives, and what it is for."""

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | None
    body: type[BaseModel] | None = None
    status: int = 200
    public: bool = False
    query: tuple[tuple[str, str], ...] = ()
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()  # of the request
    refusals: tuple[tuple[int, str], ...] = ()  # problems that a client should expect


@dataclass(frozen=True, slots=True)
class Call:
    """One request with its verified principal."""

    request: web.Request
    route: Route
    caller: Principal | None

    @property
    def parts(self) -> Parts:
        """The collaborators."""
        return self.request.app[PARTS]

    @property
    def service(self) -> LaunchService:
        """The nine steps."""
        return self.request.app[SERVICE]

    @property
    def approval(self) -> Approval:
        """Step 6's desk, for reading."""
        return self.request.app[APPROVAL]

    @property
    def principal(self) -> Principal:
        """Who asks. Raises when a public route asks for it: no principal is ever made up."""
        if self.caller is None:
            raise Unauthenticated("token_missing", "this needs a token", step="authenticate")
        return self.caller

    def text(self, name: str) -> str:
        """Return a part of the path."""
        return self.request.match_info[name]

    def number(self, name: str, default: int, most: int) -> int:
        """Return a whole number of the query, within 0..most. Raises ``Rejected``."""
        text = self.request.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text) <= most):  # noqa: PLR2004 -- digits of 2^53
            raise Rejected(
                "query_invalid", f"{name} must be a whole number up to {most}", field=name
            )
        return int(text)

    async def body(self, model: type[B]) -> B:
        """Parse and validate the JSON body. Raises ``ValidationError`` or ``Rejected``."""
        if self.request.content_type != "application/json":
            raise Rejected(
                "content_type",
                "send Content-Type: application/json",
                step="admit",
                field="Content-Type",
            )
        try:
            value = json.loads(await self.request.read(), object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError) as error:
            raise Rejected(
                "body_invalid", "the body is not valid JSON", step="admit", diagnostics=str(error)
            ) from error
        return model.model_validate(value)


def answer(call: Call, value: Any, *, status: int | None = None, **headers: str) -> web.Response:  # noqa: ANN401 -- JSON values
    """Answer with JSON of the route's model. The values come from typed views."""
    return web.Response(
        status=status or call.route.status,
        text=json.dumps(value),
        content_type=call.route.media_type,
        headers=headers,
    )


def bearer(request: web.Request) -> str:
    """Return the bearer token (RFC 6750 section 2.1). Raises ``Unauthenticated``."""
    headers = request.headers.getall("Authorization", [])
    if len(headers) != 1 or not headers[0].lower().startswith(_BEARER):
        raise Unauthenticated(
            "token_missing",
            "send the header `Authorization: Bearer TOKEN`; in development: `sluice token`",
            step="authenticate",
        )
    return headers[0][len(_BEARER) :].strip()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found
