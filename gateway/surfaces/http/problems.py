"""Errors as ``application/problem+json`` (RFC 9457): the only place where they become HTTP."""

from __future__ import annotations

import json
from typing import Any

import structlog
from aiohttp import web
from pydantic import ValidationError

from gateway.errors import GatewayError, Unauthenticated
from gateway.store.launches import LaunchRecord

_log = structlog.get_logger()
MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Request too large",
    422: "Not usable",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available now",
}


def problem(status: int, code: str, detail: str, **more: Any) -> web.Response:  # noqa: ANN401 -- JSON values
    """Return a problem document. ``more`` are members such as ``step`` or ``violations``."""
    body = {
        "type": f"urn:sluice:problem:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "step": None,
        "retryable": False,
        **more,
    }
    return web.Response(status=status, text=json.dumps(body), content_type=MEDIA_TYPE)


def from_error(error: GatewayError) -> web.Response:
    """Return the problem of a gateway error; its diagnostics go to the operator's log only."""
    response = problem(
        error.status,
        error.code,
        error.public_message,
        step=error.step,
        field=error.field,
        retryable=error.retryable,
    )
    if isinstance(error, Unauthenticated):
        refused = f' error="invalid_token", error_description="{error.code}"'
        # RFC 6750 section 3.1: no error code where no credential was sent.
        sent = "" if error.code == "token_missing" else refused
        response.headers["WWW-Authenticate"] = f"Bearer{sent}"
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    level = _log.error if error.status >= 500 else _log.info  # noqa: PLR2004 -- HTTP's own boundary
    level("request_refused", code=error.code, step=error.step, detail=str(error))
    return response


def from_validation(error: ValidationError) -> web.Response:
    """Return the problem of a body that does not fit its model, naming the first field."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "body"
    message = f"{field}: {first['msg']}; see /openapi.json"
    return problem(400, "request_invalid", message, step="admit", field=field)


def denied(record: LaunchRecord) -> web.Response:
    """Return the problem of a launch that was denied: everything needed to ask better."""
    decision: dict[str, Any] = dict(record.decision or {})
    violations = decision.get("violations", [])
    rules = [item["rule"] for item in violations]
    step = "decide" if record.plan else "resolve" if "graph_unresolvable" in rules else "admit"
    detail = "; ".join(item["message"] for item in violations[:5]) or record.outcome
    return problem(
        403,
        "policy_denied",
        detail,
        step=step,
        launch_id=record.id,
        decision_id=decision.get("id"),
        policy_revision=decision.get("policy", {}).get("revision"),
        violations=violations,
        retryable=any(item["values"].get("retryable") is True for item in violations),
    )
