"""Catalogue entries as the network reads them: parsed strictly, then trusted.

Only what a packet filter can see is read: kind, host, except, ports, protocol, server names, and
for a Service the account of its pods and what planning resolved it to. A field that nobody knows is
refused, because a misspelled ``except`` would widen what a task may reach. Nothing here knows about
data classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.errors import Misconfigured
from gateway.network import addresses, names
from gateway.network.peers import Addresses, AnyPeer, ApiServer, Name, Unresolved
from gateway.network.ports import Ports, parse_ports
from gateway.network.reading import Fault, at, items, record, text
from gateway.network.services import parse_service, split_service

Transport = Literal["TCP", "UDP"]

_TRANSPORTS: Mapping[object, Transport] = {
    "http": "TCP",
    "https": "TCP",
    "tcp": "TCP",
    "udp": "UDP",
}
_TLS = ("https", "tcp")  # protocols under which a server name may be demanded
_KINDS = ("fqdn", "cidr", "service", "kube-apiserver")
_READ = ("kind", "ports", "protocol")
_OPTIONAL = ("host", "service_account", "except", "server_names", "service")
# What the catalogue says to people and to policy: no packet filter can see it.
_NOT_OURS = ("name", "known", "title", "tenancy", "emits", "accepts", "agents")


@dataclass(frozen=True, slots=True)
class NetworkDestination:
    """One place that tasks may reach, and how.

    ``service`` is ``namespace/name`` for kind ``service``. ``server_names`` are the TLS names of
    which a connection has to ask for one; empty when any connection will do.
    """

    name: str
    peer: AnyPeer
    protocol: Transport
    ports: tuple[Ports, ...]
    server_names: tuple[str, ...] = ()
    service: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a catalogue entry cannot become a rule."""

    name: str
    field: str
    reason: str
    path: tuple[str | int, ...] = ()  # the field as keys and indices

    def __str__(self) -> str:
        return f"destination {self.name}: {f'{self.field} ' if self.field else ''}{self.reason}"


def parse_destination(name: str, entry: Mapping[str, object]) -> NetworkDestination:
    """Read one entry. Raises ``Misconfigured`` that names destination and field."""
    try:
        return _parse(name, entry)
    except Fault as fault:
        problem = Problem(name, fault.field, fault.reason)
        raise Misconfigured(
            "destination_invalid",
            f"{problem}; correct policies/data/destinations.yaml",
            step="bind",
            field=f"{name}.{fault.field}".rstrip("."),
        ) from fault


def problems(catalogue: Mapping[str, Mapping[str, object]]) -> tuple[Problem, ...]:
    """Return what is wrong with each entry that could not become a rule, by name."""
    found = []
    for name, entry in sorted(catalogue.items()):
        try:
            _parse(name, entry)
        except Fault as fault:
            found.append(Problem(name, fault.field, fault.reason, fault.path))
    return tuple(found)


def _parse(name: str, value: object) -> NetworkDestination:
    entry = record(value, _READ, (*_OPTIONAL, *_NOT_OURS))
    with at("protocol"):
        protocol = _TRANSPORTS.get(text(entry["protocol"]))
        if protocol is None:
            raise Fault(f"is none of {', '.join(map(str, _TRANSPORTS))}")
    with at("ports"):
        ports = parse_ports(entry["ports"])
    with at("kind"):
        kind = text(entry["kind"])
        if kind not in _KINDS:
            raise Fault(f"is none of {', '.join(_KINDS)}")
    for field, owner in (
        ("except", "cidr"),
        ("service", "service"),
        ("service_account", "service"),
    ):
        if entry.get(field) and kind != owner:
            with at(field):
                raise Fault(f"goes with kind {owner} alone")
    if account := entry.get("service_account"):
        with at("service_account"):
            names.check_service_account(text(account))
    host = _host(kind, entry.get("host"))
    with at("server_names"):
        server_names = _server_names(entry.get("server_names"), entry["protocol"])
    if kind != "service":
        return NetworkDestination(name, _peer(kind, host, entry), protocol, ports, server_names)
    if (resolved := entry.get("service")) is None:
        return NetworkDestination(name, Unresolved(host), protocol, ports, server_names, host)
    with at("service"):
        found = parse_service(resolved, host, entry.get("service_account"))
    return NetworkDestination(name, found.pods, protocol, found.ports, server_names, host)


def _host(kind: str, value: object) -> str:
    with at("host"):
        if kind == "kube-apiserver":
            if value:
                raise Fault("goes with every kind but kube-apiserver")
            return ""
        host = text(value)
        if kind == "service":
            split_service(host)
        return host


def _peer(kind: str, host: str, entry: Mapping[str, object]) -> AnyPeer:
    if kind == "cidr":
        return _addresses(host, entry.get("except") or ())
    if kind == "fqdn":
        with at("host"):
            names.check_pattern(host)
        return Name(host)
    return ApiServer()


def _addresses(host: str, holes: object) -> Addresses:
    with at("host"):
        network = addresses.parse_network(host)
        if addresses.is_wide(network):
            raise Fault(f"is too wide for one rule, whatever is left out: {network}")
    with at("except"):
        listed = [text(hole) for hole in items(holes)] if holes else []
        peer = Addresses(network, addresses.parse_except(network, listed))
    with at("host"):
        if addresses.is_world(peer.spans):
            raise Fault(f"is the internet in disguise: {network} holds too many public addresses")
        if found := addresses.metadata_in(peer.spans):
            raise Fault(f"holds metadata addresses; put into except: {', '.join(found)}")
    return peer


def _server_names(value: object, protocol: object) -> tuple[str, ...]:
    if value is None or value in ([], ()):  # the catalogue's form always has the key
        return ()
    if protocol not in _TLS:
        raise Fault(f"needs protocol {' or '.join(_TLS)}: there is no TLS in {protocol}")
    found = []
    for index, item in enumerate(items(value)):
        with at(index):
            names.check_name(text(item))
            found.append(str(item))
    return tuple(sorted(set(found)))
