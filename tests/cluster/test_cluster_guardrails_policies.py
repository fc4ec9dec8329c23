"""Which network policies may be in the tasks' namespace: profiles, written once, and the installed.

Attacked on the real API server; what the compiler writes has to pass.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bed.api import Object
from bed.attempts import POLICIES, no_right, refused
from bed.installation import TASKS, Installation
from hypothesis import HealthCheck, assume, given, settings

from gateway.errors import Misconfigured, Unprocessable
from gateway.network.baseline import baseline
from gateway.network.cilium import policy
from gateway.network.profiles import profile
from gateway.network.sites import Site
from tests.fixtures.network.strategies import CATALOGUES, Entry

GUARD, FOREIGN = "sluice-profiles", "sluice-foreign-policies"
SELECTOR = "selects the pods that wear its own name, by that label alone"
SHAPE = "one rule set of endpointSelector, ingress and egress"
INGRESS = "lets nothing in"
EGRESS = "each egress rule of a profile has ports, and one peer"
NAMES = "names have two labels or more, and a star only in front of two"
WORLD = "reaches no whole world, no host and no whole namespace"
BINDER = "only the gateway's binder"
ADMINISTRATORS = "only the cluster's administrators touch"
INSTALLED = ["sluice-baseline", "sluice-cut"]
PORTS = [{"ports": [{"port": "443", "protocol": "TCP"}]}]
CATALOGUE: dict[str, Any] = {
    "a-name": {"kind": "fqdn", "host": "api.example.com", "ports": [443], "protocol": "https"},
    "a-range": {"kind": "cidr", "host": "10.0.0.0/8", "ports": [5432], "protocol": "tcp"},
    "the-api": {"kind": "kube-apiserver", "ports": [443], "protocol": "https"},
}


def good() -> Object:
    """Return the policy of a profile, as the compiler writes it."""
    made: Object = json.loads(json.dumps(policy(profile(CATALOGUE, CATALOGUE, Site(TASKS)))))
    return made


def egress(**rule: Any) -> Callable[[Object], object]:
    """Add a rule, with ports unless it says otherwise."""
    return lambda made: made["spec"]["egress"].append({"toPorts": PORTS, **rule})


def spec(**fields: Any) -> Callable[[Object], object]:
    """Set fields of the specification."""
    return lambda made: made["spec"].update(fields)


def selector(**fields: Any) -> Callable[[Object], object]:
    """Select other pods."""
    return lambda made: made["spec"].update(endpointSelector=fields)


def more_labels(made: Object) -> None:
    """Select by a second label too."""
    made["spec"]["endpointSelector"]["matchLabels"]["app"] = "web"


def expressions(made: Object) -> None:
    """Select by an expression beside the label."""
    made["spec"]["endpointSelector"]["matchExpressions"] = [{"key": "app", "operator": "Exists"}]


def portless(made: Object) -> None:
    """Let a rule hold for all ports."""
    made["spec"]["egress"].append({"toCIDRSet": [{"cidr": "192.0.2.0/24"}]})


ATTEMPTS: dict[str, tuple[Callable[[Object], object], str]] = {
    "another's selector": (
        selector(matchLabels={"sluice/profile": f"p-{32 * '0'}"}),
        SELECTOR,
    ),
    "selector of everything": (selector(), SELECTOR),
    "selector of cut pods": (selector(matchLabels={"sluice/profile": "cut"}), SELECTOR),
    "selector with a second label": (more_labels, SELECTOR),
    "selector with an expression": (expressions, SELECTOR),
    "selector by expression alone": (
        selector(matchExpressions=[{"key": "sluice/profile", "operator": "Exists"}]),
        SELECTOR,
    ),
    "name of no profile": (lambda made: made["metadata"].update(name="web"), SELECTOR),
    "second rule set": (
        lambda made: made.update(specs=[{"endpointSelector": {}, "egress": [{}]}]),
        SHAPE,
    ),
    "default deny off": (spec(enableDefaultDeny={"egress": False}), SHAPE),
    "ingress denial beside": (spec(ingressDeny=[{"fromEntities": ["all"]}]), SHAPE),
    "ingress from all": (spec(ingress=[{"fromEntities": ["all"]}]), INGRESS),
    "ingress unsaid": (spec(ingress=None), INGRESS),
    "no egress rule": (spec(egress=[]), EGRESS),
    "rule without a peer": (egress(), EGRESS),
    "rule without ports": (portless, EGRESS),
    "rule with two kinds of peers": (
        egress(toCIDRSet=[{"cidr": "192.0.2.0/24"}], toEntities=["kube-apiserver"]),
        EGRESS,
    ),
    "rule with a peer unknown": (egress(toServices=[{}]), EGRESS),
    "rule that demands authentication": (
        egress(toEntities=["kube-apiserver"], authentication={"mode": "disabled"}),
        EGRESS,
    ),
    "the world": (egress(toEntities=["world"]), WORLD),
    "all entities": (egress(toEntities=["all"]), WORLD),
    "the host": (egress(toEntities=["host"]), WORLD),
    "the whole internet as a range": (egress(toCIDRSet=[{"cidr": "0.0.0.0/0"}]), WORLD),
    "a group of ranges": (egress(toCIDRSet=[{"cidrGroupRef": "all"}]), WORLD),
    "every name": (egress(toFQDNs=[{"matchPattern": "*"}]), NAMES),
    "every pod of the namespace": (egress(toEndpoints=[{}]), WORLD),
    "pods by expression": (
        egress(toEndpoints=[{"matchExpressions": [{"key": "app", "operator": "Exists"}]}]),
        WORLD,
    ),
}


@pytest.fixture
def written(guarded: Installation) -> Iterator[str]:
    """The path of a profile's policy that the binder has written."""
    path = f"{POLICIES}/{guarded['binder'].create(POLICIES, good())['metadata']['name']}"
    yield path
    guarded["binder"].delete(path)


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_guardrails_refuse_policy(guarded: Installation, attempt: str) -> None:
    """Even the binder cannot write a policy that is not a profile's."""
    change, says = ATTEMPTS[attempt]
    made = good()
    change(made)
    refused(lambda: guarded["binder"].create(POLICIES, made), GUARD, says)


