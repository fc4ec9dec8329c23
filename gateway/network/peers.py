"""Who is at the other end of a rule, in the five forms that Sluice knows.

Each has a canonical JSON form, which enters the name of a profile, and (but for a Service that
nobody has resolved yet) the selector of a Cilium egress rule. There is no form for everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.canonical import Json
from gateway.network import addresses
from gateway.network.addresses import Network

NAMESPACE_KEY = "k8s:io.kubernetes.pod.namespace"
ACCOUNT_KEY = "k8s:io.cilium.k8s.policy.serviceaccount"

Selector = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Name:
    """A DNS name, or ``*.`` in front of one: the names one label below it."""

    host: str

    def to_json(self) -> Json:
        """Return the canonical form."""
        return {"name": self.host}

    def selector(self) -> Selector:
        """Return the key and value of an egress rule."""
        return {"toFQDNs": [self.match()]}

    def match(self) -> Json:
        """Return the entry of ``toFQDNs`` and of DNS rules."""
        return {"matchPattern" if self.host.startswith("*.") else "matchName": self.host}


@dataclass(frozen=True, slots=True)
class Addresses:
    """A range of addresses with holes. Never matches pods, nor nodes by default."""

    network: Network
    holes: tuple[Network, ...] = ()

    @property
    def spans(self) -> tuple[addresses.Span, ...]:
        """The addresses themselves."""
        return addresses.spans(self.network, self.holes)

    def to_json(self) -> Json:
        """Return the canonical form."""
        return {"cidr": str(self.network), "except": [str(hole) for hole in self.holes]}

    def selector(self) -> Selector:
        """Return the key and value of an egress rule."""
        entry: dict[str, Json] = {"cidr": str(self.network)}
        if self.holes:
            entry["except"] = [str(hole) for hole in self.holes]
        return {"toCIDRSet": [entry]}


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of one namespace that have all these labels: what is behind a Service."""

    namespace: str
    labels: tuple[tuple[str, str], ...]  # sorted, bare keys, at least one
    account: str | None = None

    def to_json(self) -> Json:
        """Return the canonical form."""
        return {
            "namespace": self.namespace,
            "labels": dict(self.labels),
            "account": self.account,
        }

    def match_labels(self) -> Mapping[str, str]:
        """Return what Cilium compares with an identity. The namespace is always among it."""
        labels = {NAMESPACE_KEY: self.namespace}
        labels |= {f"k8s:{key}": value for key, value in self.labels}
        if self.account is not None:
            labels[ACCOUNT_KEY] = self.account
        return labels

    def selector(self) -> Selector:
        """Return the key and value of an egress rule."""
        return {"toEndpoints": [{"matchLabels": self.match_labels()}]}

    def meets(self, other: Pods) -> bool:
        """Say whether one pod could be both: same namespace, and no label that contradicts."""
        mine, theirs = self.match_labels(), other.match_labels()
        return all(theirs.get(key, value) == value for key, value in mine.items())


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The cluster's API server, which Cilium knows by itself: the one entity that is offered."""

    def to_json(self) -> Json:
        """Return the canonical form."""
        return {"entity": "kube-apiserver"}

    def selector(self) -> Selector:
        """Return the key and value of an egress rule."""
        return {"toEntities": ["kube-apiserver"]}


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A Service by ``namespace/name``, not yet resolved to pods. No rule can be made of it."""

    service: str

    def to_json(self) -> Json:
        """Return the canonical form."""
        return {"service": self.service}


Peer = Name | Addresses | Pods | ApiServer
AnyPeer = Peer | Unresolved
