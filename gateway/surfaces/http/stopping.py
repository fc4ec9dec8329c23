"""Narrowing over HTTP: one authorised person is enough, and neither store nor log is needed."""

from __future__ import annotations

from aiohttp import web

from gateway.errors import Retryable
from gateway.lifecycle.cutting import CutReport, CutTarget
from gateway.surfaces import access
from gateway.surfaces.http import models
from gateway.surfaces.http.operating import OPERATING
from gateway.surfaces.http.routes import Call, Route, answer


async def stop(call: Call) -> web.StreamResponse:
    """Take the network away from launches, then stop them: 503 where a task has it still."""
    body = await call.body(models.StopBody)
    target = _target(body)
    await _demand(call, target)
    report = await call.service.cut(call.principal, target, body.reason)
    seconds = call.request.app[OPERATING].metrics.cut_seconds
    for item in report.launches:
        seconds.observe(item.cut.seconds)
    _demand_complete(report)
    return answer(call, {"kind": body.kind, **_view(report)})


async def _demand(call: Call, target: CutTarget) -> None:
    """Raise unless the caller may: of one launch as for a cancel, of more reviewers alone.

    What a reviewer asks waits for no row, so that it works while the store is down.
    """
    async with call.parts.policy.lease() as policy:
        if access.is_reviewer(policy, call.principal):
            return
        if target.kind != "launch_id":
            access.demand_wide_control(policy, call.principal)
        record = await call.service.known(target.name)
        access.demand_control(policy, call.principal, record)


def _target(body: models.StopBody) -> CutTarget:
    if body.launch_id is not None:
        return CutTarget("launch_id", body.launch_id)
    if body.principal is not None:
        return CutTarget("principal", body.principal)
    return CutTarget("pipeline", body.pipeline or "")


def _demand_complete(report: CutReport) -> None:
    """Raise ``Retryable`` where a task still has its network."""
    open_ones = [item for item in report.launches if item.cut.left]
    if not open_ones:
        return
    left = sum(item.cut.left for item in open_ones)
    lost = sum(item.cut.tasks for item in report.launches)
    raise Retryable(
        "cut_incomplete",
        f"{left} tasks of {len(open_ones)} launches still have their network, {lost} lost it: "
        f"{open_ones[0].cut.why}. All of them are being stopped; cut again",
        step="run",
        diagnostics=" ".join(item.launch_id for item in open_ones),
    )


def _view(report: CutReport) -> dict[str, object]:
    return {
        "launches": [
            {
                "launch_id": item.launch_id,
                "tasks": item.cut.tasks,
                "seconds": round(item.cut.seconds, 3),
                "state": item.state,
                "logged": item.logged,
                "note": item.cut.why,
            }
            for item in report.launches
        ],
        "seconds": round(report.seconds, 3),
        "warning": report.warning,
    }


ROUTES = (
    Route(
        "POST", "/v1/stops", stop, "Take the network away from launches, then stop them",
        models.StopAnswer, models.StopBody,
        refusals=((503, "`cut_incomplete`: some tasks still have their network; cut again"),),
    ),
)  # fmt: skip
