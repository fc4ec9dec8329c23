"""When two destinations are one place."""

from __future__ import annotations

import pytest
from network_kit import Entry, api_server, cidr, fqdn, read, service

from tests.fixtures.network.place import one_place

CASES: dict[str, tuple[Entry, Entry, bool]] = {
    "one name": (fqdn(), fqdn(), True),
    "two names": (fqdn(), fqdn("b.example.com"), False),
    "wildcard": (fqdn("*.example.com"), fqdn(), True),
    "wildcard and its own name": (fqdn("*.example.com"), fqdn("example.com"), False),
    "wildcard and a name that ends alike": (fqdn("*.ample.com"), fqdn("a.example.com"), False),
    "wildcards below each other": (fqdn("*.example.com"), fqdn("*.a.example.com"), True),
    "wildcards side by side": (fqdn("*.a.example.com"), fqdn("*.b.example.com"), False),
    "other ports": (fqdn(), fqdn(ports=[80]), False),
    "ports in a range": (fqdn(), fqdn(ports=[{"port": 1, "endPort": 443}]), True),
    "other transport": (fqdn(), fqdn(protocol="udp"), False),
    "http and https": (fqdn(), fqdn(protocol="http"), True),
    "ranges in each other": (cidr(), cidr("10.1.0.0/16"), True),
    "range in a hole": (cidr(**{"except": ["10.1.0.0/16"]}), cidr("10.1.2.0/24"), False),
    "larger than the hole": (cidr(**{"except": ["10.1.2.0/24"]}), cidr("10.1.0.0/16"), True),
    "ranges apart": (cidr(), cidr("192.168.0.0/16"), False),
    "name and address": (fqdn(ports=[5432]), cidr(), False),
    "one Service": (service(), service(), True),
    "one Service, resolved or not": (service(), service() | {"service": None}, True),
    "Services of one name in two namespaces": (service(), service("web/warehouse"), False),
    "Services of the same pods": (
        service(),
        service("data/other", service={"selector": {"app": "warehouse"}}),
        True,
    ),
    "Services of pods that can be both": (
        service(),
        service("data/other", service={"selector": {"tier": "x"}}),
        True,
    ),
    "Services of other accounts": (
        service(service={"service_account": "a"}),
        service("data/other", service={"selector": {"tier": "x"}, "service_account": "b"}),
        False,
    ),
    "API server": (api_server(), api_server(), True),
    "API server and a range": (api_server(), cidr(ports=[6443]), False),
}


@pytest.mark.parametrize("case", CASES)
def test_network_overlaps(case: str) -> None:
    """Whether some address and port belong to both, in either order."""
    one, two, wanted = CASES[case]
    assert one_place(read(one), read(two)) is wanted
    assert one_place(read(two), read(one)) is wanted
