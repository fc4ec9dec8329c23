"""Reading catalogue entries: what is refused, where, and with which way out."""

from __future__ import annotations

from typing import Any

import pytest
from network_kit import Entry, api_server, cidr, fqdn, read, service

from gateway.errors import Misconfigured
from gateway.network.destinations import NetworkDestination, problems
from gateway.network.peers import Addresses, ApiServer, Name, Pods, Unresolved
from gateway.network.ports import Ports

REFUSED: dict[str, tuple[Entry, str, str]] = {
    # fields that nobody knows could be misspelled ones
    "misspelled except": (cidr(expect=["10.1.0.0/16"]), "expect", "not a known field"),
    "no ports": ({"kind": "fqdn", "host": "a.example", "protocol": "tcp"}, "ports", "missing"),
    "kind": (fqdn(kind="entity"), "kind", "is none of"),
    "protocol": (fqdn(protocol="sctp"), "protocol", "is none of"),
    "except of a name": (fqdn(**{"except": ["10.0.0.0/8"]}), "except", "kind cidr alone"),
    "service of a name": (fqdn(service={"namespace": "d"}), "service", "kind service alone"),
    "no host": (fqdn(""), "host", "has to be a text"),
    "host of the API server": (api_server(host="a.example"), "host", "every kind but"),
    # names
    "upper case": (fqdn("API.example.com"), "host", "lower case"),
    "trailing dot": (fqdn("api.example.com."), "host", "trailing dot"),
    "unicode": (fqdn("bücher.example"), "host", "A-labels"),
    "kelvin sign": (fqdn("\u212aube.example"), "host", "lower case"),
    "bad punycode": (fqdn("xn--999999999.example"), "host", "no encoded Unicode"),
    "punycode of ASCII": (fqdn("xn--abc-.example"), "host", "DNS name"),
    "reserved label": (fqdn("ab--c.example"), "host", "reserved label"),
    "one label": (fqdn("warehouse"), "host", "search list"),
    "everything": (fqdn("*"), "host", "not a DNS name"),
    "a top-level domain": (fqdn("*.com"), "host", "needs a dot"),
    "star inside": (fqdn("a.*.example.com"), "host", "not a DNS name"),
    "star in a label": (fqdn("api*.example.com"), "host", "not a DNS name"),
    "any depth": (fqdn("**.example.com"), "host", "not a DNS name"),
    "empty label": (fqdn("api..example.com"), "host", "not a DNS name"),
    "label of 64": (fqdn("a" * 64 + ".example"), "host", "not a DNS name"),
    "name of 254": (fqdn(".".join(["a" * 49] * 5) + ".aaaa"), "host", "longer than 253"),
    "address as name": (fqdn("10.0.0.1"), "host", "use kind cidr"),
    "line feed": (fqdn("api.example.com\n"), "host", "not a DNS name"),
    # ranges
    "host bits": (cidr("10.1.2.3/8"), "host", "write 10.0.0.0/8"),
    "netmask": (cidr("10.0.0.0/255.0.0.0"), "host", "neither an address nor"),
    "octal": (cidr("010.0.0.0/8"), "host", "neither an address nor"),
    "another spelling": (cidr("FD00:1::/32"), "host", "write fd00:1::/32"),
    "zone": (cidr("fe80::1%eth0"), "host", "neither an address nor"),
    "world": (cidr("0.0.0.0/0"), "host", "every address"),
    "world of IPv6": (cidr("::/0"), "host", "every address"),
    "half the world": (cidr("128.0.0.0/1"), "host", "internet in disguise"),
    "the world but a little": (
        cidr("0.0.0.0/1", **{"except": ["100.64.0.0/10"]}),
        "host",
        "internet in disguise",
    ),
    "IPv4 as IPv6": (cidr("::ffff:a00:0/104"), "host", "stands for IPv4"),
    "IPv4 behind NAT64": (cidr("64:ff9b::a9fe:a9fe"), "host", "stands for IPv4"),
    "6to4": (cidr("2002:a9fe:a9fe::/48"), "host", "stands for IPv4"),
    "metadata": (cidr("169.254.169.254"), "host", "169.254.169.254/32"),
    "metadata in a range": (cidr("169.254.0.0/16"), "host", "169.254.170.2/32"),
    "metadata of IPv6": (cidr("fd00::/8"), "host", "fd00:ec2::254/128"),
    "hole outside": (cidr(**{"except": ["11.0.0.0/16"]}), "except", "not inside"),
    "hole of IPv6": (cidr(**{"except": ["fd00::/64"]}), "except", "not inside"),
    "nothing but holes": (
        cidr(**{"except": ["10.0.0.0/9", "10.128.0.0/9"]}),
        "except",
        "leaves nothing",
    ),
    "hole with host bits": (cidr(**{"except": ["10.1.1.1/16"]}), "except", "host bits"),
    # ports
    "no port": (fqdn(ports=[]), "ports", "at least one"),
    "port 0": (fqdn(ports=[0]), "ports[0]", "whole number"),
    "port 65536": (fqdn(ports=[443, 65_536]), "ports[1]", "whole number"),
    "port as text": (fqdn(ports=["0443"]), "ports[0]", "whole number"),
    "port as truth": (fqdn(ports=[True]), "ports[0]", "whole number"),
    "port as fraction": (fqdn(ports=[443.0]), "ports[0]", "whole number"),
    "range backwards": (fqdn(ports=[{"port": 9, "endPort": 8}]), "ports[0].endPort", "below"),
    "range without end": (fqdn(ports=[{"port": 9}]), "ports[0].endPort", "missing"),
    "range with more": (
        fqdn(ports=[{"port": 9, "endPort": 9, "protocol": "TCP"}]),
        "ports[0].protocol",
        "known field",
    ),
    # TLS server names
    "server names on UDP": (fqdn(protocol="udp", server_names=["a.b"]), "server_names", "no TLS"),
    "server names on HTTP": (fqdn(protocol="http", server_names=["a.b"]), "server_names", "no TLS"),
    "server name pattern": (fqdn(server_names=["*.a.b"]), "server_names[0]", "DNS name"),
    "server name as text": (fqdn(server_names="a.b"), "server_names", "list"),
    # Services
    "not namespace/name": (service("warehouse"), "host", "namespace/name"),
    "upper-case namespace": (service("Data/warehouse"), "host", "Kubernetes name"),
    "another Service": (service(service={"name": "other"}), "service", "another one"),
    "ExternalName": (
        service(service={"type": "ExternalName"}),
        "service.type",
        "catalogue that name as kind fqdn",
    ),
    "unknown type": (service(service={"type": "Headless"}), "service.type", "is none of"),
    "no selector": (service(service={"selector": {}}), "service.selector", "is empty"),
    "named port": (service(service={"ports": ["http"]}), "service.ports[0]", "whole number"),
    "reserved source": (
        service(service={"selector": {"reserved:host": ""}}),
        "service.selector",
        "source 'reserved'",
    ),
    "any source": (
        service(service={"selector": {"any:app": "w"}}),
        "service.selector",
        "source 'any'",
    ),
    "namespace labels": (
        service(service={"selector": {"io.cilium.k8s.namespace.labels.team": "x"}}),
        "service.selector",
        "namespaces and accounts",
    ),
    "another namespace": (
        service(service={"selector": {"k8s:io.kubernetes.pod.namespace": "x", "app": "w"}}),
        "service.selector",
        "namespaces and accounts",
    ),
    "label that Cilium ignores": (
        service(service={"selector": {"statefulset.kubernetes.io/pod-name": "w-0"}}),
        "service.selector",
        "matches nothing",
    ),
    "one key twice": (
        service(service={"selector": {"app": "w", "k8s:app": "x"}}),
        "service.selector",
        "twice",
    ),
    "label key": (service(service={"selector": {"a b": "w"}}), "service.selector", "label key"),
    "label value": (
        service(service={"selector": {"app": "-w"}}),
        "service.selector.app",
        "label value",
    ),
    "service account": (
        service(service={"service_account": "A b"}),
        "service.service_account",
        "service account",
    ),
    "service account of the catalogue": (
        service(service_account="A b"),
        "service_account",
        "service account",
    ),
    "service account without a Service": (
        fqdn(service_account="a"),
        "service_account",
        "kind service alone",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_network_entry_is_refused(case: str) -> None:
    """What would be rejected or widened is refused, with destination, field and reason."""
    entry, field, reason = REFUSED[case]
    with pytest.raises(Misconfigured) as refused:
        read(entry)
    assert refused.value.code == "destination_invalid"
    assert refused.value.step == "bind"
    assert refused.value.field == f"it.{field}"
    assert f"destination it: {field} " in refused.value.public_message
    assert reason in refused.value.public_message


ACCEPTED: dict[str, tuple[Entry, NetworkDestination]] = {
    "name": (
        fqdn(title="T", known=True, name="it", tenancy="internal", emits=[], accepts=[]),
        NetworkDestination("it", Name("api.example.com"), "TCP", (Ports(443, 443),)),
    ),
    "wildcard, UDP": (
        fqdn("*.example.com", protocol="udp"),
        NetworkDestination("it", Name("*.example.com"), "UDP", (Ports(443, 443),)),
    ),
    "A-label": (
        fqdn("xn--bcher-kva.example"),
        NetworkDestination("it", Name("xn--bcher-kva.example"), "TCP", (Ports(443, 443),)),
    ),
    "ports are merged": (
        fqdn(ports=[8081, {"port": 1, "endPort": 9}, 5, 8080, 10, 8080]),
        NetworkDestination("it", Name("api.example.com"), "TCP", (Ports(1, 10), Ports(8080, 8081))),
    ),
    "server names are sorted": (
        fqdn(server_names=["b.example", "a.example", "b.example"]),
        NetworkDestination(
            "it",
            Name("api.example.com"),
            "TCP",
            (Ports(443, 443),),
            ("a.example", "b.example"),
        ),
    ),
    "API server": (
        api_server(host=""),
        NetworkDestination("it", ApiServer(), "TCP", (Ports(6443, 6443),)),
    ),
    "Service by its pods and their port": (
        service(service={"selector": {"k8s:b": "2", "a": ""}, "service_account": "loader"}),
        NetworkDestination(
            "it",
            Pods("data", (("a", ""), ("b", "2")), "loader"),
            "TCP",
            (Ports(8080, 8080),),
            (),
            "data/warehouse",
        ),
    ),
    "Service, not resolved": (
        service() | {"service": None},
        NetworkDestination(
            "it", Unresolved("data/warehouse"), "TCP", (Ports(80, 80),), (), "data/warehouse"
        ),
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_network_entry_is_read(case: str) -> None:
    """A good entry is read to the one form that means it."""
    entry, wanted = ACCEPTED[case]
    assert read(entry) == wanted


@pytest.mark.parametrize(
    ("host", "holes", "network", "left"),
    [
        ("127.0.0.1", [], "127.0.0.1/32", []),
        ("10.0.0.0/8", ["10.1.1.0/25", "10.1.1.128/25"], "10.0.0.0/8", ["10.1.1.0/24"]),
        ("100.64.0.0/10", ["100.100.100.200"], "100.64.0.0/10", ["100.100.100.200/32"]),
        ("11.0.0.0/8", [], "11.0.0.0/8", []),
        ("::1", [], "::1/128", []),
    ],
)
def test_network_range_is_read(host: str, holes: Any, network: str, left: list[str]) -> None:
    """A lone address is a range of one; holes are merged, and may be what saves a range."""
    peer = read(cidr(host, **{"except": holes})).peer
    assert isinstance(peer, Addresses)
    assert (str(peer.network), [str(hole) for hole in peer.holes]) == (network, left)


def test_network_problems_lists_each_entry() -> None:
    """A catalogue is checked as a whole, so that its author sees everything at once."""
    found = problems({"b": fqdn("B.example"), "a": fqdn(), "c": cidr("0.0.0.0/0")})
    assert [(problem.name, problem.field) for problem in found] == [("b", "host"), ("c", "host")]
    assert str(found[1]) == "destination c: host is every address there is"


def test_network_message_cannot_draw_on_a_terminal() -> None:
    """A message quotes a value as Python would, control characters included."""
    with pytest.raises(Misconfigured) as refused:
        read(fqdn("a\x1b[31m.example"))
    assert "\x1b" not in refused.value.public_message
