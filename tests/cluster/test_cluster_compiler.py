"""Cilium's own parser judges what the compiler writes, and what our grammar refuses.

It needs the oracle and the CRDs alone, and no cluster. The verdicts fall into four kinds; one must
stay empty: what we accept and Cilium refuses. What only we refuse is listed, with what would come
of it, in ``tests/fixtures/network/mutations.py``.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from bed.builds import crds, program
from bed.oracle import PolicyOracle
from bed.places import BedError
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from gateway.errors import IntegrityViolation, Misconfigured, Unprocessable
from gateway.network.baseline import baseline, init_deny
from gateway.network.cilium import policy
from gateway.network.destinations import problems
from gateway.network.profiles import profile
from gateway.network.sites import Site
from gateway.network.validate import check_policy
from tests.fixtures.network.mutations import BOTH, STRICTER, changed, sound
from tests.fixtures.network.strategies import CATALOGUES, SITES, Entry, entries

thousands = settings(
    deadline=None,
    max_examples=2000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture(scope="module")
def oracle() -> Iterator[PolicyOracle]:
    """One oracle for all; without a Go toolchain to build it, these tests are skipped."""
    try:
        built = program("cilium-oracle")
    except BedError as error:
        pytest.skip(f"the oracle is not built: {error}")
    with PolicyOracle(built) as running:
        yield running


@pytest.fixture(scope="module")
def verdicts() -> Iterator[Counter[str]]:
    """Count the kinds of verdicts on random mutations; shown with ``-s``."""
    found: Counter[str] = Counter()
    yield found
    print(f"\nrandom mutations: {dict(sorted(found.items()))}")  # noqa: T201 - the figures


def compiled(catalogue: dict[str, Entry], site: Site) -> dict[str, Any]:
    """Return the policy of all these destinations; discard the example when there is none."""
    try:
        found: dict[str, Any] = json.loads(json.dumps(policy(profile(catalogue, catalogue, site))))
    except (Misconfigured, Unprocessable):
        assume(False)
        raise
    return found


@thousands
@given(CATALOGUES, SITES)
def test_compiler_output_is_accepted(
    oracle: PolicyOracle, catalogue: dict[str, Entry], site: Site
) -> None:
    """Every policy that the compiler writes is one that Cilium's agent takes."""
    opinion = oracle.ask(compiled(catalogue, site))
    assert opinion.ok, opinion.error


