"""A Kubernetes Service as planning has resolved it: the pods behind it, and their own port.

Cilium decides after the Service's address has been translated, so a rule has to name pods and the
port they listen on. Reading the Service from a cluster is not done here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.network import names
from gateway.network.peers import Pods
from gateway.network.ports import Ports, parse_ports
from gateway.network.reading import Fault, at, record, text

_TYPES = ("ClusterIP", "NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True)
class ResolvedService:
    """The pods that serve, and the ports on which they do (target ports, as numbers)."""

    pods: Pods
    ports: tuple[Ports, ...]


def split_service(host: str) -> tuple[str, str]:
    """Return namespace and name of ``namespace/name``. Raises ``Fault``."""
    namespace, slash, name = host.partition("/")
    if not slash:
        raise Fault(f"has to be namespace/name: {host!r}")
    names.check_kubernetes_name(namespace)
    names.check_kubernetes_name(name)
    return namespace, name


def parse_service(value: object, host: str, said: object = None) -> ResolvedService:
    """Read ``{namespace, name, type, selector, ports}`` and perhaps ``service_account``.

    ``host`` and ``said``, an account, are what the catalogue says. Raises ``Fault``, for a Service
    without a selector (its endpoints are whatever somebody wrote) and for an ExternalName too.
    """
    entry = record(value, ("namespace", "name", "type", "selector", "ports"), ("service_account",))
    if f"{entry['namespace']}/{entry['name']}" != host:
        raise Fault(f"is another one than {host}")
    with at("type"):
        if entry["type"] == "ExternalName":
            raise Fault("is ExternalName, a name in disguise: catalogue that name as kind fqdn")
        if entry["type"] not in _TYPES:
            raise Fault(f"is none of {', '.join(_TYPES)}")
    account = entry.get("service_account")
    if account is None:
        account = said
    if account is not None:
        with at("service_account"):
            names.check_service_account(text(account))
            if said and account != said:
                raise Fault(f"is another one than {said}, which the catalogue says")
    with at("ports"):
        ports = parse_ports(entry["ports"])
    pods = Pods(
        namespace=split_service(host)[0],
        labels=_labels(entry["selector"]),
        account=None if account is None else str(account),
    )
    return ResolvedService(pods, ports)


def _labels(value: object) -> tuple[tuple[str, str], ...]:
    with at("selector"):
        if not isinstance(value, Mapping) or not value:
            raise Fault("is empty: without one the Service could be anything")
        labels: dict[str, str] = {}
        for key, wanted in value.items():
            bare = names.bare_label_key(text(key))
            if bare in labels:
                raise Fault(f"has the key {bare!r} twice")
            with at(bare):
                if not isinstance(wanted, str):
                    raise Fault("has to be a text")
                names.check_label_value(wanted)
            labels[bare] = wanted
        return tuple(sorted(labels.items()))
