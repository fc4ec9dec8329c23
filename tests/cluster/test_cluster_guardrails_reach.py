"""What one egress rule of a profile may say, tried on the real API server as the binder.

Each attempt adds one rule to a good profile. A rule that is written loosely reaches more than it
says: to Cilium no ports are all ports, and a star is whatever it matches.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from bed.api import Object
from bed.attempts import POLICIES, refused
from bed.installation import TASKS, Installation
from test_cluster_guardrails_policies import EGRESS, GUARD, NAMES, WORLD, egress, good

from gateway.network.cilium import policy
from gateway.network.dns import KUBE_DNS, NODE_LOCAL_DNS, OPENSHIFT, DnsFlavour
from gateway.network.peers import ACCOUNT_KEY, NAMESPACE_KEY
from gateway.network.profiles import profile
from gateway.network.sites import Site

PORTS = "gives each port its number and its protocol"
CONTENT = "which names resolvers may be asked for"
SOME = [{"cidr": "192.0.2.0/24"}]
KUBE = {NAMESPACE_KEY: "kube-system", "k8s:k8s-app": "kube-dns"}
Rule = dict[str, Any]


def ports(*entries: Rule, **more: Any) -> Rule:
    """A rule to some addresses, with these entries as its ports."""
    return {"toCIDRSet": SOME, "toPorts": [{"ports": list(entries), **more}]}


def port(number: str, protocol: str = "TCP", **more: Any) -> Rule:
    """A rule to some addresses, on one port."""
    return ports({"port": number, "protocol": protocol, **more})


def asking(*names: Rule, **peer: Any) -> Rule:
    """A rule under which names may be asked for, of the cluster's DNS unless it says otherwise."""
    made = ports({"port": "53", "protocol": "ANY"}, rules={"dns": list(names)})
    return {**(peer or {"toEndpoints": [{"matchLabels": KUBE}]}), "toPorts": made["toPorts"]}


def pods(**labels: str) -> Rule:
    """A rule to the pods of the namespace ``data`` that have these labels; ``_`` is a colon."""
    found = {key.replace("_", ":", 1): value for key, value in labels.items()}
    return {"toEndpoints": [{"matchLabels": {NAMESPACE_KEY: "data", **found}}]}


def cidr(range_: str, **more: Any) -> Rule:
    """A rule to a range of addresses."""
    return {"toCIDRSet": [{"cidr": range_, **more}]}


def named(pattern: str) -> Rule:
    """A rule to the names that a pattern matches."""
    return {"toFQDNs": [{"matchPattern": pattern}]}