@pytest.fixture(scope="module")
def crd(oracle: PolicyOracle) -> Validator:  # noqa: ARG001 - the CRDs come with its build
    """The schema by which an API server checks a CiliumNetworkPolicy."""
    (file,) = [file for file in crds() if file.name == "ciliumnetworkpolicies.yaml"]
    definition = yaml.safe_load(file.read_text(encoding="utf-8"))
    return Draft202012Validator(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


@settings(thousands, max_examples=300)
@given(CATALOGUES, SITES)
def test_compiler_output_fits_the_crd(
    crd: Validator, catalogue: dict[str, Entry], site: Site
) -> None:
    """The API server's own checks (patterns, lengths, one source of addresses) pass as well."""
    assert [error.message for error in crd.iter_errors(compiled(catalogue, site))] == []


def test_fixed_policies_are_accepted(oracle: PolicyOracle) -> None:
    """The baseline and the clusterwide denial are taken too."""
    for manifest in (*baseline("tasks"), init_deny()):
        opinion = oracle.ask(manifest)
        assert opinion.ok, opinion.error


FIELDS = st.sampled_from(["host", "ports", "protocol", "except", "server_names", "service", "kind"])
ODD = st.sampled_from(
    [
        None, "", "*", "*.com", "a", "A.example", "a.example.", "-a.example", "a..example",
        "x" * 300, "*.*.example", "10.0.0.0/8", "10.1.1.1/8", "0.0.0.0/0", "0.0.0.0/1", "::/0",
        "::ffff:1.2.3.4/120", "1.2.3.4", "d/w", "d/", "tcp", "TCP", [], {}, [0], ["443"], [443.5],
        [True], [65_536], [{"port": 9, "endPort": 1}], [{"port": 1, "endPort": 70_000}],
        ["10.1.0.0/16"], ["11.0.0.0/8"], ["10.0.0.0/8"], ["*.a.example"], [""], -1, 443, True,
    ]
)  # fmt: skip


@thousands
@given(entries(), FIELDS, ODD, SITES)
def test_odd_entries_are_refused_or_accepted_by_both(
    oracle: PolicyOracle, entry: Entry, field: str, value: Any, site: Site
) -> None:
    """An entry with one strange field is refused by us, or makes a policy that Cilium takes."""
    odd = {"it": {**entry, field: value}}
    if problems(odd):
        event("refused by us")
        return
    opinion = oracle.ask(compiled(odd, site))
    event("accepted by both")
    assert opinion.ok, opinion.error


@pytest.mark.parametrize("case", BOTH)
def test_listed_mutation_is_refused_by_both(oracle: PolicyOracle, case: str) -> None:
    """We refuse before the cluster does; Cilium's own words are for its operator's log."""
    assert not oracle.ask(changed(BOTH[case])).ok


@pytest.mark.parametrize("case", STRICTER)
def test_listed_mutation_is_refused_by_us_alone(oracle: PolicyOracle, case: str) -> None:
    """Each entry of this list is one that Cilium takes; when it no longer does, move the entry."""
    assert oracle.ask(changed(STRICTER[case][0])).ok


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a manifest, the whole aside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in inside:
        found.append((*path, key))
        if isinstance(item, dict | list):
            found += places(item, (*path, key))
    return found


STRANGE = st.sampled_from(
    [
        None, "", "0", "0443", "65536", "443;x", "https", "ANY", "any", "*", "**.a.b", "a.b.",
        "A.B", "10.0.0.0/8", "10.2.3.4/8", "0.0.0.0/0", "world", "all", "default", "-", "k8s:a",
        [], [{}], {}, [None], 0, 1, -1, 70_000, True, 0.5, {"matchName": "a.b"},
        {"matchPattern": "*"}, {"port": "80"}, {"cidr": "10.0.0.0/8"}, {"matchLabels": {}},
        ["kube-apiserver"], ["world"], [{"matchName": "a.example"}], [{"matchPattern": "*"}],
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    [
        "toEntities", "toFQDNs", "toCIDR", "toCIDRSet", "toEndpoints", "toPorts", "toServices",
        "toGroups", "toNodes", "icmps", "authentication", "ports", "rules", "serverNames", "port",
        "endPort", "protocol", "matchName", "matchPattern", "except", "cidr", "matchLabels",
        "matchExpressions", "enableDefaultDeny", "egressDeny", "ingressDeny", "description",
        "labels", "log", "nodeSelector", "dns", "http", "listener", "terminatingTLS",
        "reserved:host", "k8s:x", "any:x",
    ]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a policy with one value replaced, removed, repeated, or one key added."""
    manifest = copy.deepcopy(draw(st.just(sound()) | st.builds(compiled, CATALOGUES, SITES)))
    path = draw(st.sampled_from(places(manifest)))
    holder: Any = manifest
    for key in path[:-1]:
        holder = holder[key]
    match draw(st.sampled_from(["replace", "replace", "remove", "repeat", "add"])):
        case "replace":
            holder[path[-1]] = draw(STRANGE)
        case "remove":
            del holder[path[-1]]
        case "repeat" if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[path[-1]]))
        case _ if isinstance(holder, dict):
            holder[draw(KEYS)] = draw(STRANGE)
    return manifest


@thousands
@given(mutated())
def test_nothing_that_we_accept_is_refused(
    oracle: PolicyOracle, verdicts: Counter[str], manifest: dict[str, Any]
) -> None:
    """However a policy is bent, one that passes our grammar passes Cilium's parser."""
    opinion = oracle.ask(manifest)
    try:
        check_policy(manifest)
    except IntegrityViolation:
        verdicts["refused by us alone" if opinion.ok else "refused by both"] += 1
        return
    verdicts["accepted by both" if opinion.ok else "accepted by us alone"] += 1
    assert opinion.ok, opinion.error
