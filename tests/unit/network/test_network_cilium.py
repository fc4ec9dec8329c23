"""The policy of a profile, as a whole and as text; what counts as a difference."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from network_kit import Entry, api_server, cidr, fqdn, service

from gateway.canonical import decode, encode, sha256
from gateway.errors import IntegrityViolation, Misconfigured
from gateway.network.cilium import canonical_text, differences, policy, to_yaml
from gateway.network.dns import KUBE_DNS, NODE_LOCAL_DNS, OPENSHIFT
from gateway.network.profiles import profile
from gateway.network.sites import Site
from gateway.network.validate import MAX_ANNOTATION

CATALOGUE: dict[str, Entry] = {
    "stripe": fqdn("api.example.com", server_names=["api.example.com"]),
    "buckets": fqdn("*.s3.example", ports=[80]),
    "office": cidr("10.0.0.0/8", **{"except": ["10.1.0.0/16"]}),
    "warehouse": service(service={"service_account": "loader"}),
    "cluster": api_server(),
}


def egress(catalogue: dict[str, Entry], site: Site | None = None) -> list[Any]:
    """Return the egress rules of all destinations of a catalogue."""
    found: Any = policy(profile(catalogue, catalogue, site or Site()))["spec"]
    rules: list[Any] = found["egress"]
    return rules


def test_network_policy_of_every_kind() -> None:
    """One policy, whole: DNS for the approved names, then one rule for each peer."""
    made = profile(CATALOGUE, CATALOGUE, Site("tasks"))
    manifest = policy(made)
    assert manifest == {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {
            "name": f"sluice-{made.name}",
            "namespace": "tasks",
            "labels": {"app.kubernetes.io/managed-by": "sluice"},
            "annotations": {"sluice/profile-canonical": canonical_text(made)},
        },
        "spec": {
            "endpointSelector": {"matchLabels": {"sluice/profile": made.name}},
            "ingress": [{}],
            "egress": [
                {
                    "toEndpoints": [
                        {
                            "matchLabels": {
                                "k8s:io.kubernetes.pod.namespace": "kube-system",
                                "k8s:k8s-app": "kube-dns",
                            }
                        }
                    ],
                    "toPorts": [
                        {
                            "ports": [{"port": "53", "protocol": "ANY"}],
                            "rules": {
                                "dns": [
                                    {"matchPattern": "*.s3.example"},
                                    {"matchName": "api.example.com"},
                                    {"matchName": "warehouse.data.svc.cluster.local"},
                                ]
                            },
                        }
                    ],
                },
                {
                    "toEndpoints": [
                        {
                            "matchLabels": {
                                "k8s:io.kubernetes.pod.namespace": "data",
                                "k8s:app": "warehouse",
                                "k8s:io.cilium.k8s.policy.serviceaccount": "loader",
                            }
                        }
                    ],
                    "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}],
                },
                {
                    "toCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}],
                    "toPorts": [{"ports": [{"port": "5432", "protocol": "TCP"}]}],
                },
                {
                    "toEntities": ["kube-apiserver"],
                    "toPorts": [{"ports": [{"port": "6443", "protocol": "TCP"}]}],
                },
                {
                    "toFQDNs": [{"matchPattern": "*.s3.example"}],
                    "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}],
                },
                {
                    "toFQDNs": [{"matchName": "api.example.com"}],
                    "toPorts": [
                        {
                            "ports": [{"port": "443", "protocol": "TCP"}],
                            "serverNames": ["api.example.com"],
                        }
                    ],
                },
            ],
        },
    }


def test_network_name_is_pinned() -> None:
    """The name of a profile is part of approved plans: it changes with ``GENERATOR`` alone."""
    assert profile([], {}).name == "p-30075cdf82809d21a8cabc534a86c647"
    assert profile(CATALOGUE, CATALOGUE, Site("tasks")).name == "p-318af8aa2798200210551fef6c2e9e25"


def test_network_no_destination_denies_all() -> None:
    """A task that declares nothing gets sections with an empty rule, which deny everything."""
    found: Any = policy(profile([], {}))["spec"]
    assert (found["ingress"], found["egress"]) == ([{}], [{}])


def test_network_addresses_alone_need_no_dns() -> None:
    """Without an approved name there is nothing to ask, so there is no DNS rule."""
    assert [list(rule) for rule in egress({"office": cidr()})] == [["toCIDRSet", "toPorts"]]


def test_network_many_ports_are_split() -> None:
    """Cilium takes 40 ports in one rule; the 41st starts the next one, in order."""
    ports = list(range(1000, 1182, 2))
    rules = egress({"office": cidr(ports=ports)})
    pieces = [[int(p["port"]) for p in rule["toPorts"][0]["ports"]] for rule in rules]
    assert [len(piece) for piece in pieces] == [40, 40, 11]
    assert [port for piece in pieces for port in piece] == ports


def test_network_ranges_of_ports() -> None:
    """A range has its end as a number; its start, like any port, as text."""
    (rule,) = egress({"office": cidr(ports=[{"port": 80, "endPort": 90}])})
    assert rule["toPorts"][0]["ports"] == [{"port": "80", "endPort": 90, "protocol": "TCP"}]


def test_network_node_local_dns() -> None:
    """The cache is asked by its address or, behind a redirect policy, as a pod; misses go on."""
    rules = egress({"stripe": fqdn()}, Site(dns=NODE_LOCAL_DNS))
    assert [rule.get("toCIDRSet") for rule in rules] == [
        None,
        None,
        [{"cidr": "169.254.20.10/32"}],
        None,
    ]
    apps = [r["toEndpoints"][0]["matchLabels"]["k8s:k8s-app"] for r in rules if "toEndpoints" in r]
    assert apps == ["kube-dns", "node-local-dns"]
    assert len({json.dumps(rule["toPorts"]) for rule in rules[:3]}) == 1


def test_network_openshift_dns() -> None:
    """OpenShift's resolvers are other pods, and listen on 5353 themselves."""
    rule = egress({"stripe": fqdn()}, Site(dns=OPENSHIFT))[0]
    assert rule["toEndpoints"][0]["matchLabels"] == {
        "k8s:io.kubernetes.pod.namespace": "openshift-dns",
        "k8s:dns.operator.openshift.io/daemonset-dns": "default",
    }
    assert rule["toPorts"][0]["ports"] == [{"port": "5353", "protocol": "ANY"}]