ATTEMPTS: dict[str, tuple[Rule, str]] = {
    "half of the internet": (cidr("0.0.0.0/1"), WORLD),
    "half of the internet but for a bit": (
        cidr("128.0.0.0/1", **{"except": ["192.0.2.0/24"]}),
        WORLD,
    ),
    "more than any one can mean": (cidr("8.0.0.0/6"), WORLD),
    "everything, spelled in another way": (cidr("0.0.0.0/00"), WORLD),
    "all addresses of IPv6 that are public": (cidr("2000::/3"), WORLD),
    "many addresses of IPv6": (cidr("2400::/15"), WORLD),
    "more than the private ones of IPv6": (cidr("fc00::/6"), WORLD),
    "no range": ({"toCIDRSet": []}, EGRESS),
    "two ranges": ({"toCIDRSet": [*SOME, {"cidr": "198.51.100.0/24"}]}, EGRESS),
    "no entity": ({"toEntities": []}, EGRESS),
    "two entities": ({"toEntities": ["kube-apiserver", "host"]}, EGRESS),
    "other nodes": ({"toEntities": ["remote-node"]}, WORLD),
    "everything in the cluster": ({"toEntities": ["cluster"]}, WORLD),
    "no ports": ({"toCIDRSet": SOME, "toPorts": []}, EGRESS),
    "ports twice": ({"toCIDRSet": SOME, "toPorts": [*port("443")["toPorts"], {}]}, EGRESS),
    "ports that are all": ({"toCIDRSet": SOME, "toPorts": [{}]}, PORTS),
    "empty list of ports": (ports(), PORTS),
    "port without a number": (ports({"protocol": "TCP"}), PORTS),
    "port that says nothing": (ports({}), PORTS),
    "port zero, which is every one": (port("0"), PORTS),
    "port in octal": (port("0443"), PORTS),
    "port by name": (port("http"), PORTS),
    "port without a protocol": (ports({"port": "443"}), PORTS),
    "port of any protocol": (port("443", "ANY"), PORTS),
    "port of another protocol": (port("443", "SCTP"), PORTS),
    "ports that end before they begin": (port("443", endPort=80), PORTS),
    "another proxy": (
        ports(
            {"port": "443", "protocol": "TCP"},
            listener={"name": "a", "envoyConfig": {"kind": "CiliumEnvoyConfig", "name": "a"}},
        ),
        PORTS,
    ),
    "secret that Cilium shows for the pod": (
        ports(
            {"port": "443", "protocol": "TCP"},
            originatingTLS={"secret": {"name": "a", "namespace": "b"}},
        ),
        PORTS,
    ),
    "requests of HTTP": (ports({"port": "80", "protocol": "ANY"}, rules={"http": [{}]}), CONTENT),
    "questions of no name": (asking(), CONTENT),
    "questions to names": (
        asking({"matchName": "a.example.com"}, toFQDNs=[{"matchName": "a.example.com"}]),
        CONTENT,
    ),
    "questions with names for TLS": (
        ports(
            {"port": "53", "protocol": "ANY"},
            rules={"dns": [{"matchName": "a.example"}]},
            serverNames=["a.example"],
        ),
        CONTENT,
    ),
    "questions of every name": (asking({"matchPattern": "*"}), NAMES),
    "questions of every name of two labels": (asking({"matchPattern": "*.*"}), NAMES),
    "questions of a whole domain of the root": (asking({"matchPattern": "*.com"}), NAMES),
    "a whole domain of the root": (named("*.com"), NAMES),
    "every name of two labels": (named("*.*"), NAMES),
    "names at any depth": (named("**.example.com"), NAMES),
    "two stars": (named("*.*.example.com"), NAMES),
    "star inside": (named("*.a*.example.com"), NAMES),
    "star at the end": (named("*.example.*"), NAMES),
    "name of the root": ({"toFQDNs": [{"matchName": "com"}]}, NAMES),
    "no name": ({"toFQDNs": []}, EGRESS),
    "two names": ({"toFQDNs": [{"matchName": "a.example"}, {"matchName": "b.example"}]}, EGRESS),
    "no pods": ({"toEndpoints": []}, EGRESS),
    "two sets of pods": ({"toEndpoints": 2 * pods(k8s_app="web")["toEndpoints"]}, EGRESS),
    "all pods of a namespace": (pods(), WORLD),
    "all pods of an account": (
        {"toEndpoints": [{"matchLabels": {NAMESPACE_KEY: "data", ACCOUNT_KEY: "default"}}]},
        WORLD,
    ),
    "all pods, by their cluster": (
        {
            "toEndpoints": [
                {"matchLabels": {NAMESPACE_KEY: "a", "k8s:io.cilium.k8s.policy.cluster": "b"}}
            ]
        },
        WORLD,
    ),
    "pods by a label that is their namespace's": (
        {"toEndpoints": [{"matchLabels": {NAMESPACE_KEY: "a", "k8s:io.kubernetes.pod.x": ""}}]},
        WORLD,
    ),
    "pods of no namespace": (
        {"toEndpoints": [{"matchLabels": {NAMESPACE_KEY: "", "k8s:app": "web"}}]},
        WORLD,
    ),
    "pods of every namespace": ({"toEndpoints": [{"matchLabels": {"k8s:app": "web"}}]}, WORLD),
    "the host as a label": (pods(reserved_host=""), WORLD),
    "label of any source": (pods(app="web"), WORLD),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_guardrails_refuse_rule(guarded: Installation, attempt: str) -> None:
    """Not even the binder lets a pod reach more than a destination can mean."""
    rule, says = ATTEMPTS[attempt]
    made = good()
    egress(**rule)(made)
    refused(lambda: guarded["binder"].create(POLICIES, made), GUARD, says)


WIDEST = {
    "10.0.0.0/7": [],  # one half of it is private
    "126.0.0.0/7": [],  # the same
    "11.0.0.0/8": [],
    "2400::/16": [],
    "fc00::/7": ["fd00::/16", "fd20:ce::/32"],  # without the clouds' metadata
    "fe80::/10": ["fe80::/64"],
    "198.51.100.7": [],
    "2001:db8::1": [],
}


@pytest.mark.parametrize("host", WIDEST)
def test_guardrails_accept_widest(guarded: Installation, host: str) -> None:
    """The widest ranges that the compiler takes are the guard's as well, and so are the least."""
    entry = {"kind": "cidr", "host": host, "ports": [1, 65_535], "protocol": "udp"}
    guarded["binder"].create(
        POLICIES, made({"it": {**entry, "except": WIDEST[host]}}), dryRun="All"
    )


@pytest.mark.parametrize("flavour", [KUBE_DNS, NODE_LOCAL_DNS, OPENSHIFT], ids=lambda it: it.name)
def test_guardrails_accept_names(guarded: Installation, flavour: DnsFlavour) -> None:
    """Names and questions for them pass on each kind of cluster, with server names demanded too."""
    plain = {"kind": "fqdn", "ports": [{"port": 1, "endPort": 65_535}], "protocol": "https"}
    catalogue = {
        "one": {**plain, "host": "a_b.xn--bcher-kva.example", "server_names": ["x.example"]},
        "many": {**plain, "host": "*.data-1.example.com"},
    }
    guarded["binder"].create(POLICIES, made(catalogue, flavour), dryRun="All")


def test_guardrails_accept_thousands_of_ports(guarded: Installation) -> None:
    """What a guard may compute is bounded, and a profile of half a megabyte is within it."""
    entry = {"kind": "fqdn", "ports": list(range(1, 80, 2)), "protocol": "tcp"}
    catalogue = {f"d-{n}": {**entry, "host": f"*.host-{n}.example.com"} for n in range(200)}
    guarded["binder"].create(POLICIES, made(catalogue), dryRun="All")


def made(catalogue: dict[str, Rule], flavour: DnsFlavour = KUBE_DNS) -> Object:
    """Return the policy that is compiled for all of a catalogue."""
    found: Object = json.loads(
        json.dumps(policy(profile(catalogue, catalogue, Site(TASKS, flavour))))
    )
    return found
