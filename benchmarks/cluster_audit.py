"""The API server's own record of who asked for what and when, in microseconds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

RUNNER = "system:serviceaccount:sluice:sluice-runner"
BINDER = "system:serviceaccount:sluice:sluice-binder"


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was answered. Times are seconds since 1970."""

    user: str
    verb: str
    resource: str
    name: str
    code: int
    received: float
    answered: float

    @property
    def done(self) -> bool:
        """Whether the server did as it was asked."""
        return self.code < 300


class Audit:
    """The audit log of a bed: what the gateway asked for, and what others did to its objects."""

    def __init__(self, path: Path) -> None:
        """``path`` is the file that the API server appends to, before it answers."""
        self._path = path

    def mark(self) -> int:
        """Return where the record ends now."""
        return self._path.stat().st_size

    def since(self, mark: int) -> list[Request]:
        """Return what was answered after ``mark``, in the order in which it was, but dry runs."""
        return [
            _request(event)
            for event in self._events(mark)
            if event["stage"] == "ResponseComplete" and "dryRun=" not in event["requestURI"]
        ]

    def asked(self, mark: int, *users: str) -> int:
        """Return how many requests users made after ``mark``: dry, refused and open ones too."""
        return len(
            {
                event["auditID"]  # a watch is told of when it begins and when it ends
                for event in self._events(mark)
                if event["user"]["username"] in users
            }
        )

    def _events(self, mark: int) -> list[dict[str, Any]]:
        with self._path.open("rb") as file:
            file.seek(mark)
            return [json.loads(line) for line in file if line.endswith(b"\n")]


def _request(event: dict[str, Any]) -> Request:
    target = event.get("objectRef", {})
    parts = [target.get("resource", ""), target.get("subresource", "")]
    return Request(
        user=event["user"]["username"],
        verb=event["verb"],
        resource="/".join(part for part in parts if part),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        received=_seconds(event["requestReceivedTimestamp"]),
        answered=_seconds(event["stageTimestamp"]),
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
