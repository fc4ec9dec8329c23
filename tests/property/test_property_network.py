"""Network profiles and policies: names are functions of reach, and reach is what was approved."""

from __future__ import annotations

import json
from ipaddress import ip_network
from random import Random
from typing import Any

import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.canonical import digest
from gateway.errors import Misconfigured, Unprocessable
from gateway.network import addresses
from gateway.network.cilium import differences, policy, to_yaml
from gateway.network.destinations import parse_destination, problems
from gateway.network.profiles import Profile, profile
from gateway.network.sites import Site
from gateway.network.validate import check_policy
from tests.fixtures.network.place import one_place
from tests.fixtures.network.reach import allows, asked, edges, verdict
from tests.fixtures.network.strategies import CATALOGUES, SITES, Entry, entries

Catalogue = dict[str, Entry]
unhurried = settings(deadline=None, max_examples=60)


def accepted(catalogue: Catalogue, site: Site, *names: str) -> Profile:
    """Return the profile of a set that may be together; discard the example when it may not."""
    try:
        return profile(names or catalogue, catalogue, site)
    except (Unprocessable, Misconfigured):
        assume(False)
        raise


def manifest_of(catalogue: Catalogue, site: Site, *names: str) -> dict[str, Any]:
    """Return the policy of a set, as a cluster would read it."""
    found: dict[str, Any] = json.loads(json.dumps(policy(accepted(catalogue, site, *names))))
    return found


@unhurried
@given(CATALOGUES)
def test_network_strategies_draw_valid_entries(catalogue: Catalogue) -> None:
    """The entries that these tests draw are ones that security could have written."""
    assert problems(catalogue) == ()


@unhurried
@given(CATALOGUES, SITES, st.randoms())
def test_network_order_and_repetition_do_not_matter(
    catalogue: Catalogue, site: Site, random: Random
) -> None:
    """One set of destinations is one profile and one policy, however it is written down."""
    first = accepted(catalogue, site)
    names = [*catalogue, *list(catalogue)[:1]]
    random.shuffle(names)
    shuffled = {name: catalogue[name] for name in sorted(catalogue, key=lambda _: random.random())}
    again = profile(names, shuffled, site)
    assert again == first
    assert to_yaml([policy(again)]) == to_yaml([policy(first)])


@unhurried
@given(CATALOGUES, SITES)
def test_network_name_is_of_what_can_be_seen(catalogue: Catalogue, site: Site) -> None:
    """Titles and catalogue names are not in a profile's name; the site is."""
    first = accepted(catalogue, site)
    renamed = {f"n-{name}": {**item, "title": "other"} for name, item in catalogue.items()}
    assert profile(renamed, renamed, site).name == first.name
    other = Site(f"{site.namespace}-2", site.dns)
    assert profile(catalogue, catalogue, other).name != first.name


@unhurried
@given(CATALOGUES, CATALOGUES, SITES)
def test_network_same_name_means_same_policy(one: Catalogue, two: Catalogue, site: Site) -> None:
    """Two sets share a name exactly when they share the canonical form, and then the policy."""
    a, b = accepted(one, site), accepted(two, site)
    assert (a.name == b.name) == (a.canonical == b.canonical)
    assert (a.name == b.name) == (differences(policy(a), policy(b)) == ())
    assert a.name == f"p-{digest(a.canonical)[:32]}"


@unhurried
@given(CATALOGUES, SITES)
def test_network_names_fit_a_label(catalogue: Catalogue, site: Site) -> None:
    """A Kubernetes label value holds 63 characters of a small alphabet."""
    name = accepted(catalogue, site).name
    assert len(name) == 34
    assert set(name.removeprefix("p-")) <= set("0123456789abcdef")


@unhurried
@given(CATALOGUES, SITES)
def test_network_policy_allows_exactly_its_destinations(catalogue: Catalogue, site: Site) -> None:
    """At every edge, a port is open when some destination opens it, and closed otherwise."""
    whole = allows(manifest_of(catalogue, site))
    single = [item for name in catalogue for item in allows(manifest_of(catalogue, site, name))]
    for peer, protocol, port in edges(whole) | edges(single):
        assert verdict(whole, peer, protocol, port) == verdict(single, peer, protocol, port)


@unhurried
@given(CATALOGUES, entries(), SITES)
def test_network_adding_a_destination_removes_nothing(
    catalogue: Catalogue, entry: Entry, site: Site
) -> None:
    """What a task could reach and ask for, it still can when it may reach one place more."""
    before = manifest_of(catalogue, site) if catalogue else policy(profile([], {}, site))
    after = manifest_of({**catalogue, "added": entry}, site)
    old, new = allows(before), allows(after)
    for peer, protocol, port in edges(old):
        reached, names = verdict(old, peer, protocol, port)
        still, wider = verdict(new, peer, protocol, port)
        assert not reached or (still and names <= wider and bool(names) == bool(wider))
    assert all(now >= then for then, now in zip(asked(before), asked(after), strict=False))


