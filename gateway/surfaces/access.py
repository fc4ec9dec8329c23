"""Who may see which launch, log and entry. What a principal may not see does not exist for it."""

from __future__ import annotations

from gateway.approvals.independence import interested
from gateway.errors import Forbidden, NotFound
from gateway.lifecycle.approval import groups
from gateway.model import Principal, TaskNode
from gateway.policy.decide import LoadedPolicy
from gateway.store.launches import LaunchRecord

REVIEWERS = "security-reviewers"
AGENT_CLASSES = frozenset({"public", "internal"})


def is_reviewer(policy: LoadedPolicy, principal: Principal) -> bool:
    """Whether this is a human of the group that reads everything."""
    return principal.kind == "human" and REVIEWERS in groups(policy, principal)


def may_see(policy: LoadedPolicy, principal: Principal, record: LaunchRecord) -> bool:
    """Whether the launch is the principal's own, waits for it, or it reviews everything."""
    if record.principal.subject.account == principal.subject.account:
        return True
    if principal.kind != "human":
        return False
    person = policy.snapshot.data.person_of(principal.subject.account)
    if person is not None and person in interested(record.principal, policy.snapshot.data):
        return True
    asked = {g for need in (record.decision or {}).get("needs", ()) for g in need["groups"]}
    return bool(asked & groups(policy, principal)) or is_reviewer(policy, principal)


def demand_sight(policy: LoadedPolicy, principal: Principal, record: LaunchRecord) -> None:
    """Raise ``NotFound`` unless ``may_see``."""
    if not may_see(policy, principal, record):
        raise NotFound("launch_not_found", "there is no such launch", field="launch_id")


def demand_control(policy: LoadedPolicy, principal: Principal, record: LaunchRecord) -> None:
    """Raise unless the principal may stop the launch: its requester, its person, a reviewer."""
    demand_sight(policy, principal, record)
    person = policy.snapshot.data.person_of(principal.subject.account)
    own = record.principal.subject.account == principal.subject.account
    stake = person is not None and person in interested(record.principal, policy.snapshot.data)
    if not (own or stake or is_reviewer(policy, principal)):
        raise Forbidden("not_your_launch", "only its requester or a reviewer can cancel it")


def demand_reviewer(policy: LoadedPolicy, principal: Principal) -> None:
    """Raise ``Forbidden`` unless the principal reads the whole log."""
    if not is_reviewer(policy, principal):
        raise Forbidden("reviewers_only", f"only members of {REVIEWERS} can read the whole log")


def demand_wide_control(policy: LoadedPolicy, principal: Principal) -> None:
    """Raise ``Forbidden`` unless the principal may stop launches that are not its own."""
    if not is_reviewer(policy, principal):
        raise Forbidden(
            "reviewers_only",
            f"only members of {REVIEWERS}, with a client of their own, can stop all launches of "
            "an account or a pipeline; your own launches you can stop one by one",
        )


def withheld(principal: Principal, record: LaunchRecord) -> bool:
    """Whether what the launch's tasks say may not flow to this reader.

    An answer to an agent is a destination: explanations, outputs and progress are written by tasks
    that may carry what agents must not learn.
    """
    return principal.kind != "human" and bool(set(record.classes) - AGENT_CLASSES)


def demand_task_log(principal: Principal, node: TaskNode) -> None:
    """Raise unless what the task carries may flow to this reader: an answer is a destination."""
    if principal.kind != "human" and (held := set(node.carries) - AGENT_CLASSES):
        raise Forbidden(
            "log_classes",
            f"the task carries {', '.join(sorted(held))}; its log is not shown to agents",
        )