@pytest.mark.parametrize("who", ["admin", "stranger"])
def test_guardrails_refuse_policy_by(guarded: Installation, who: str) -> None:
    """Nobody but the binder writes profiles, and be they as good as its own."""
    refused(lambda: guarded[who].create(POLICIES, good()), GUARD, BINDER)


@pytest.mark.parametrize("who", ["runner", "frontend", "task"])
def test_guardrails_no_right_to_policies(guarded: Installation, who: str) -> None:
    """Who makes pods has no right to say what they reach."""
    no_right(lambda: guarded[who].create(POLICIES, good()), "create", "ciliumnetworkpolicies")


def wider(made: Object) -> Object:
    """The same policy with one more destination."""
    changed = copy.deepcopy(made)
    changed["spec"]["egress"].append({"toPorts": PORTS, "toCIDRSet": [{"cidr": "192.0.2.0/24"}]})
    return changed


@pytest.mark.parametrize(
    ("who", "says"),
    [("binder", "never changes under its name"), ("admin", BINDER), ("stranger", BINDER)],
)
def test_guardrails_refuse_changed_profile(
    guarded: Installation, written: str, who: str, says: str
) -> None:
    """A profile never changes under its name."""
    body = {"spec": wider(good())["spec"]}
    refused(lambda: guarded[who].merge(written, body), GUARD, says)


def test_guardrails_refuse_narrowed_profile(guarded: Installation, written: str) -> None:
    """Nor to less: what was approved is what its name says."""
    refused(
        lambda: guarded["binder"].merge(written, {"spec": {"egress": [{}]}}),
        GUARD,
        "never changes under its name",
    )


@pytest.mark.parametrize("who", ["admin", "stranger"])
def test_guardrails_refuse_deleted_profile(guarded: Installation, written: str, who: str) -> None:
    """Nobody but the binder takes a profile away."""
    refused(lambda: guarded[who].delete(written), GUARD, BINDER)


@pytest.mark.parametrize("who", ["admin", "stranger"])
def test_guardrails_refuse_deleted_collection(
    guarded: Installation, written: str, who: str
) -> None:
    """Nor all of them at once."""
    says = BINDER if who == "admin" else "sluice: only"
    query = {"fieldSelector": f"metadata.name={written.rpartition('/')[2]}"}
    refused(lambda: guarded[who].delete(POLICIES, **query), GUARD, says.removeprefix("sluice: "))


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("who", ["binder", "stranger"])
def test_guardrails_refuse_deleted_installation(guarded: Installation, name: str, who: str) -> None:
    """The baseline is not the binder's to delete, nor anybody's who could not remove the guard."""
    refused(lambda: guarded[who].delete(f"{POLICIES}/{name}"), GUARD, ADMINISTRATORS)


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("who", ["binder", "stranger"])
def test_guardrails_refuse_changed_installation(guarded: Installation, name: str, who: str) -> None:
    """Nor to change."""
    body = {"spec": {"egressDeny": None}}
    refused(lambda: guarded[who].merge(f"{POLICIES}/{name}", body), GUARD, ADMINISTRATORS)


