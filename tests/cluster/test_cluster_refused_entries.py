"""What Cilium says of every catalogue entry that we refuse, written down word for word.

No verdict is missing: a new refused entry needs a line here, of one of three kinds. It needs the
oracle alone, and no cluster.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from bed.oracle import PolicyOracle

from gateway.network.cilium import policy
from gateway.network.profiles import profile
from tests.fixtures.network.entries import Entry, api_server, cidr, fqdn, service
from tests.fixtures.network.naive import rule, written
from tests.fixtures.network.refused import REFUSED

# Cilium refuses it too, for this reason.
BOTH: dict[str, str] = {
    "misspelled except": "unknown field",
    "kind": "unsupported entity",
    "except of a name": "unknown field",
    "host of the API server": "is not supported yet",
    "unicode": "Invalid characters",
    "kelvin sign": "Invalid characters",
    "line feed": "Invalid characters",
    "netmask": "bad bits after slash",
    "octal": "IPv4 field has octet",
    "zone": "IPv6 zones",
    "hole outside": "does not contain exclude CIDR",
    "hole of IPv6": "does not contain exclude CIDR",
    "port 65536": "value out of range",
    "port as fraction": "invalid syntax",
    "server name as text": "cannot unmarshal string",
    "label key": "invalid label selector",
    "label value": "invalid label selector",
    "service account": "invalid label selector",
    "service account of the catalogue": "invalid label selector",
}

# Cilium takes it, and this is why we do not.
STRICTER: dict[str, str] = {
    "no ports": "every port of the peer",
    "protocol": "Cilium knows SCTP only where a cluster asks for it",
    "no host": "a rule that reads as any name",
    "upper case": "two spellings of one name",
    "trailing dot": "two spellings of one name",
    "bad punycode": "stands for no name that people can read",
    "punycode of ASCII": "no registry gives out such a name",
    "reserved label": "no registry gives out such a name",
    "one label": "means what the pod's search list makes of it",
    "everything": "world, by another name",
    "a top-level domain": "names of strangers",
    "star inside": "means other names from version to version",
    "star in a label": "api-of-a-stranger.example.com too",
    "any depth": "means other names before 1.19",
    "empty label": "no such name can exist",
    "label of 64": "no such name can exist",
    "name of 254": "no such name can exist",
    "address as name": "nobody asks DNS for it: nothing is reached",
    "host bits": "is 10.0.0.0/8",
    "another spelling": "two spellings of one range",
    "world": "everything outside",
    "world of IPv6": "everything outside",
    "half the world": "everything outside, in pieces",
    "the world but a little": "everything outside, in pieces",
    "wide range of IPv6": "everything outside, in pieces",
    "two great networks": "more public addresses than one place has",
    "IPv4 as IPv6": "10.0.0.0/8, in a spelling that no check of IPv4 sees",
    "IPv4 behind NAT64": "the metadata service, by another address",
    "6to4": "the metadata service, by another address",
    "metadata": "credentials of the node",
    "metadata in a range": "credentials of the node",
    "metadata of IPv6": "credentials of the node",
    "nothing but holes": "looks right, reaches nothing",
    "hole with host bits": "is 10.1.0.0/16",
    "no port": "every port of the peer",
    "port 0": "every port of the peer",
    "port as text": "is port 291",
    "port as truth": "is a name: whatever the pod calls so",
    "range backwards": "the end is ignored",
    "range without end": "one port, where a range was meant",
    "range with more": "a second protocol, beside the entry's own",
    "server names on UDP": "looks at TLS where there is none",
    "server names on HTTP": "looks at TLS where there is none",
    "server name pattern": "any TLS name below it",
    "not namespace/name": "a namespace of which nobody said a word",
    "upper-case namespace": "no namespace is called so: reaches nothing",
    "no selector": "every pod of the namespace",
    "named port": "whatever the pod calls so",
    "reserved source": "the namespace is not added",
    "any source": "labels of images too",
    "namespace labels": "every namespace with that label",
    "another namespace": "pods of a namespace that is not the Service's",
    "label that Cilium ignores": "matches nothing",
}

# No rule of Cilium has a place for what is wrong with it; without that it is a sound entry.
UNWRITTEN: dict[str, tuple[Entry, str]] = {
    "service of a name": (fqdn(), "a rule for a name holds no Service"),
    "service account without a Service": (fqdn(), "a rule for a name says nothing of pods"),
    "another Service": (service(), "a rule names pods: one Service, or the other"),
    "ExternalName": (service(), "a rule does not say of which type a Service is"),
    "unknown type": (service(), "a rule does not say of which type a Service is"),
    "one key twice": (
        service(service={"selector": {"app": "x"}}),
        "labels of a rule are an object, which has each key once",
    ),
}

SOUND: dict[str, Entry] = {
    "name": fqdn(),
    "pattern": fqdn("*.example.com", ports=[80, {"port": 8000, "endPort": 8080}]),
    "server names": fqdn(server_names=["a.example", "b.example"]),
    "datagrams": fqdn(protocol="udp"),
    "range": cidr(**{"except": ["10.1.0.0/16"]}),
    "address": cidr("192.0.2.1"),
    "address of IPv6": cidr("2001:db8::1"),
    "Service": service(service={"service_account": "loader"}),
    "Service with an account": service(service_account="loader"),
    "API server": api_server(),
}


def test_every_refused_entry_has_a_verdict() -> None:
    """None is missing, none has two, and none is left of an entry that is no longer refused."""
    assert sorted([*BOTH, *STRICTER, *UNWRITTEN]) == sorted(REFUSED)


@pytest.mark.parametrize("case", SOUND)
def test_sound_entry_is_written_as_the_compiler_writes_it(oracle: PolicyOracle, case: str) -> None:
    """So whatever Cilium refuses below is the entry's doing, and not that of this writing."""
    entry = SOUND[case]
    compiled: Any = json.loads(json.dumps(policy(profile(["it"], {"it": entry}))))
    assert rule(entry) == compiled["spec"]["egress"][-1]
    opinion = oracle.ask(written(entry))
    assert opinion.ok, opinion.error


@pytest.mark.parametrize("case", BOTH)
def test_refused_entry_is_refused_by_both(oracle: PolicyOracle, case: str) -> None:
    """We refuse before the cluster does; its own word is on what is wrong with the entry."""
    opinion = oracle.ask(written(REFUSED[case][0]))
    assert not opinion.ok
    assert BOTH[case] in opinion.error


@pytest.mark.parametrize("case", STRICTER)
def test_refused_entry_is_refused_by_us_alone(oracle: PolicyOracle, case: str) -> None:
    """Each is one that Cilium takes; when it no longer does, move the entry."""
    opinion = oracle.ask(written(REFUSED[case][0]))
    assert opinion.ok, opinion.error


@pytest.mark.parametrize("case", UNWRITTEN)
def test_what_is_wrong_with_a_refused_entry_is_lost(oracle: PolicyOracle, case: str) -> None:
    """Only who reads the entry can see it: what is written is a sound entry's rule."""
    assert rule(REFUSED[case][0]) == rule(UNWRITTEN[case][0])
    assert oracle.ask(written(REFUSED[case][0])).ok