def test_network_unresolved_service_has_a_name_and_no_policy() -> None:
    """Without a cluster a plan still names its profiles; a policy needs pods and their port."""
    catalogue = {"warehouse": service() | {"service": None}}
    made = profile(catalogue, catalogue)
    assert made.unresolved == ("data/warehouse",)
    assert made.name != profile(["w"], {"w": service()}).name
    with pytest.raises(Misconfigured, match="data/warehouse is not resolved"):
        policy(made)


def test_network_compiler_is_not_trusted() -> None:
    """What is built is checked: a site whose DNS port is none gets no policy."""
    made = profile(["stripe"], CATALOGUE, Site(dns=replace(KUBE_DNS, port=0)))
    with pytest.raises(IntegrityViolation, match=r"toPorts\[0\]\.ports\[0\]\.port"):
        policy(made)


def test_network_canonical_form_is_kept() -> None:
    """The annotation is the canonical form itself, so that reuse compares all of it."""
    made = profile(CATALOGUE, CATALOGUE)
    assert decode(canonical_text(made).encode()) == made.canonical


def test_network_long_canonical_form_is_kept_as_its_digest() -> None:
    """An annotation has a limit; then the whole digest stands for the form."""
    catalogue = {f"n{i}": fqdn(f"{'a' * 60}.n{i}.example") for i in range(1300)}
    made = profile(catalogue, catalogue)
    data = encode(made.canonical)
    metadata: Any = policy(made)["metadata"]
    assert len(data) > MAX_ANNOTATION
    assert metadata["annotations"] == {"sluice/profile-canonical": f"sha256:{sha256(data)}"}


def test_network_same_policy_has_no_difference() -> None:
    """What a server adds is its own: identifiers, managed fields, status."""
    wanted = policy(profile(CATALOGUE, CATALOGUE))
    found: Any = copy.deepcopy(wanted)
    found["metadata"] |= {"uid": "1", "resourceVersion": "2", "generation": 1, "managedFields": []}
    found["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
    found["status"] = {"conditions": []}
    assert differences(wanted, found) == ()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda m: m["spec"].update(enableDefaultDeny={}), "spec.enableDefaultDeny"),
        (lambda m: m.update(specs=[]), "specs"),
        (lambda m: m["spec"]["egress"].pop(), "spec.egress"),
        (lambda m: m["spec"]["egress"][1]["toPorts"].clear(), "spec.egress[1].toPorts"),
        (lambda m: m["metadata"].update(namespace="x"), "metadata.namespace"),
        (lambda m: m["metadata"]["labels"].clear(), "metadata.labels.app.kubernetes.io/managed-by"),
        (lambda m: m["metadata"].pop("annotations"), "metadata.canonical"),
    ],
)
def test_network_difference_is_named(change: Any, place: str) -> None:
    """Everything that decides what is enforced, and on whom, is compared."""
    wanted = policy(profile(CATALOGUE, CATALOGUE))
    found: Any = copy.deepcopy(wanted)
    change(found)
    assert differences(wanted, found) == (place,)


TRAPS = ["y", "n", "on", "No", "1e3", "0x10", "0o7", "12:30", "1_000", "~", "", "NULL", "nan", "1."]


def test_network_yaml_quotes_what_others_misread() -> None:
    """A label value ``y`` or ``1e3`` stays a text for YAML 1.1 and 1.2 readers alike."""
    text = to_yaml([{"labels": {f"k{n}": trap for n, trap in enumerate(TRAPS)}}])
    assert yaml.safe_load(text)["labels"] == {f"k{n}": trap for n, trap in enumerate(TRAPS)}
    for trap in TRAPS:
        assert f": '{trap}'\n" in text


def test_network_yaml_is_a_stream_without_anchors() -> None:
    """Each manifest is a document of its own, written out in full."""
    manifest = policy(profile(["stripe"], CATALOGUE, Site(dns=NODE_LOCAL_DNS)))
    text = to_yaml([manifest, manifest])
    assert text.count("---\n") == 2
    assert "&" not in text
    assert list(yaml.safe_load_all(text)) == [manifest, manifest]
