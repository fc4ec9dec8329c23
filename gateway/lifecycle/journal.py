"""What was cut, on this machine's own disk: so that a log that is down forgets nothing of it.

A file of lines, each one JSON object, appended and synced: that a cut was ordered, how it went, and
for which launches the log has it. It holds accounts, launch ids and reasons, and never a token or
a parameter. It proves nothing; the log does, as soon as it can be written again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import structlog

from gateway.canonical import Json
from gateway.errors import Misconfigured
from gateway.model import Principal
from gateway.runs.executor import Cut
from gateway.store import files
from gateway.store.launches import principal_from_json

_log = structlog.get_logger()
_MODE = 0o600
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)

CutKind = Literal["launch_id", "principal", "pipeline"]


@dataclass(frozen=True, slots=True)
class CutOrder:
    """Somebody's word that launches lose their network: who, when, what was meant, and why."""

    id: str
    at: str
    by: Principal
    kind: CutKind
    name: str
    reason: str
    launches: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Return the order as a line holds it."""
        return {
            "id": self.id,
            "at": self.at,
            "by": self.by.to_json(),
            "kind": self.kind,
            "name": self.name,
            "reason": self.reason,
            "launches": list(self.launches),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> CutOrder:
        """Read what ``to_json`` wrote."""
        return CutOrder(
            id=str(value["id"]),
            at=str(value["at"]),
            by=principal_from_json(value["by"]),
            kind=value["kind"],
            name=str(value["name"]),
            reason=str(value["reason"]),
            launches=tuple(map(str, value["launches"])),
        )


class OpenCut:
    """An order that the log does not hold yet for each of its launches."""

    def __init__(self, order: CutOrder) -> None:
        """Start with all launches to be cut and to be logged."""
        self.order = order
        self.done: dict[str, Cut] = {}
        self.left = set(order.launches)
        self.busy = False  # whether somebody carries it out now


class Journal:
    """The file. What writes to it raises ``OSError``."""

    def __init__(self, path: Path) -> None:
        """``path`` is made when it is first needed."""
        self._path = path
        self._writing = asyncio.Lock()

    async def ordered(self, order: CutOrder) -> None:
        """Return when the order is on the disk."""
        await self._append({"event": "cut.ordered", **order.to_json()})

    async def done(self, order_id: str, cuts: Mapping[str, Cut]) -> None:
        """Return when it is on the disk how each launch's cut went."""
        went: dict[str, Json] = {
            launch_id: {
                "tasks": cut.tasks,
                "milliseconds": round(cut.seconds * 1000),
                "left": cut.left,
                "why": cut.why,
            }
            for launch_id, cut in cuts.items()
        }
        await self._append({"event": "cut.done", "id": order_id, "launches": went})

    async def logged(self, order_id: str, launch_ids: Iterable[str]) -> None:
        """Return when it is on the disk that the decision log has it for these launches."""
        names: list[Json] = [*launch_ids]
        await self._append({"event": "cut.logged", "id": order_id, "launches": names})

    async def open(self) -> list[OpenCut]:
        """Return the orders that the log may lack, oldest first. Raises ``Misconfigured``."""
        try:
            return await asyncio.to_thread(self._read)
        except OSError as error:
            raise Misconfigured(
                "journal_unreadable", f"cannot read the journal {self._path}: {error.strerror}"
            ) from error

    async def _append(self, value: Mapping[str, Json]) -> None:
        line = json.dumps(value, separators=(",", ":")).encode()
        async with self._writing:
            await asyncio.to_thread(files.append_line, self._path, line, mode=_MODE)

    def _read(self) -> list[OpenCut]:
        found: dict[str, OpenCut] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        for number, line in enumerate(lines, 1):
            try:
                _take(found, json.loads(line))
            except _MALFORMED as error:  # a crash may cut a line short; the others still count
                _log.error("journal_line_unreadable", line=number, detail=str(error))
        return [cut for cut in found.values() if cut.left]


def _take(found: dict[str, OpenCut], value: Mapping[str, Any]) -> None:
    match value["event"]:
        case "cut.ordered":
            order = CutOrder.from_json(value)
            found[order.id] = OpenCut(order)
        case "cut.done":
            found[value["id"]].done = {
                launch_id: Cut(
                    went["tasks"], went["milliseconds"] / 1000, went["left"], went["why"]
                )
                for launch_id, went in value["launches"].items()
            }
        case "cut.logged":
            found[value["id"]].left -= set(value["launches"])
