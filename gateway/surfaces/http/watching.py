"""What a launch does, as it happens: Server-Sent Events, and the logs of its tasks."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import structlog
from aiohttp import web

from gateway.decisionlog.log import LogEntry
from gateway.errors import GatewayError, NotFound, Rejected
from gateway.lifecycle.hub import Watcher
from gateway.store import launches
from gateway.surfaces import access, views
from gateway.surfaces.http.launching import visible
from gateway.surfaces.http.routes import Call, Route

_log = structlog.get_logger()
_BATCH = 200
_HEARTBEAT = 15.0  # seconds
_TAIL = 262_144


async def events(call: Call) -> web.StreamResponse:
    """Stream a launch's log entries and progress until it ends.

    ``id`` is the log sequence number, so ``Last-Event-ID`` resumes exactly. Progress has no id and
    is not repeated. The last event is ``end`` with the final state.
    """
    record = await visible(call)
    after = _last_seen(call)
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    response.enable_chunked_encoding()
    with call.parts.hub.watch(record.id) as watcher:
        await response.prepare(call.request)
        try:
            await _stream(call, response, watcher, record.id, after)
        except (ConnectionResetError, asyncio.CancelledError):
            return response  # the reader went away, or the gateway stops
        except GatewayError as error:  # the answer has begun: break off, the reader resumes
            _log.warning("stream_broken", launch_id=record.id, code=error.code)
            if call.request.transport:
                call.request.transport.abort()
    return response


async def _stream(
    call: Call, response: web.StreamResponse, watcher: Watcher, launch_id: str, after: int
) -> None:
    while not call.parts.hub.closed:
        told = await watcher.wait(_HEARTBEAT)
        record = await call.parts.database.read(partial(launches.get, launch_id=launch_id))
        withhold = access.withheld(call.principal, record)
        if not told:
            await response.write(b": alive\n\n")
        for progress in told if not withhold else ():
            await response.write(_event("task.progress", None, dict(progress)))
        while entries := await call.parts.log.entries(after + 1, _BATCH, launch_id=launch_id):
            for entry in entries:
                shown = _shown(entry)
                if withhold:
                    shown["body"] = views.event_body(shown["body"])
                await response.write(_event(entry.value["event"], entry.seq, shown))
                after = entry.seq
        if record.state.final:
            view = views.launch(record, "", withhold=withhold)
            end = {name: view[name] for name in ("state", "outcome", "outputs")}
            await response.write(_event("end", None, {"launch_id": launch_id, **end}))
            return


async def task_log(call: Call) -> web.StreamResponse:
    """Return the newest attempt's output of one task, as plain text: untrusted data."""
    record = await visible(call)
    rows = await call.parts.database.read(partial(launches.tasks, launch_id=record.id))
    row = rows.get(call.text("key"))
    if row is None or record.graph_ref is None:
        raise NotFound("task_not_found", "no such task has run in this launch", field="key")
    graph = await call.parts.database.read(partial(launches.get_graph, ref=record.graph_ref))
    node = graph.nodes.get(row.key)
    if node is not None:
        access.demand_task_log(call.principal, node)
    elif call.principal.kind != "human":
        raise NotFound("task_not_found", "no such task has run in this launch", field="key")
    path = call.parts.scratch(record.id) / "logs" / f"{row.key}.{row.attempt}.log"
    text = await asyncio.to_thread(_tail, path)
    return web.Response(
        body=text,
        content_type="text/plain",
        charset="utf-8",
        headers={"X-Content-Type-Options": "nosniff"},
    )


def _tail(path: Any) -> bytes:  # noqa: ANN401 -- a Path
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL))
            data: bytes = file.read()
            return data
    except FileNotFoundError:
        return b""


def _shown(entry: LogEntry) -> dict[str, Any]:
    value = entry.value
    return {name: value[name] for name in ("seq", "timestamp", "event", "launch_id", "body")}


def _event(name: str, seq: int | None, data: dict[str, Any]) -> bytes:
    """Frame one event. JSON has no raw line feeds, so data cannot forge a frame."""
    head = f"event: {name}\n" + (f"id: {seq}\n" if seq is not None else "")
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def _last_seen(call: Call) -> int:
    text = call.request.headers.get("Last-Event-ID")
    if text is None:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) < 16):  # noqa: PLR2004 -- digits of 2^53
        raise Rejected("query_invalid", "Last-Event-ID must be a number", field="Last-Event-ID")
    return int(text)


ROUTES = (
    Route(
        "GET", "/v1/launches/{id}/events", events,
        "Follow a launch (Server-Sent Events); Last-Event-ID resumes", None,
        media_type="text/event-stream",
        headers=(("Last-Event-ID", "Sequence number after which to go on."),),
    ),
    Route(
        "GET", "/v1/launches/{id}/tasks/{key}/log", task_log,
        "Output of a task's newest attempt", None, media_type="text/plain",
    ),
)  # fmt: skip
