"""The nouns of one launch, frozen: what each of the nine steps hands to the next.

Nothing here does I/O. ``to_json`` forms are canonical (see ``canonical.py``) and are fixed: they
enter digests and the decision log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.canonical import Json, digest
from gateway.task_graph import (
    LUIGI_ID,
    MayYield,
    NodeKind,
    TaskGraph,
    TaskNode,
    graph_digest,
    node_from_json,
    node_key,
)

__all__ = (
    "LUIGI_ID",
    "ApprovalNeed",
    "Decision",
    "Kind",
    "LaunchRequest",
    "MayYield",
    "Member",
    "NodeKind",
    "Plan",
    "PolicyVersion",
    "Principal",
    "Receipt",
    "TaskGraph",
    "TaskNode",
    "Verdict",
    "Violation",
    "graph_digest",
    "node_from_json",
    "node_key",
)

Kind = Literal["human", "agent", "service"]
Verdict = Literal["allow", "deny", "needs_approval"]


# --- 1. authenticate ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """One party of a request: its subject, or an actor that acts for it (RFC 8693 ``act``)."""

    issuer: str
    subject: str
    kind: Kind
    groups: tuple[str, ...] = ()

    @property
    def account(self) -> str:
        """``issuer#subject``: the key by which ``policies/data`` names an account."""
        return f"{self.issuer}#{self.subject}"

    def to_json(self) -> dict[str, Json]:
        """Return the form that enters the log and policy input."""
        return {
            "account": self.account,
            "issuer": self.issuer,
            "subject": self.subject,
            "kind": self.kind,
            "groups": list(self.groups),
        }


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Made only by ``identity``, only from a credential that was verified.

    ``subject`` is the party for whom the request is made; ``actors`` act for it, current actor
    first. ``kind`` is the kind of whoever holds the credential, from the issuer's row and the
    client: a human's token in an agent's client is an agent's.
    """

    subject: Member
    kind: Kind
    client_id: str | None = None
    actors: tuple[Member, ...] = ()
    auth_time: int | None = None  # seconds since the epoch, when the human last signed in
    token_id: str | None = None
    expires_at: int = 0  # seconds since the epoch

    @property
    def chain(self) -> tuple[Member, ...]:
        """Everybody whose rights bound this request: the subject, then each actor."""
        return (self.subject, *self.actors)

    @property
    def key(self) -> str:
        """A text that scopes rates and idempotency keys: issuer, subject and chain.

        Joined by a line feed, which no issuer or subject can contain.
        """
        return "\n".join(member.account for member in self.chain)

    def to_json(self) -> dict[str, Json]:
        """Return the form that enters the log."""
        return {
            "subject": self.subject.to_json(),
            "kind": self.kind,
            "client_id": self.client_id,
            "actors": [actor.to_json() for actor in self.actors],
        }


# --- 2. admit ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What was asked for. ``parameters`` are texts as Luigi's own parsers take them."""

    pipeline: str
    parameters: Mapping[str, str]
    reason: str = ""
    surface: str = "http"
    dry_run: bool = False


# --- 3. resolve: ``task_graph`` -----------------------------------------------------------------


# --- 4. decide ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Violation:
    """One reason for a denial: which rule, which task, what to say, and what would change it."""

    rule: str
    message: str
    remediation: str
    task: str | None = None  # node key
    task_name: str | None = None  # family, for people
    member: str | None = None  # account of the chain member whom the rule refused
    values: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return the form of the log and of problem+json."""
        return {
            "rule": self.rule,
            "message": self.message,
            "remediation": self.remediation,
            "task": self.task,
            "task_name": self.task_name,
            "member": self.member,
            "values": dict(self.values),
        }


@dataclass(frozen=True, slots=True)
class ApprovalNeed:
    """One rule that sends the launch to people, and the groups any of whose members may agree."""

    rule: str
    message: str
    groups: tuple[str, ...]
    values: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return the form of the log."""
        return {
            "rule": self.rule,
            "message": self.message,
            "groups": list(self.groups),
            "values": dict(self.values),
        }


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """Which policy decided: the revision people quote, and the digests that pin it."""

    revision: str
    rego_digest: str
    data_digest: str

    def to_json(self) -> dict[str, Json]:
        """Return the form of the log."""
        return {
            "revision": self.revision,
            "rego_digest": self.rego_digest,
            "data_digest": self.data_digest,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy said about one plan. A denial is this too, and never an exception."""

    id: str
    verdict: Verdict
    policy: PolicyVersion
    violations: tuple[Violation, ...] = ()
    needs: tuple[ApprovalNeed, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Exactly what would run. This is what people approve, by ``plan_digest``.

    ``content_digest`` covers graph, images, network profiles and pods; ``plan_digest`` that and all
    else. ``pod`` is what each pod gets beside its task, None where tasks are no pods. ``reach``
    names the profile of each egress set, whose names are joined by commas. ``services`` holds what
    each Service among the destinations is when the plan is made; names of profiles follow from it.
    """

    launch_id: str
    pipeline: str
    parameters: Mapping[str, str]  # masked form
    graph_digest: str
    code_digest: str
    profiles: tuple[str, ...]
    enforcement: str
    policy_revision: str
    expires_at: str  # RFC 3339
    images: tuple[str, ...] = ()
    pod: Mapping[str, Json] | None = None
    reach: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)

    @property
    def content_digest(self) -> str:
        """SHA-256 over graph, images, profiles and pods."""
        return digest(
            {
                "graph": self.graph_digest,
                "images": list(self.images),
                "profiles": list(self.profiles),
                "reach": dict(self.reach),
                "pod": dict(self.pod) if self.pod is not None else None,
                **({"services": self._services} if self.services else {}),
            }
        )

    @property
    def plan_digest(self) -> str:
        """SHA-256 over content, pipeline, parameters, policy revision and expiry."""
        return digest(
            {
                "content": self.content_digest,
                "pipeline": self.pipeline,
                "parameters": dict(self.parameters),
                "policy_revision": self.policy_revision,
                "expires_at": self.expires_at,
                "launch_id": self.launch_id,
            }
        )

    @property
    def _services(self) -> dict[str, Json]:
        return {name: dict(service) for name, service in self.services.items()}

    def to_json(self) -> dict[str, Json]:
        """Return the form of the log and of the HTTP API."""
        return {
            "launch_id": self.launch_id,
            "pipeline": self.pipeline,
            "parameters": dict(self.parameters),
            "graph_digest": self.graph_digest,
            "code_digest": self.code_digest,
            "profiles": list(self.profiles),
            "reach": dict(self.reach),
            "services": self._services,
            "images": list(self.images),
            "pod": dict(self.pod) if self.pod is not None else None,
            "enforcement": self.enforcement,
            "policy_revision": self.policy_revision,
            "expires_at": self.expires_at,
            "content_digest": self.content_digest,
            "plan_digest": self.plan_digest,
        }


# --- 5. record ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that an entry is durable: only ``decisionlog`` makes one; the later steps demand it."""

    seq: int
    entry_id: str
    leaf_hash: str
    event: str
