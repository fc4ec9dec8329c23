"""Destinations that are fine alone, and what they do together."""

from __future__ import annotations

import pytest
from network_kit import Entry, cidr, fqdn, service

from gateway.errors import Misconfigured, Unprocessable
from gateway.network.dns import KUBE_DNS, NODE_LOCAL_DNS, OPENSHIFT, DnsFlavour
from gateway.network.profiles import profile
from gateway.network.sites import Site

TLS = ["api.example.com"]
HALVES = {f"r{n}": cidr(f"{n}.0.0.0/8") for n in (11, 12)}

REFUSED: dict[str, tuple[dict[str, Entry], str]] = {
    "names and none, one host": (
        {"a": fqdn(server_names=TLS), "b": fqdn()},
        "demanded by a alone",
    ),
    "names and none, wildcard over the host": (
        {"a": fqdn(server_names=TLS), "b": fqdn("*.example.com")},
        "demanded by a alone",
    ),
    "names and none, a range of ports": (
        {"a": fqdn(), "b": fqdn(ports=[{"port": 1, "endPort": 500}], server_names=TLS)},
        "demanded by b alone",
    ),
    "names and none, ranges in each other": (
        {"a": cidr(), "b": cidr("10.1.0.0/16", server_names=TLS)},
        "demanded by b alone",
    ),
    "names and none, pods that could be the same": (
        {
            "a": service(service={"selector": {"app": "w"}}),
            "b": service(
                "data/other",
                protocol="https",
                server_names=TLS,
                service={"selector": {"tier": "x"}},
            ),
        },
        "demanded by b alone",
    ),
    "other names, wildcard over the host": (
        {"a": fqdn(server_names=TLS), "b": fqdn("*.example.com", server_names=["b.example"])},
        "different TLS server names",
    ),
    "the world in pieces": (HALVES, "r11, r12 together are the internet"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_network_combination_is_refused(case: str) -> None:
    """A combination that would not mean the sum of its parts is refused, both parts named."""
    catalogue, reason = REFUSED[case]
    for name in catalogue:
        assert profile([name], catalogue).rules
    with pytest.raises(Unprocessable) as refused:
        profile(catalogue, catalogue)
    assert refused.value.code == "destinations_conflict"
    assert refused.value.step == "bind"
    assert reason in refused.value.public_message
    assert "separate tasks" in refused.value.public_message


ACCEPTED: dict[str, dict[str, Entry]] = {
    "same names": {
        "a": fqdn(server_names=TLS),
        "b": fqdn("*.example.com", server_names=TLS),
    },
    "names and none on other ports": {"a": fqdn(server_names=TLS), "b": fqdn(ports=[80])},
    "names and none at other hosts": {"a": fqdn(server_names=TLS), "b": fqdn("b.example.com")},
    "names and none, UDP": {"a": fqdn(server_names=TLS), "b": fqdn(protocol="udp")},
    "names and none, name and address": {
        "a": fqdn(server_names=TLS),
        "b": cidr(ports=[443]),
    },
    "names and none, in a hole": {
        "a": cidr("10.1.0.0/16", server_names=TLS),
        "b": cidr(**{"except": ["10.1.0.0/16"]}),
    },
    "names and none, other pods": {
        "a": service(protocol="https", server_names=TLS),
        "b": service("data/other"),
    },
    "one large range, listed twice": {"a": cidr("11.0.0.0/8"), "b": cidr("11.0.0.0/8", ports=[80])},
    "private ranges": {
        "a": cidr(),
        "b": cidr("172.16.0.0/12"),
        "c": cidr("192.168.0.0/16"),
        "d": cidr("11.0.0.0/8"),
    },
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_network_combination_is_accepted(case: str) -> None:
    """What does mean the sum of its parts is allowed."""
    assert profile(ACCEPTED[case], ACCEPTED[case]).rules


def test_network_server_names_of_one_place_add_up() -> None:
    """Two destinations for one host, each with its server names: both names, where both apply."""
    catalogue = {
        "a": fqdn(ports=[443, 8443], server_names=["a.example"]),
        "b": fqdn(ports=[443], server_names=["b.example"]),
    }
    rules = profile(catalogue, catalogue).rules
    assert {(rule.ports[0].first, rule.server_names) for rule in rules} == {
        (443, ("a.example", "b.example")),
        (8443, ("a.example",)),
    }


@pytest.mark.parametrize(
    ("dns", "entry"),
    [
        (KUBE_DNS, service("kube-system/kube-dns", service={"ports": [53]})),
        (KUBE_DNS, service("kube-system/x", service={"selector": {"a": "b"}, "ports": [53]})),
        (OPENSHIFT, service("openshift-dns/x", service={"selector": {"a": "b"}, "ports": [5353]})),
        (NODE_LOCAL_DNS, cidr("169.254.20.0/24", ports=[{"port": 1, "endPort": 99}])),
    ],
)
def test_network_plain_way_to_the_resolvers_is_refused(dns: DnsFlavour, entry: Entry) -> None:
    """A rule without names to the DNS servers would let a task ask for, and tell, anything."""
    with pytest.raises(Misconfigured, match="any name could be asked for"):
        profile(["a"], {"a": entry}, Site(dns=dns))


@pytest.mark.parametrize(
    ("dns", "entry"),
    [
        (OPENSHIFT, service("kube-system/kube-dns", service={"ports": [53]})),
        (KUBE_DNS, service("kube-system/kube-dns", service={"ports": [9153]})),
        (KUBE_DNS, service("kube-system/x", service={"selector": {"k8s-app": "x"}, "ports": [53]})),
        (KUBE_DNS, cidr("169.254.20.10", ports=[53])),
    ],
)
def test_network_other_ways_near_the_resolvers_are_allowed(dns: DnsFlavour, entry: Entry) -> None:
    """Other ports, other pods and other clusters' resolvers are places like any other."""
    assert profile(["a"], {"a": entry}, Site(dns=dns)).rules


@pytest.mark.parametrize("host", ["w.data.svc.cluster.local", "*.svc.cluster.local"])
def test_network_cluster_names_are_refused(host: str) -> None:
    """A name inside the cluster selects nothing, so the entry says the kind that does."""
    with pytest.raises(Misconfigured, match="use kind service"):
        profile(["a"], {"a": fqdn(host)})
