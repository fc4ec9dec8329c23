"""The decision log over HTTP: entries, checkpoints and proofs, for reviewers and verifiers."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from gateway.decisionlog.log import LogEntry
from gateway.errors import NotFound, Rejected
from gateway.store import launches
from gateway.surfaces import access
from gateway.surfaces.http import models
from gateway.surfaces.http.routes import Call, Route, answer

_PAGE = 500


async def decisions(call: Call) -> web.StreamResponse:
    """List decisions, newest first; for reviewers."""
    await _reviewer(call)
    limit = call.number("limit", 50, _PAGE)
    found = await call.parts.log.newest(limit, event_prefix="decision.")
    return answer(call, {"entries": [_view(item) for item in found], "size": call.parts.log.size})


async def decision(call: Call) -> web.StreamResponse:
    """Show one decision: to those who may see its launch."""
    entry = await call.parts.log.find(call.text("id"))
    if entry is None:
        raise NotFound("decision_not_found", "there is no such decision", field="id")
    launch_id = entry.value["launch_id"]
    async with call.parts.policy.lease() as policy:
        if launch_id is None:
            access.demand_reviewer(policy, call.principal)
        else:
            record = await call.parts.database.read(partial(launches.get, launch_id=launch_id))
            access.demand_sight(policy, call.principal, record)
    return answer(call, _view(entry))


async def entries(call: Call) -> web.StreamResponse:
    """Read the log in order; for reviewers."""
    await _reviewer(call)
    start, limit = call.number("start", 0, 2**53), call.number("limit", 100, _PAGE)
    found = await call.parts.log.entries(start, limit)
    return answer(call, {"entries": [_view(item) for item in found], "size": call.parts.log.size})


async def checkpoint(call: Call) -> web.StreamResponse:
    """Return the newest signed checkpoint."""
    _ = call.principal
    text = await call.parts.log.checkpoint()
    return answer(call, {"checkpoint": text, "public_key": call.parts.public_key()})


async def inclusion(call: Call) -> web.StreamResponse:
    """Prove that an entry is in the tree of a size."""
    _ = call.principal
    size = call.number("size", call.parts.log.size, call.parts.log.size)
    seq = call.number("seq", 0, 2**53)
    if seq >= size:
        raise Rejected("query_invalid", "seq must be below size", field="seq")
    hashes = await call.parts.log.inclusion_proof(seq, size)
    return answer(call, {"hashes": hashes, "root": await call.parts.log.root(size)})


async def consistency(call: Call) -> web.StreamResponse:
    """Prove that the tree of one size is a prefix of another's."""
    _ = call.principal
    second = call.number("second", call.parts.log.size, call.parts.log.size)
    first = call.number("first", 0, second)
    hashes = await call.parts.log.consistency_proof(first, second)
    return answer(call, {"hashes": hashes, "root": await call.parts.log.root(second)})


async def _reviewer(call: Call) -> None:
    async with call.parts.policy.lease() as policy:
        access.demand_reviewer(policy, call.principal)


def _view(entry: LogEntry) -> dict[str, object]:
    return {
        "seq": entry.seq,
        "leaf_hash": entry.leaf_hash,
        "bytes": entry.raw.decode(),
        "entry": entry.value,
    }


_LIMIT = ("limit", "At most this many, up to 500.")
ROUTES = (
    Route("GET", "/v1/decisions", decisions, "List decisions, newest first", models.LogEntries,
          query=(_LIMIT,)),
    Route("GET", "/v1/decisions/{id}", decision, "Show one decision", models.LogEntryView),
    Route("GET", "/v1/log/checkpoint", checkpoint, "Newest signed checkpoint", models.Checkpoint),
    Route("GET", "/v1/log/entries", entries, "Read the log in order", models.LogEntries,
          query=(("start", "First sequence number."), _LIMIT)),
    Route("GET", "/v1/log/proof/inclusion", inclusion, "Prove that an entry is included",
          models.Proof, query=(("seq", "The entry."), ("size", "Tree size; now by default."))),
    Route("GET", "/v1/log/proof/consistency", consistency, "Prove that the log only grew",
          models.Proof, query=(("first", "Older size."), ("second", "Newer size."))),
)  # fmt: skip
