"""What each account may do, as the API server itself answers, and nothing beyond."""

from __future__ import annotations

import pytest
from bed.api import Api, Object
from bed.attempts import PODS, POLICIES, no_right, task_pod
from bed.installation import ACCOUNTS, GATEWAY, TASKS, Installation

Right = tuple[str, str, str]  # verb, group, resource
SECRETS = f"/api/v1/namespaces/{TASKS}/secrets"


def rights(group: str, resources: str, verbs: str) -> set[Right]:
    """Return each verb with each resource."""
    return {(verb, group, item) for verb in verbs.split() for item in resources.split()}


SERVICES = rights("", "services", "get") | rights("discovery.k8s.io", "endpointslices", "get list")
EXPECTED: dict[tuple[str, str], set[Right]] = {
    ("frontend", TASKS): set(),
    ("frontend", GATEWAY): set(),
    ("task", TASKS): set(),
    ("binder", TASKS): SERVICES
    | rights("cilium.io", "ciliumnetworkpolicies", "get list watch create patch delete")
    | rights("cilium.io", "ciliumenvoyconfigs ciliumlocalredirectpolicies", "get list")
    | rights("networking.k8s.io", "networkpolicies", "get list"),
    ("binder", GATEWAY): SERVICES,
    ("binder", "kube-system"): SERVICES,
    ("runner", TASKS): rights("", "pods", "get list watch create patch delete")
    | rights("", "pods/log", "get")
    | rights("", "secrets", "create delete")
    | rights("", "configmaps", "create get list delete"),
    ("runner", GATEWAY): set(),
    ("runner", "kube-system"): set(),
}


def may(api: Api, namespace: str) -> set[Right]:
    """Return what a user may do in a namespace, but for what everybody may ask about themselves."""
    review: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    status = api.create(path, review)["status"]
    return {
        (verb, group, resource)
        for rule in status["resourceRules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if not resource.startswith("selfsubject")
    }


@pytest.mark.parametrize(("who", "where"), EXPECTED, ids=lambda value: value)
def test_guardrails_rights_are_exactly(guarded: Installation, who: str, where: str) -> None:
    """An account has the rights that it needs, and no other."""
    assert may(guarded[who], where) == EXPECTED[who, where]


@pytest.mark.parametrize("who", ACCOUNTS)
def test_guardrails_nobody_reads_secrets(guarded: Installation, who: str) -> None:
    """No account reads a Secret, one or all of them, here or at the gateway's."""
    for namespace in (TASKS, GATEWAY):
        path = f"/api/v1/namespaces/{namespace}/secrets"
        no_right(lambda path=path: guarded[who].get(path), "list", "secrets")  # type: ignore[misc]
        no_right(lambda path=path: guarded[who].get(f"{path}/x"), "get", "secrets")  # type: ignore[misc]


@pytest.mark.parametrize("who", ["binder", "frontend", "task"])
def test_guardrails_only_the_runner_makes_pods(guarded: Installation, who: str) -> None:
    """Who writes policies makes no pods, and who only answers requests does neither."""
    no_right(lambda: guarded[who].create(PODS, task_pod()), "create", "pods")


@pytest.mark.parametrize("who", ["runner", "frontend", "task"])
def test_guardrails_only_the_binder_sees_policies(guarded: Installation, who: str) -> None:
    """And who makes pods does not read the policies either."""
    no_right(lambda: guarded[who].get(POLICIES), "list", "ciliumnetworkpolicies")


def test_guardrails_runner_writes_a_secret_it_cannot_read(guarded: Installation) -> None:
    """An attempt's Secret is written and deleted by the runner, and never read by it."""
    wanted = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "attempt"},
        "stringData": {"task.json": "{}"},
    }
    guarded["runner"].create(SECRETS, wanted)
    no_right(lambda: guarded["runner"].get(f"{SECRETS}/attempt"), "get", "secrets")
    guarded["runner"].delete(f"{SECRETS}/attempt")


def test_guardrails_runner_cannot_evict(guarded: Installation) -> None:
    """Evictions are for those who drain nodes."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "x"}}
    no_right(
        lambda: guarded["runner"].create(f"{PODS}/x/eviction", body), "create", "pods/eviction"
    )