@unhurried
@given(CATALOGUES, st.integers(1, 65_535), SITES)
def test_network_cut_of_destinations_does_not_matter(
    catalogue: Catalogue, at: int, site: Site
) -> None:
    """A destination cut in two by ports, or listed under two names, gives the same profile."""
    first = accepted(catalogue, site)
    cut: Catalogue = {}
    for name, item in catalogue.items():
        ports = (item.get("service") or item)["ports"]
        ranges = [(p["port"], p["endPort"]) if isinstance(p, dict) else (p, p) for p in ports]
        low = [{"port": a, "endPort": min(b, at)} for a, b in ranges if a <= at]
        high = [{"port": max(a, at + 1), "endPort": b} for a, b in ranges if b > at]
        for suffix, half in (("low", low), ("high", high), ("again", ports)):
            copy = {**item, "ports": half}
            if "service" in item:
                copy = {**item, "service": {**item["service"], "ports": half}}
            if half:
                cut[f"{name}-{suffix}"] = copy
    assert profile(cut, cut, site).name == first.name


@unhurried
@given(CATALOGUES, SITES)
def test_network_policy_has_no_trap(catalogue: Catalogue, site: Site) -> None:
    """No rule without one peer, no wide entity, no more than 40 ports, no default allow."""
    manifest = manifest_of(catalogue, site)
    spec = manifest["spec"]
    assert set(spec) == {"endpointSelector", "ingress", "egress"}
    assert spec["ingress"] == [{}]
    assert spec["egress"]
    assert "enableDefaultDeny" not in json.dumps(manifest)
    assert (spec["egress"] == [{}]) == (not catalogue)
    for rule in spec["egress"] if catalogue else []:
        peers = [key for key in rule if key.startswith("to") and key != "toPorts"]
        assert len(peers) == 1
        assert len(rule[peers[0]]) == 1
        assert rule.get("toEntities") in (None, ["kube-apiserver"])
        assert [len(ports["ports"]) <= 40 for ports in rule["toPorts"]] == [True]
    check_policy(manifest)


@unhurried
@given(CATALOGUES, SITES)
def test_network_dns_holds_exactly_the_approved_names(catalogue: Catalogue, site: Site) -> None:
    """Each resolver of the site may be asked for the names of destinations, and for no other."""
    manifest = manifest_of(catalogue, site)
    approved = {item["host"] for item in catalogue.values() if item["kind"] == "fqdn"}
    for item in catalogue.values():
        if item["kind"] == "service":
            namespace, name = item["host"].split("/")
            approved.add(f"{name}.{namespace}.svc.cluster.local")
    resolvers = len(site.dns.pods) + len(site.dns.addresses)
    assert asked(manifest) == ([approved] * resolvers if approved else [])


@unhurried
@given(CATALOGUES, SITES)
def test_network_yaml_reads_back(catalogue: Catalogue, site: Site) -> None:
    """The text is the policy: a YAML reader gets the same values, none turned into a number."""
    manifest = manifest_of(catalogue, site)
    assert list(yaml.safe_load_all(to_yaml([manifest, manifest]))) == [manifest, manifest]


@unhurried
@given(entries(), entries())
def test_network_overlap_is_symmetric(one: Entry, two: Entry) -> None:
    """Overlap has no direction, and a place overlaps itself."""
    a, b = parse_destination("a", one), parse_destination("b", two)
    assert one_place(a, a)
    assert one_place(a, b) == one_place(b, a)


SMALL = st.builds(
    lambda at, bits: ip_network((at >> (32 - bits) << (32 - bits), bits)),
    st.integers(0x0A000000, 0x0A0000FF),
    st.integers(24, 32),
)


@unhurried
@given(SMALL, st.lists(SMALL, max_size=4), SMALL, st.lists(SMALL, max_size=4))
def test_network_addresses_match_counting(
    one: addresses.Network,
    holes: list[addresses.Network],
    two: addresses.Network,
    others: list[addresses.Network],
) -> None:
    """Arithmetic on spans says what counting addresses one by one says."""

    def counted(network: addresses.Network, without: list[addresses.Network]) -> set[int]:
        return set(map(int, network)) - {int(a) for hole in without for a in hole}

    first, second = addresses.spans(one, holes), addresses.spans(two, others)
    held = {a for _, low, high in first for a in range(low, high + 1)}
    assert held == counted(one, holes)
    assert addresses.meet(first, second) == bool(held & counted(two, others))
