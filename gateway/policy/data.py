"""``policies/data`` as frozen types: pipelines, destinations, persons, groups, limits, pods.

Made only by ``catalogue.py``, which has checked it; whoever holds a ``PolicyData`` may trust every
name in it. Looking things up here never decides anything: rules do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from gateway.canonical import Json
from gateway.policy.findings import Finding
from gateway.policy.pods import MAX_CPU, MAX_MEMORY, PodAllowances, PodAsk
from gateway.policy.yamlfile import Path, YamlFile

Tenancy = Literal["internal", "shared", "internet"]
TierName = Literal["low", "standard", "high"]

PUBLIC = "public"  # the one data class that may go anywhere


@dataclass(frozen=True, slots=True)
class ParameterDoc:
    """One parameter of a pipeline as people see it. Values of others than ``shown`` are masked."""

    description: str
    shown: bool
    type: str = "text"
    default: str | None = None
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder that a run writes to. A kept one carries ``classes`` into the next launch."""

    keep: bool = False
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StandingApproval:
    """Consent given beforehand to exactly one code digest, until a moment (RFC 3339, UTC)."""

    code_digest: str
    until: str
    by: str
    reason: str

    def to_json(self) -> dict[str, Json]:
        """Return the form of ``input.pipeline.standing_approval``."""
        return {
            "code_digest": self.code_digest,
            "until": self.until,
            "by": self.by,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Declassify:
    """The classes that the tasks of one family shed, for exactly one code digest."""

    family: str
    classes: tuple[str, ...]
    code_digest: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One catalogue entry.

    ``source`` is the folder of the code: relative to the gateway's working directory, or absolute
    inside ``image`` (``in_image``), and then never a path of the gateway's own machine. ``image``
    is ``name@sha256:...``; None where the gateway's own code runs in the installation's image.
    """

    name: str
    title: str
    description: str
    source: str
    module: str
    task: str  # Luigi family of the root task
    owner: str  # group
    tier: TierName
    launchers: tuple[str, ...]  # groups
    parameters: Mapping[str, ParameterDoc] = field(default_factory=dict)
    destinations: tuple[str, ...] = ()
    agents_allowed: bool = False
    allow_unenforced: bool = False
    workspace: Workspace = Workspace()
    standing_approval: StandingApproval | None = None
    declassify: tuple[Declassify, ...] = ()
    image: str | None = None
    pod: PodAsk = field(default_factory=PodAsk)

    @property
    def in_image(self) -> bool:
        """Whether ``source`` is a folder of the image, which only a pod of it can read."""
        return self.source.startswith("/")

    @property
    def base_classes(self) -> tuple[str, ...]:
        """What every task may have read besides destinations: kept workspace and volumes."""
        kept = self.workspace.classes if self.workspace.keep else ()
        return tuple(sorted({*kept, *self.pod.classes}))

    @property
    def shown(self) -> frozenset[str]:
        """The parameters whose values people may see; every other value is masked."""
        return frozenset(name for name, doc in self.parameters.items() if doc.shown)

    def to_json(self) -> dict[str, Json]:
        """Return the form of ``input.pipeline``, without the code digest of the launch."""
        standing = self.standing_approval
        return {
            "name": self.name,
            "title": self.title,
            "module": self.module,
            "task": self.task,
            "owner": self.owner,
            "tier": self.tier,
            "launchers": list(self.launchers),
            "destinations": list(self.destinations),
            "agents_allowed": self.agents_allowed,
            "allow_unenforced": self.allow_unenforced,
            "workspace": {
                "keep": self.workspace.keep,
                "classes": list(self.workspace.classes),
            },
            "standing_approval": standing.to_json() if standing else None,
            "image": self.image,
            "pod": self.pod.to_json(),
        }


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """The ports from ``first`` to ``last``, both included: mostly one port."""

    first: int
    last: int

    def meets(self, other: PortRange) -> bool:
        """Say whether both hold some port."""
        return self.first <= other.last and other.first <= self.last

    def to_json(self) -> dict[str, Json]:
        """Return the one form that rules see, so that no rule overlooks a range."""
        return {"port": self.first, "endPort": self.last}


@dataclass(frozen=True, slots=True)
class Destination:
    """A place that tasks may name in ``egress``: where it is, and what may be learnt or brought.

    ``kind`` says how ``host`` is to be read: ``fqdn`` a name, ``cidr`` an address or a range less
    ``holes``, ``service`` a Kubernetes Service as ``namespace/name``; ``kube-apiserver`` has no
    host. ``service_account`` is that of a Service's pods, where it is known. ``server_names`` are
    the TLS names of which a connection has to ask for one. ``emits`` already holds the classes of
    every destination whose address overlaps this one. ``tenancy`` ``shared`` counts as the
    internet: an attacker can hold an account there too. Lists are in the order of the file, so
    that whoever finds fault with an entry can name its line.
    """

    name: str
    title: str
    kind: str
    host: str  # empty for kube-apiserver
    ports: tuple[PortRange, ...]
    protocol: str
    tenancy: Tenancy
    emits: tuple[str, ...]
    accepts: tuple[str, ...]
    agents: bool = False  # whether an agent's launch may reach it
    holes: tuple[str, ...] = ()  # `except` in the file
    server_names: tuple[str, ...] = ()
    service_account: str = ""

    def to_json(self) -> dict[str, Json]:
        """Return the form that is joined into ``input.task.destinations``."""
        return {
            "name": self.name,
            "known": True,
            "title": self.title,
            "kind": self.kind,
            "host": self.host or None,
            "service_account": self.service_account or None,
            "except": list(self.holes),
            "ports": [ports.to_json() for ports in self.ports],
            "protocol": self.protocol,
            "server_names": list(self.server_names),
            "tenancy": self.tenancy,
            "emits": list(self.emits),
            "accepts": list(self.accepts),
            "agents": self.agents,
        }


@dataclass(frozen=True, slots=True)
class Person:
    """One human being, the accounts they sign in with, and the agents they answer for."""

    id: str
    accounts: tuple[str, ...]
    owns_agents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tier:
    """What a tier of pipelines costs: how large, and whether people have to agree each time.

    ``max_cpu`` and ``max_memory`` bound what one pod may ask for, as Kubernetes quantities.
    """

    name: TierName
    max_tasks: int
    ask_people: bool
    need_enforcement: bool
    approvers: tuple[str, ...]  # groups
    max_cpu: str = MAX_CPU
    max_memory: str = MAX_MEMORY


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that rules use."""

    running: int  # launches of one requester at once
    tiers: Mapping[str, Tier]


@dataclass(frozen=True)
class PolicyData:
    """Everything that security keeps in ``policies/data``, checked and cross-checked."""

    pipelines: Mapping[str, Pipeline]
    destinations: Mapping[str, Destination]
    persons: Mapping[str, Person]
    groups: Mapping[str, tuple[str, ...]]  # members: accounts or ids of persons
    limits: Limits
    pods: PodAllowances
    files: Mapping[str, YamlFile] = field(repr=False)  # what all this was read from, by name

    def finding(self, file: str, path: Path, reason: str) -> Finding:
        """Return a finding at a node of ``data/FILE.yaml``, for what only others can check."""
        return self.files[file].finding(path, reason)

    def person_of(self, account: str) -> str | None:
        """Return the id of the person who signs in as ``account``."""
        return self._people.get(account)

    def owner_of(self, account: str) -> str | None:
        """Return the id of the person who answers for the agent ``account``."""
        return self._owners.get(account)

    def groups_of(self, account: str) -> tuple[str, ...]:
        """Return the groups that list the account, or the person behind it, sorted."""
        direct = self._memberships.get(account, frozenset())
        person = self._people.get(account)
        if person is not None:
            direct = direct | self._memberships.get(person, frozenset())
        return tuple(sorted(direct))

    @cached_property
    def _people(self) -> Mapping[str, str]:
        return {a: person.id for person in self.persons.values() for a in person.accounts}

    @cached_property
    def _owners(self) -> Mapping[str, str]:
        return {a: person.id for person in self.persons.values() for a in person.owns_agents}

    @cached_property
    def _memberships(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for group, members in self.groups.items():
            for member in members:
                found.setdefault(member, set()).add(group)
        return {member: frozenset(groups) for member, groups in found.items()}
