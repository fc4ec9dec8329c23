"""What the API server itself recorded of a launch: its audit log, held against our promises.

The server writes when each request ended, by its own clock. Order is by that clock alone; nothing
here believes the gateway.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.cluster.marks import PROBE

_REFUSED = 400


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and whether the server obeyed."""

    verb: str
    resource: str  # `pods`, `pods/log`, `ciliumnetworkpolicies`
    name: str
    user: str
    began: str  # RFC 3339 in UTC with microseconds: sorts as text
    ended: str
    obeyed: bool


@dataclass(frozen=True, slots=True)
class Order:
    """How the policies and pods of one launch came about."""

    pods: int  # created, questions aside
    early: tuple[str, ...]  # pods whose creation began before their policy had been read back
    twice: tuple[str, ...]  # names that were created more than once
    requests: int  # about the launch's pods and their logs, by the gateway, obeyed or not
    by_verb: dict[str, int]

    @property
    def per_task(self) -> float:
        """Requests for each pod."""
        return self.requests / self.pods if self.pods else 0.0


def calls(audit_log: Path, *words: str) -> list[Call]:
    """Return what the server recorded with one of ``words`` in it, in its order."""
    with audit_log.open(encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines if any(word in line for word in words)]
    found = [_call(event) for event in events if event["stage"] == "ResponseComplete"]
    return sorted(found, key=lambda call: call.ended)


def order(audit_log: Path, launch_id: str, policies: Iterable[str], user: str) -> Order:
    """Hold the pods of a launch against the policies that it needs, all by name.

    A pod is early when any of ``policies`` had not been created, or found, and read once more, when
    the server took the request for the pod. ``user`` is who the gateway's runner is to the server.
    """
    prefix, named = launch_id.replace("-", ""), set(policies)
    recorded = calls(audit_log, prefix, *named)
    in_force = {name: _read_back(recorded, name) for name in named}
    mine = [call for call in recorded if call.name.startswith(prefix) and call.user == user]
    made = [
        call for call in mine if (call.verb, call.resource, call.obeyed) == ("create", "pods", True)
    ]
    tasks = [call for call in made if f"-{PROBE}-" not in call.name]
    ready = max(in_force.values(), default="")
    names = Counter(call.name for call in made)
    counted = [call for call in mine if f"-{PROBE}-" not in call.name]
    return Order(
        pods=len(tasks),
        early=tuple(call.name for call in made if not ready or call.began <= ready),
        twice=tuple(name for name, count in names.items() if count > 1),
        requests=len(counted),
        by_verb=dict(Counter(f"{call.verb} {call.resource}" for call in counted)),
    )


def _read_back(recorded: Iterable[Call], name: str) -> str:
    """Return when a policy was first read by its name; "9" when it never was."""
    reads = (
        call.ended
        for call in recorded
        if call.obeyed
        and (call.verb, call.resource, call.name) == ("get", "ciliumnetworkpolicies", name)
    )
    return min(reads, default="9")


def _call(event: dict[str, Any]) -> Call:
    about = event["objectRef"]
    parts = filter(None, (about.get("resource"), about.get("subresource")))
    name = about.get("name") or (event.get("requestURI") or "").rpartition("/")[2]
    return Call(
        verb=event["verb"],
        resource="/".join(parts),
        name=name,
        user=event["user"]["username"],
        began=event["requestReceivedTimestamp"],
        ended=event["stageTimestamp"],
        obeyed=event.get("responseStatus", {}).get("code", _REFUSED) < _REFUSED,
    )
