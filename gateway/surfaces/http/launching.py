"""Launches, plans, approvals and the catalogue over HTTP."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from gateway.errors import NotFound, Rejected
from gateway.lifecycle.approval import Answer
from gateway.model import LaunchRequest, TaskGraph
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.launches import LaunchRecord
from gateway.surfaces import access, views
from gateway.surfaces.http import models
from gateway.surfaces.http.problems import denied
from gateway.surfaces.http.routes import Call, Route, answer

_PAGE = 200


async def pipelines(call: Call) -> web.StreamResponse:
    """List the catalogue."""
    _ = call.principal
    async with call.parts.policy.lease() as policy:
        found = [views.pipeline(item) for item in policy.snapshot.data.pipelines.values()]
    return answer(call, {"pipelines": found})


async def pipeline(call: Call) -> web.StreamResponse:
    """Show one pipeline."""
    _ = call.principal
    async with call.parts.policy.lease() as policy:
        item = policy.snapshot.data.pipelines.get(call.text("name"))
    if item is None:
        raise NotFound("pipeline_not_found", "there is no such pipeline", field="name")
    return answer(call, views.pipeline(item))


async def plan(call: Call) -> web.StreamResponse:
    """Dry run: the answer that a launch would get."""
    body = await call.body(models.LaunchBody)
    request = LaunchRequest(body.pipeline, body.parameters, body.reason, dry_run=True)
    return answer(call, views.dry_run(await call.service.plan(call.principal, request)))


async def launch(call: Call) -> web.StreamResponse:
    """Launch a pipeline: 202 and ``Location``, or 403 with what to change."""
    body = await call.body(models.LaunchBody)
    key = _idempotency_key(call)
    request = LaunchRequest(body.pipeline, body.parameters, body.reason)
    record = await call.service.launch(call.principal, request, key)
    if record.state is LaunchState.DENIED:
        return denied(record)
    return answer(call, _view(call, record), Location=f"/v1/launches/{record.id}")


async def list_launches(call: Call) -> web.StreamResponse:
    """List launches: a reviewer sees all, everybody else their own."""
    principal, limit = call.principal, call.number("limit", 50, _PAGE)
    async with call.parts.policy.lease() as policy:
        everything = access.is_reviewer(policy, principal)
    subject = None if everything else principal.subject.account
    found = await call.parts.database.read(partial(launches.recent, subject=subject, limit=limit))
    return answer(call, {"launches": [_view(call, record) for record in found]})


async def show_launch(call: Call) -> web.StreamResponse:
    """Show one launch with its tasks."""
    record = await visible(call)
    graph: TaskGraph | None = None
    if record.graph_ref and record.state is not LaunchState.DENIED:
        graph = await call.parts.database.read(partial(launches.get_graph, ref=record.graph_ref))
    rows = await call.parts.database.read(partial(launches.tasks, launch_id=record.id))
    tasks = views.tasks(graph, rows, withhold=access.withheld(call.principal, record))
    return answer(call, {**_view(call, record), "tasks": tasks})


async def cancel(call: Call) -> web.StreamResponse:
    """Stop a launch."""
    record = await visible(call)
    async with call.parts.policy.lease() as policy:
        access.demand_control(policy, call.principal, record)
    return answer(call, _view(call, await call.service.cancel(call.principal, record.id)))


async def answer_approval(call: Call) -> web.StreamResponse:
    """Approve or reject a launch that waits. Whoever may not is told why, and the log has it."""
    body = await call.body(models.AnswerBody)
    verdict: Answer = body.verdict
    after = await call.service.answer(
        call.principal, call.text("id"), verdict, body.plan_digest, body.comment
    )
    return answer(call, _view(call, after))


async def approvals(call: Call) -> web.StreamResponse:
    """List what waits for the caller."""
    found = []
    for request in await call.approval.waiting(call.principal):
        record = await call.parts.database.read(partial(launches.get, launch_id=request.launch_id))
        found.append(
            {
                "launch_id": request.launch_id,
                "pipeline": record.pipeline,
                "requested_by": record.principal.to_json(),
                "reason": record.reason,
                "plan_digest": request.plan_digest,
                "needs": list(request.needs),
                "missing": list(request.missing),
                "expires_at": request.expires_at,
            }
        )
    return answer(call, {"approvals": found})


async def visible(call: Call) -> LaunchRecord:
    """Return the launch of the path, if the caller may see it. Raises ``NotFound``."""
    record = await call.parts.database.read(partial(launches.get, launch_id=call.text("id")))
    async with call.parts.policy.lease() as policy:
        access.demand_sight(policy, call.principal, record)
    return record


def _view(call: Call, record: LaunchRecord) -> dict[str, object]:
    withhold = access.withheld(call.principal, record)
    return views.launch(record, call.parts.binder.warning, withhold=withhold)


def _idempotency_key(call: Call) -> str | None:
    key = call.request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):  # noqa: PLR2004 -- stated in the message
        raise Rejected(
            "idempotency_key_invalid",
            "Idempotency-Key must be 1 to 255 printable ASCII characters",
            field="Idempotency-Key",
        )
    return key


ROUTES = (
    Route("GET", "/v1/pipelines", pipelines, "List the catalogue", models.Pipelines),
    Route("GET", "/v1/pipelines/{name}", pipeline, "Show one pipeline", models.PipelineView),
    Route(
        "POST", "/v1/plans", plan, "Dry run: the answer that a launch would get",
        models.PlanAnswer, models.LaunchBody,
    ),
    Route(
        "POST", "/v1/launches", launch, "Launch a pipeline",
        models.LaunchView, models.LaunchBody, status=202,
        headers=(("Idempotency-Key", "The same key and body within 24 h give the same launch."),),
        refusals=((403, "Denied: `violations` say why"), (503, "Not now; retry with the key")),
    ),
    Route(
        "GET", "/v1/launches", list_launches, "List launches, newest first", models.Launches,
        query=(("limit", "At most this many, up to 200."),),
    ),
    Route("GET", "/v1/launches/{id}", show_launch, "Show a launch and its tasks",
          models.LaunchDetail),
    Route("POST", "/v1/launches/{id}/cancel", cancel, "Stop a launch", models.LaunchView),
    Route(
        "POST", "/v1/launches/{id}/approvals", answer_approval, "Approve or reject a launch",
        models.LaunchView, models.AnswerBody,
    ),
    Route("GET", "/v1/approvals", approvals, "List what waits for me", models.Approvals),
)  # fmt: skip
