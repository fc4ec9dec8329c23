"""For those who operate the gateway: alive, ready, measured, documented. None needs a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.metrics import Metrics
from gateway.surfaces.http import models
from gateway.surfaces.http.openapi import document
from gateway.surfaces.http.routes import Call, Route, answer


@dataclass(frozen=True, slots=True)
class Operating:
    """What the operating routes show: functions, so that each answer is of this moment."""

    readiness: Callable[[], Awaitable[Mapping[str, Any]]]
    metrics: Metrics
    before_scrape: Callable[[], Awaitable[None]]


OPERATING: web.AppKey[Operating] = web.AppKey("operating", Operating)


async def health(call: Call) -> web.StreamResponse:
    """Alive: the event loop answers."""
    return answer(call, {"status": "ok"})


async def ready(call: Call) -> web.StreamResponse:
    """Ready, or 503 with what is not."""
    value = dict(await call.request.app[OPERATING].readiness())
    return answer(call, value, status=200 if value["ready"] else 503)


async def metrics(call: Call) -> web.StreamResponse:
    """Expose metrics for Prometheus."""
    operating = call.request.app[OPERATING]
    await operating.before_scrape()
    return web.Response(
        body=operating.metrics.text(),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )


async def openapi(call: Call) -> web.StreamResponse:
    """Return the OpenAPI document."""
    return answer(call, call.request.app[DOCUMENT])


DOCUMENT: web.AppKey[dict[str, Any]] = web.AppKey("document", dict)
ROUTES = (
    Route("GET", "/healthz", health, "Alive", models.Health, public=True),
    Route("GET", "/readyz", ready, "Ready, or what is not", models.Readiness, public=True,
          refusals=((503, "Not ready: the same document"),)),
    Route("GET", "/metrics", metrics, "Metrics for Prometheus", None, public=True,
          media_type="text/plain"),
    Route("GET", "/openapi.json", openapi, "This document", None, public=True),
)  # fmt: skip
__all__ = ["DOCUMENT", "OPERATING", "ROUTES", "Operating", "document"]
