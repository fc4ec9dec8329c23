"""What holds in the namespace before there is any profile; where profiles are in force."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from gateway.errors import IntegrityViolation, Misconfigured
from gateway.network.addresses import METADATA
from gateway.network.baseline import INIT_DENY_EXPLANATION, baseline, cut_deny, deny_all, init_deny
from gateway.network.dns import FLAVOURS, flavour
from gateway.network.sites import Site, site_of
from gateway.network.validate import check_policy
from gateway.settings import ClusterSettings


def test_network_baseline_denies_all_and_metadata_above_all() -> None:
    """Every pod of the namespace, both directions, and the clouds' metadata whatever else says."""
    manifest, _ = baseline("tasks")
    spec: Any = manifest["spec"]
    assert manifest["metadata"] == {
        "name": "sluice-baseline",
        "namespace": "tasks",
        "labels": {"app.kubernetes.io/managed-by": "sluice"},
    }
    assert spec["endpointSelector"] == {}
    assert (spec["ingress"], spec["egress"]) == ([{}], [{}])
    assert [entry["cidr"] for entry in spec["egressDeny"][0]["toCIDRSet"]] == list(METADATA)


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "100.100.100.200", "192.0.0.192", "169.254.170.2", "fd00:ec2::254"],
)
def test_network_metadata_is_denied(address: str) -> None:
    """The well-known metadata addresses are on the list."""
    assert any(ip_address(address) in ip_network(text) for text in METADATA)


def test_network_resolvers_are_never_denied() -> None:
    """A denial wins over every allow, so the addresses of resolvers must not be on the list."""
    ranges = [spans.network for item in FLAVOURS.values() for spans in item.addresses]
    assert ranges
    for text in METADATA:
        assert not any(ip_network(text).overlaps(range_) for range_ in ranges)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpointSelector", {"matchLabels": {"a": "b"}}),
        ("egress", [{"toEntities": ["kube-apiserver"]}]),
        ("ingress", [{"fromEntities": ["host"]}]),
        ("egressDeny", []),
        ("egressDeny", [{"toCIDRSet": [{"cidr": "169.254.169.254"}]}]),
        ("egressDeny", [{"toEntities": ["world"]}]),
    ],
)
def test_network_changed_baseline_is_refused(key: str, value: Any) -> None:
    """The grammar holds the baseline as narrowly as profiles."""
    manifest = deny_all("tasks")
    spec: Any = manifest["spec"]
    with pytest.raises(IntegrityViolation):
        check_policy({**manifest, "spec": {**spec, key: value}})


def test_network_cut_denies_explicitly() -> None:
    """Nothing that anybody allows reaches past it: denials win, in both directions."""
    spec: Any = cut_deny("tasks")["spec"]
    assert spec["endpointSelector"] == {"matchLabels": {"sluice/profile": "cut"}}
    assert spec["ingressDeny"] == [{"fromEntities": ["all"]}]
    assert spec["egressDeny"] == [{"toEntities": ["all"]}]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpointSelector", {}),
        ("endpointSelector", {"matchLabels": {"sluice/profile": "p-" + "0" * 32}}),
        ("egress", [{"toEntities": ["kube-apiserver"]}]),
        ("ingress", []),
        ("ingressDeny", [{"fromEntities": ["world"]}]),
        ("egressDeny", [{}]),
        ("egressDeny", [{"toEntities": ["all"], "toPorts": [{"ports": [{"port": "1"}]}]}]),
        ("enableDefaultDeny", {"egress": False}),
    ],
)
def test_network_changed_cut_is_refused(key: str, value: Any) -> None:
    """The grammar knows the denial of a cut pod in one form only."""
    manifest = cut_deny("tasks")
    spec: Any = manifest["spec"]
    with pytest.raises(IntegrityViolation):
        check_policy({**manifest, "spec": {**spec, key: value}})


def test_network_cut_may_not_be_called_otherwise() -> None:
    """A profile's policy under the name of the cut, or the other way round, is refused."""
    manifest = cut_deny("tasks")
    metadata: Any = manifest["metadata"]
    with pytest.raises(IntegrityViolation):
        check_policy({**manifest, "metadata": {**metadata, "name": "sluice-baseline"}})
    with pytest.raises(IntegrityViolation):
        check_policy({**manifest, "metadata": {**metadata, "name": "sluice-cut-2"}})


def test_network_site_of_settings() -> None:
    """The namespace and the DNS flavour that an installation names are where profiles hold."""
    site = site_of(ClusterSettings(namespace="tasks", dns="openshift"))
    assert (site.namespace, site.dns.port) == ("tasks", 5353)


def test_network_init_deny_is_clusterwide_and_explained() -> None:
    """Endpoints without an identity are denied; the text says whom else that touches."""
    manifest = init_deny()
    spec: Any = manifest["spec"]
    assert manifest["kind"] == "CiliumClusterwideNetworkPolicy"
    assert spec["endpointSelector"] == {"matchLabels": {"reserved:init": ""}}
    assert "every pod of the cluster" in INIT_DENY_EXPLANATION


@pytest.mark.parametrize("namespace", ["", "Tasks", "a.b", "a" * 64, "-a"])
def test_network_namespace_is_a_name(namespace: str) -> None:
    """A namespace that no cluster could have is refused before anything is named after it."""
    with pytest.raises(Misconfigured, match="namespace"):
        Site(namespace)
    with pytest.raises(Misconfigured, match="namespace"):
        baseline(namespace)


def test_network_unknown_flavour_names_the_known() -> None:
    """A misspelled DNS flavour stops the start and lists the flavours there are."""
    with pytest.raises(Misconfigured, match="kube-dns, node-local-dns, openshift"):
        flavour("coredns")
