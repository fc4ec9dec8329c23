"""What the API server itself recorded of a launch: its audit log, held against our promises.

The server writes when each request began and ended, by its own clock. Order is by that clock alone;
nothing here believes the gateway.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.cluster.marks import PROBE, RESOLVE

BINDER = "system:serviceaccount:sluice:sluice-binder"
_REFUSED = 400
_POLICIES = "ciliumnetworkpolicies"
_MAKES = {"create", "patch", "update"}
_ENDS = {"delete", "deletecollection"}
_NO_TASKS = tuple(f"-{word}-" for word in (PROBE, RESOLVE))


@dataclass(frozen=True, slots=True)
class Call:
    """One request that was no dry run, and whether the server obeyed."""

    verb: str
    resource: str  # `pods`, `pods/log`, `ciliumnetworkpolicies`
    namespace: str
    name: str  # empty for all that are there
    user: str
    began: str  # RFC 3339 in UTC with microseconds: sorts as text
    ended: str
    obeyed: bool
    narrowed: bool  # a list of those only that a selector chose


@dataclass(frozen=True, slots=True)
class Order:
    """How the policies and pods of one launch came about."""

    pods: int  # created, questions aside
    early: tuple[str, ...]  # pods, and questions, that a policy was not in force before
    twice: tuple[str, ...]  # names that were created more than once


def order(
    audit_log: Path,
    launch_id: str,
    policies: Iterable[str],
    user: str,
    *,
    binder: str = BINDER,
    worn: Mapping[str, str] | None = None,
) -> Order:
    """Hold the pods of a launch against the policies that they need, all by name.

    Each pod needs all of ``policies`` and, where ``worn`` is given, the one that its label named,
    which this says by the pod's name. A pod that ``worn`` does not know, or that needs none, is
    early. ``user`` and ``binder`` are who the gateway's two halves are to the server.
    """
    prefix, named = launch_id.replace("-", ""), frozenset(policies)
    recorded = calls(audit_log, prefix, _POLICIES)
    made = [
        call
        for call in recorded
        if (call.verb, call.resource, call.user, call.obeyed) == ("create", "pods", user, True)
        and call.name.startswith(prefix)
    ]
    about = [call for call in recorded if call.obeyed and call.resource == _POLICIES]

    def early(pod: Call) -> bool:
        needed = named | {worn.get(pod.name, "")} if worn is not None else named
        return not needed or not all(_in_force(about, name, pod, binder) for name in needed)

    names = Counter(call.name for call in made)
    return Order(
        pods=sum(not any(word in call.name for word in _NO_TASKS) for call in made),
        early=tuple(call.name for call in made if early(call)),
        twice=tuple(name for name, count in names.items() if count > 1),
    )


def asked(audit_log: Path, since: int, *users: str) -> Counter[str]:
    """Return how often users asked for what, ``list pods``, after that many bytes of the record.

    Each request counts, about whatever it was, dry or refused, and once: also a watch that is open.
    """
    found = {
        event["auditID"]: f"{event['verb']} {_resource(event) or event['requestURI']}"
        for event in _events(audit_log, since)
        if event["user"]["username"] in users
    }
    return Counter(found.values())


def calls(audit_log: Path, *words: str) -> list[Call]:
    """Return what the server recorded with one of ``words`` in it, in its order."""
    found = [
        _call(event)
        for event in _events(audit_log, 0, words)
        if event["stage"] == "ResponseComplete" and "dryRun=" not in event["requestURI"]
    ]
    return sorted(found, key=lambda call: call.ended)


def _in_force(about: Iterable[Call], name: str, pod: Call, binder: str) -> bool:
    """Say whether a policy was in force when the server took the request for a pod.

    Whatever was done to it by then, by anybody, had been answered, and did not end it; after that
    the binder saw it: read it by its name, or listed a namespace where it is known to have been.
    """
    history = [
        call
        for call in about
        if call.namespace == pod.namespace and call.name in (name, "") and call.began <= pod.began
    ]
    writes = [call for call in history if call.verb in _MAKES | _ENDS]
    last = max(writes, key=lambda call: call.ended, default=None)
    if last is not None and last.verb in _ENDS:
        return False
    settled = last.ended if last else ""
    reads = {
        call.verb
        for call in history
        if call.user == binder and settled < call.began and call.ended < pod.began
        if call.verb == "get" or (call.verb == "list" and last is not None and not call.narrowed)
    }
    return bool(reads)


def _events(path: Path, since: int, words: Collection[str] = ("",)) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        lines.seek(since)
        for line in lines:
            text = line.decode()
            if text.endswith("}\n") and any(word in text for word in words):
                yield json.loads(text)


def _resource(event: Mapping[str, Any]) -> str:
    about = event.get("objectRef") or {}
    return "/".join(filter(None, (about.get("resource"), about.get("subresource"))))


def _call(event: Mapping[str, Any]) -> Call:
    about = event.get("objectRef") or {}
    return Call(
        verb=event["verb"],
        resource=_resource(event),
        namespace=about.get("namespace") or "",
        name=about.get("name") or "",
        user=event["user"]["username"],
        began=event["requestReceivedTimestamp"],
        ended=event["stageTimestamp"],
        obeyed=event.get("responseStatus", {}).get("code", _REFUSED) < _REFUSED,
        narrowed="elector=" in event["requestURI"],
    )
