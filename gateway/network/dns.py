"""How pods of a cluster ask for names, and the rules that let them ask for approved names only.

Clusters differ, so the flavour is a setting of the installation. A rule that allowed every name
would let a task send data out inside its questions, so there is none: without an approved name
there is no DNS at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.canonical import Json
from gateway.errors import Misconfigured
from gateway.network.addresses import parse_network
from gateway.network.peers import Addresses, Name, Pods
from gateway.network.ports import Ports


@dataclass(frozen=True, slots=True)
class DnsFlavour:
    """The resolvers of a cluster: pods, addresses, and the port that they listen on themselves."""

    name: str
    pods: tuple[Pods, ...]
    port: int = 53
    addresses: tuple[Addresses, ...] = ()
    cluster_domain: str = "cluster.local"

    @property
    def ports(self) -> tuple[Ports, ...]:
        """The port, as a set of ports."""
        return (Ports(self.port, self.port),)

    def service_name(self, service: str) -> str:
        """Return the DNS name of a Service that is given as ``namespace/name``."""
        namespace, _, name = service.partition("/")
        return f"{name}.{namespace}.svc.{self.cluster_domain}"

    def to_json(self) -> Json:
        """Return the canonical form, which enters the name of every profile."""
        return {
            "name": self.name,
            "pods": [pods.to_json() for pods in self.pods],
            "addresses": [range_.to_json() for range_ in self.addresses],
            "port": self.port,
            "cluster_domain": self.cluster_domain,
        }


def _system_pods(app: str) -> Pods:
    return Pods("kube-system", (("k8s-app", app),))


KUBE_DNS = DnsFlavour("kube-dns", (_system_pods("kube-dns"),))

# The cache listens on an address of its node; where a CiliumLocalRedirectPolicy sends the cluster's
# DNS address to the cache, Cilium sees the cache's pod instead. Misses go to kube-dns directly.
NODE_LOCAL_DNS = DnsFlavour(
    "node-local-dns",
    (_system_pods("kube-dns"), _system_pods("node-local-dns")),
    addresses=(Addresses(parse_network("169.254.20.10/32")),),
)

# The DNS operator's CoreDNS listens on 5353 behind its Service's 53.
OPENSHIFT = DnsFlavour(
    "openshift",
    (Pods("openshift-dns", (("dns.operator.openshift.io/daemonset-dns", "default"),)),),
    port=5353,
)

FLAVOURS: Mapping[str, DnsFlavour] = {
    item.name: item for item in (KUBE_DNS, NODE_LOCAL_DNS, OPENSHIFT)
}


def flavour(name: str) -> DnsFlavour:
    """Return a flavour by its name. Raises ``Misconfigured``."""
    if name not in FLAVOURS:
        raise Misconfigured(
            "dns_flavour_unknown",
            f"no DNS flavour is called {name!r}; choose one of {', '.join(FLAVOURS)}",
            step="bind",
        )
    return FLAVOURS[name]


def dns_rules(dns: DnsFlavour, names: Iterable[str]) -> list[Json]:
    """Return the egress rules under which exactly these names can be asked for."""
    allowed = [Name(name).match() for name in sorted(set(names))]
    if not allowed:
        return []
    to_ports: list[Json] = [
        {"ports": [{"port": str(dns.port), "protocol": "ANY"}], "rules": {"dns": allowed}}
    ]
    peers: list[Pods | Addresses] = [*dns.pods, *dns.addresses]
    return [{**peer.selector(), "toPorts": to_ports} for peer in peers]
