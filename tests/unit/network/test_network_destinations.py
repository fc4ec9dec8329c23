"""Reading catalogue entries: what is refused, where, and with which way out."""

from __future__ import annotations

from typing import Any

import pytest
from network_kit import Entry, api_server, cidr, fqdn, read, service

from gateway.errors import Misconfigured
from gateway.network.destinations import NetworkDestination, problems
from gateway.network.peers import Addresses, ApiServer, Name, Pods, Unresolved
from gateway.network.ports import Ports
from tests.fixtures.network.refused import REFUSED


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
