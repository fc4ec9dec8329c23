"""What the rules said -> the ``Decision``. Pure.

Any denial denies; otherwise any need waits for people; otherwise it is allowed. What was said about
several members of the chain adds up and is never traded off. A word that is not understood is an
error, and an error allows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.canonical import Json, encode
from gateway.clock import new_id
from gateway.errors import Misconfigured, Rejected
from gateway.model import ApprovalNeed, Decision, PolicyVersion, TaskNode, Verdict, Violation
from gateway.policy.data import PolicyData
from gateway.policy.engine import Answer
from gateway.policy.findings import nearest
from gateway.policy.sentences import render, render_need

MOST_VIOLATIONS = 200
MOST_VALUES = 4096  # canonical bytes of the values of one violation

_CODE = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Said:
    """One answer, and what it is about: a member of the chain, and a task or the whole."""

    member: str  # account
    node: TaskNode | None
    answer: Answer


def decision(
    version: PolicyVersion, data: PolicyData, pipeline: str, said: Sequence[Said]
) -> Decision:
    """Add up all answers. Raises ``Misconfigured`` (``policy_error``) for nonsense."""
    violations = _violations(data, pipeline, said)
    needs = _needs(pipeline, said)
    verdict: Verdict = "deny" if violations else "needs_approval" if needs else "allow"
    return Decision(
        id=new_id(),
        verdict=verdict,
        policy=version,
        violations=violations,
        needs=() if violations else needs,
    )


def denial(version: PolicyVersion, violation: Violation) -> Decision:
    """Return a denial that needed no rule."""
    return Decision(id=new_id(), verdict="deny", policy=version, violations=(violation,))


def _violations(data: PolicyData, pipeline: str, said: Sequence[Said]) -> tuple[Violation, ...]:
    found: dict[tuple[int, str, bytes, str], tuple[Violation, set[str]]] = {}
    position: dict[str, int] = {}
    for item in said:
        node = item.node
        at = position.setdefault(node.key, len(position)) if node else -1
        for raw in item.answer.deny:
            rule, values = _read(raw)
            violation = _violation(data, pipeline, item, rule, values)
            key = (at, rule, encode(values), violation.message)
            found.setdefault(key, (violation, set()))[1].add(item.member)
    ordered = [found[key] for key in sorted(found)]
    shown = tuple(_named(*entry) for entry in ordered[:MOST_VIOLATIONS])
    left = len(ordered) - len(shown)
    if not left:
        return shown
    count: dict[str, Json] = {"count": left}
    return (*shown, Violation("more_violations", *render("more_violations", count), values=count))


def _violation(
    data: PolicyData, pipeline: str, item: Said, rule: str, values: Mapping[str, Json]
) -> Violation:
    close = None
    if rule == "destination_unknown" and isinstance(name := values.get("destination"), str):
        close = nearest(name, data.destinations)
    message, remediation = render(rule, values, _about(pipeline, item), close)
    return Violation(
        rule=rule,
        message=message,
        remediation=remediation,
        task=item.node.key if item.node else None,
        task_name=item.node.family if item.node else None,
        member=item.member,
        values=values,
    )


def _about(pipeline: str, item: Said) -> dict[str, Json]:
    found: dict[str, Json] = {"account": item.member, "pipeline": pipeline}
    return {**found, "task": item.node.family} if item.node else found


def _named(violation: Violation, members: set[str]) -> Violation:
    """Name the member only where one alone is refused: otherwise it is not about who asks."""
    if len(members) == 1:
        return violation
    return Violation(
        rule=violation.rule,
        message=violation.message,
        remediation=violation.remediation,
        task=violation.task,
        task_name=violation.task_name,
        values=violation.values,
    )


def _needs(pipeline: str, said: Sequence[Said]) -> tuple[ApprovalNeed, ...]:
    found: dict[bytes, ApprovalNeed] = {}
    for item in said:
        for raw in item.answer.needs_approval:
            rule, values = _read(raw)
            groups = values.pop("approvers", None)
            if not isinstance(groups, list) or not groups or not _texts(groups):
                raise _not_understood(f"{rule} needs approval and names no approvers")
            message = render_need(rule, values, _about(pipeline, item))
            need = ApprovalNeed(rule, message, tuple(sorted(set(map(str, groups)))), values)
            found[encode([need.rule, list(need.groups), values, message])] = need
    return tuple(found[key] for key in sorted(found))


def _read(raw: Any) -> tuple[str, dict[str, Json]]:  # noqa: ANN401 -- JSON
    """Return the code and the values of one object that a rule put out."""
    if not isinstance(raw, dict):
        raise _not_understood(f"a rule put out {type(raw).__name__} and not an object")
    values = dict(raw)
    rule = values.pop("rule", None)
    if not isinstance(rule, str) or not _CODE.fullmatch(rule):
        raise _not_understood("an object of a rule has no code under `rule`")
    if not all(_CODE.fullmatch(key) for key in values):
        raise _not_understood(f"{rule} has a value whose name is not lower_case")
    try:
        size = len(encode(values))
    except Rejected as error:
        raise _not_understood(f"{rule}: {error.public_message}") from error
    if size > MOST_VALUES:
        raise _not_understood(f"{rule} has {size} bytes of values")
    return rule, values


def _texts(items: list[Any]) -> bool:
    return all(isinstance(item, str) and item for item in items)


def _not_understood(detail: str) -> Misconfigured:
    return Misconfigured(
        "policy_error",
        "the policy said something that cannot be understood, so nothing is allowed; "
        "tell whoever keeps the policy",
        step="decide",
        diagnostics=detail,
    )
