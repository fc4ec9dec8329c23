"""Puts the route table behind the checks that every request passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import ValidationError

from gateway.clock import new_id
from gateway.errors import GatewayError
from gateway.launch import LaunchService
from gateway.lifecycle.approval import Approval
from gateway.lifecycle.parts import Parts
from gateway.metrics import Metrics
from gateway.surfaces.http import audit, launching, operating, problems, stopping, watching
from gateway.surfaces.http.operating import DOCUMENT, OPERATING, Operating, document
from gateway.surfaces.http.routes import APPROVAL, PARTS, SERVICE, Call, Route, bearer

_log = structlog.get_logger()
ROUTES: Sequence[Route] = (
    *operating.ROUTES,
    *launching.ROUTES,
    *stopping.ROUTES,
    *watching.ROUTES,
    *audit.ROUTES,
)


def make_server(
    parts: Parts, service: LaunchService, approval: Approval, shown: Operating
) -> web.Application:
    """Return the aiohttp application of the route table."""
    limit = parts.settings.http.max_body_bytes
    app = web.Application(client_max_size=limit, middlewares=[_guard(shown.metrics)])
    app[PARTS], app[SERVICE], app[APPROVAL], app[OPERATING] = parts, service, approval, shown
    app[DOCUMENT] = document(ROUTES)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _handler(route), name=_name(route))
    return app


def _handler(route: Route) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        principal = None
        if not route.public:
            principal = await request.app[SERVICE].authenticate(bearer(request))
        return await route.handler(Call(request, route, principal))

    return handle


def _guard(metrics: Metrics) -> Middleware:
    """Turn every error into a problem, count every request, and name it in the operator's log."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "unknown"
        started = time.perf_counter()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=new_id())
        response = await _answered(request, handler)
        metrics.requests.labels(route, response.status).inc()
        if response.content_type != "text/event-stream":
            metrics.seconds.labels(route).observe(time.perf_counter() - started)
        return response

    return guard


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except GatewayError as error:
        return problems.from_error(error)
    except ValidationError as error:
        return problems.from_validation(error)
    except web.HTTPRequestEntityTooLarge as error:
        return problems.problem(
            413, "body_too_large", error.text or "the body is too large", step="admit"
        )
    except web.HTTPException as error:
        return problems.problem(error.status, f"http_{error.status}", error.reason)
    except asyncio.CancelledError:
        raise
    except Exception:  # noqa: BLE001 -- the last line: no request ends without a problem document
        _log.exception("request_broken", path=request.path)
        return problems.problem(500, "internal_error", "the gateway failed; the log has details")
    return response


def _name(route: Route) -> str:
    return f"{route.method}-{route.handler.__name__}"