@pytest.mark.parametrize("name", INSTALLED)
def test_guardrails_stranger_deletes_collection(guarded: Installation, name: str) -> None:
    """Deleting a collection hits the installed policies too, one by one, and is refused."""
    query = {"fieldSelector": f"metadata.name={name}"}
    refused(lambda: guarded["stranger"].delete(POLICIES, **query), GUARD, ADMINISTRATORS)


def test_guardrails_administrator_replaces_baseline(guarded: Installation) -> None:
    """An administrator upgrades the installed policies: here to the same, by a dry run."""
    for wanted in baseline(TASKS):
        path = f"{POLICIES}/{wanted['metadata']['name']}"  # type: ignore[call-overload, index]
        guarded.admin.text("DELETE", path, None, {"dryRun": "All"})
        assert guarded.admin.get(path)["spec"] == wanted["spec"]


FOREIGNERS: dict[str, Object] = {
    "networking.k8s.io/v1": {
        "kind": "NetworkPolicy",
        "spec": {"podSelector": {}, "egress": [{}], "policyTypes": ["Egress"]},
    },
    "cilium.io/v2 CiliumEnvoyConfig": {"kind": "CiliumEnvoyConfig", "spec": {"resources": []}},
    "cilium.io/v2 CiliumLocalRedirectPolicy": {
        "kind": "CiliumLocalRedirectPolicy",
        "spec": {
            "redirectFrontend": {
                "addressMatcher": {
                    "ip": "192.0.2.1",
                    "toPorts": [{"port": "80", "protocol": "TCP"}],
                }
            },
            "redirectBackend": {
                "localEndpointSelector": {"matchLabels": {"app": "web"}},
                "toPorts": [{"port": "80", "protocol": "TCP"}],
            },
        },
    },
}
PLURALS = {
    "NetworkPolicy": "networkpolicies",
    "CiliumEnvoyConfig": "ciliumenvoyconfigs",
    "CiliumLocalRedirectPolicy": "ciliumlocalredirectpolicies",
}


def foreigner(name: str) -> tuple[str, Object]:
    """Return the collection of a foreign policy, and the policy."""
    version, body = name.partition(" ")[0], FOREIGNERS[name]
    path = f"/apis/{version}/namespaces/{TASKS}/{PLURALS[body['kind']]}"
    return path, {"apiVersion": version, "metadata": {"name": "mine"}, **body}


@pytest.mark.parametrize("who", ["admin", "stranger"])
@pytest.mark.parametrize("name", FOREIGNERS)
def test_guardrails_refuse_foreign_policy(guarded: Installation, name: str, who: str) -> None:
    """Allows add up, so nobody writes another kind of policy beside the profiles."""
    path, body = foreigner(name)
    refused(lambda: guarded[who].create(path, body), FOREIGN, "no place beside network profiles")


@pytest.mark.parametrize("who", ["binder", "runner"])
@pytest.mark.parametrize("name", FOREIGNERS)
def test_guardrails_no_right_to_foreign_policies(
    guarded: Installation, name: str, who: str
) -> None:
    """The gateway has no such right either."""
    path, body = foreigner(name)
    no_right(lambda: guarded[who].create(path, body), "create", PLURALS[body["kind"]])


def test_guardrails_accept_profile(guarded: Installation, written: str) -> None:
    """The binder writes a profile, applies it again unchanged as the gateway does, and reads it."""
    query = {"fieldManager": "sluice", "force": "true", "fieldValidation": "Strict"}
    guarded["binder"].text("PATCH", written, good(), query, "application/apply-patch+yaml")
    found = guarded["binder"].get(written)
    assert found["spec"] == good()["spec"]


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(CATALOGUES)
def test_guardrails_accept_whatever_is_compiled(
    guarded: Installation, catalogue: dict[str, Entry]
) -> None:
    """No policy that the compiler can write is refused by the guard."""
    try:
        made = policy(profile(catalogue, catalogue, Site(TASKS)))
    except (Misconfigured, Unprocessable):
        assume(False)
        raise
    guarded["binder"].create(POLICIES, json.loads(json.dumps(made)), dryRun="All")
