"""The nouns of one launch, frozen: what each of the nine steps hands to the next.

Nothing here does I/O. ``to_json`` forms are canonical (see ``canonical.py``) and are fixed: they
enter digests and the decision log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.canonical import Json, digest

Kind = Literal["human", "agent", "service"]
Verdict = Literal["allow", "deny", "needs_approval"]
NodeKind = Literal["task", "wrapper", "external", "possible"]


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


# --- 3. resolve --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MayYield:
    """A family that a task may yield at run time, and how many tasks of it at the most."""

    family: str
    limit: int

    def to_json(self) -> dict[str, Json]:
        """Return the canonical form."""
        return {"family": self.family, "limit": self.limit}


@dataclass(frozen=True, slots=True)
class TaskNode:
    """One task of a graph, as policy and the log see it.

    ``key``: see ``node_key``. ``parameters`` holds shown values in clear; every other value is
    ``hmac-sha256:...`` under the installation key, so that neither log nor digest gives it away.
    ``task_id`` is Luigi's own, which is no identity (40 bits, significant parameters only). Kind
    ``possible`` stands for up to ``limit`` tasks of a family that another task declared in
    ``may_yield``; its parameters are known at run time only.
    """

    key: str
    module: str
    family: str
    task_id: str
    kind: NodeKind
    parameters: Mapping[str, str]
    egress: tuple[str, ...] = ()
    deps: tuple[str, ...] = ()  # keys, sorted; edges to `possible` nodes included
    may_yield: tuple[MayYield, ...] = ()
    carries: tuple[str, ...] = ()  # data classes, sorted
    limit: int = 1
    priority: int = 0
    resources: Mapping[str, int] = field(default_factory=dict)
    retry_count: int | None = None
    worker_timeout: int | None = None  # seconds
    disabled: bool = False

    def to_json(self) -> dict[str, Json]:
        """Return the canonical form, as stored and as shown to policy."""
        return {
            "key": self.key,
            "module": self.module,
            "family": self.family,
            "task_id": self.task_id,
            "kind": self.kind,
            "parameters": dict(self.parameters),
            "egress": list(self.egress),
            "deps": list(self.deps),
            "may_yield": [item.to_json() for item in self.may_yield],
            "carries": list(self.carries),
            "limit": self.limit,
            "priority": self.priority,
            "resources": dict(self.resources),
            "retry_count": self.retry_count,
            "worker_timeout": self.worker_timeout,
            "disabled": self.disabled,
        }


@dataclass(frozen=True, slots=True)
class TaskGraph:
    """The canonical graph: nodes by key in topological order (dependencies first), and its root.

    ``digest`` = SHA-256 over sorted node keys and edges. ``sealed`` maps a node key to the clear
    values of its masked parameters; it never enters ``to_json``, a log entry or an error.
    """

    root: str
    nodes: Mapping[str, TaskNode]
    code_digest: str
    digest: str
    sealed: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    @property
    def edges(self) -> int:
        """The number of edges."""
        return sum(len(node.deps) for node in self.nodes.values())

    def clear_parameters(self, key: str) -> dict[str, str]:
        """Return all parameters of a node in clear: for the task's own process alone."""
        return {**self.nodes[key].parameters, **self.sealed.get(key, {})}

    def to_json(self) -> dict[str, Json]:
        """Return the form that is stored once, by digest."""
        return {
            "root": self.root,
            "code_digest": self.code_digest,
            "digest": self.digest,
            "nodes": [node.to_json() for node in self.nodes.values()],
        }

    @staticmethod
    def from_json(value: Mapping[str, object]) -> TaskGraph:
        """Read what ``to_json`` wrote (our own store: parsed at that boundary, then trusted)."""
        nodes = [node_from_json(item) for item in value["nodes"]]  # type: ignore[attr-defined]
        return TaskGraph(
            root=str(value["root"]),
            nodes={node.key: node for node in nodes},
            code_digest=str(value["code_digest"]),
            digest=str(value["digest"]),
        )


def node_from_json(item: Mapping[str, object]) -> TaskNode:
    """Read what ``TaskNode.to_json`` wrote."""
    fields = dict(item)
    for name in ("egress", "deps", "carries"):
        fields[name] = tuple(fields[name])  # type: ignore[arg-type]
    fields["may_yield"] = tuple(MayYield(**entry) for entry in fields["may_yield"])  # type: ignore[attr-defined]
    return TaskNode(**fields)  # type: ignore[arg-type]


def node_key(
    module: str,
    family: str,
    parameters: Mapping[str, str],
    code_digest: str,
    egress: tuple[str, ...],
) -> str:
    """Return the identity of a task: SHA-256 over all that decides what it does and may reach.

    ``parameters`` are in the masked form of ``TaskNode.parameters``. A ``possible`` node has the
    single parameter ``*`` with its limit, which no Luigi parameter can be named.
    """
    return digest(
        {
            "module": module,
            "family": family,
            "parameters": dict(parameters),
            "code": code_digest,
            "egress": sorted(egress),
        }
    )


def graph_digest(nodes: Mapping[str, TaskNode]) -> str:
    """Return SHA-256 over the sorted node keys and the sorted edges."""
    edges = sorted([key, dep] for key, node in nodes.items() for dep in node.deps)
    return digest({"nodes": sorted(nodes), "edges": edges})


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
    names the profile of each egress set, whose names are joined by commas.
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
