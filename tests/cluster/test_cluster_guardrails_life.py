"""What has to work with the guard rails up: a task's life, an upgrade, removal, the check."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from bed.api import Api, ApiError, Object
from bed.attempts import PODS, POLICIES, refused, task_pod
from bed.installation import DEPLOY, GUARDS, TASKS, Installation, kubectl, rendered
from bed.objects import phase
from test_cluster_guardrails_policies import FOREIGNERS, foreigner, good

CLUSTER = str(DEPLOY / "cluster")
CHANGED: Object = {"metadata": {"labels": {"changed": "yes"}}}


def forbidden_pod() -> Object:
    """Return a pod that is good but for one more label: what the gateway tries each minute."""
    pod = task_pod()
    pod["metadata"]["labels"]["sluice/forbidden"] = "tried"
    return pod


@pytest.mark.usefixtures("fake_nodes")
def test_guardrails_task_lives(guarded: Installation) -> None:
    """A task's pod is created, bound, run to success by a node, and deleted."""
    runner = guarded["runner"]
    path = f"{PODS}/{runner.create(PODS, task_pod(canary=True))['metadata']['name']}"
    runner.when(path, phase("Succeeded"))
    runner.delete(path)
    guarded.admin.when(PODS, lambda found: path.rpartition("/")[2] not in str(found["items"]))


@pytest.mark.usefixtures("fake_nodes")
def test_guardrails_task_is_cut_while_it_runs(guarded: Installation) -> None:
    """The kubelet goes on reporting on a pod that was cut off, and it ends."""
    runner = guarded["runner"]
    path = f"{PODS}/{runner.create(PODS, task_pod(run_for='1s'))['metadata']['name']}"
    runner.when(path, phase("Running"))
    runner.merge(path, {"metadata": {"labels": {"sluice/profile": "cut"}}})
    assert runner.when(path, phase("Succeeded"))["metadata"]["labels"] == {"sluice/profile": "cut"}
    runner.delete(path)


def test_guardrails_forbidden_pod_is_refused(guarded: Installation) -> None:
    """The pod that is tried each minute, as a dry run by the runner, is refused by the guard."""
    refused(
        lambda: guarded["runner"].create(PODS, forbidden_pod(), dryRun="All"),
        "sluice-pods",
        "wears one label",
    )


@pytest.fixture
def restricted(api: Api, namespace: str) -> str:
    """A namespace with the labels of the tasks' namespace, and no guards."""
    (tasks,) = made("Namespace", TASKS)
    api.merge(
        f"/api/v1/namespaces/{namespace}",
        {"metadata": {"labels": tasks["metadata"]["labels"]}},
    )
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sluice-task"}}
    api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    return namespace


def made(kind: str, name: str) -> list[Object]:
    """Return what ``deploy/cluster`` has of a kind and a name."""
    return [
        item
        for item in rendered("cluster")
        if (item["kind"], item["metadata"]["name"]) == (kind, name)
    ]


def test_guardrails_forbidden_pod_is_refused_by_nothing_else(api: Api, restricted: str) -> None:
    """Where there is no guard it is accepted, under Pod Security: its refusal means something."""
    pod = forbidden_pod()
    pod["metadata"]["namespace"] = restricted
    api.create(f"/api/v1/namespaces/{restricted}/pods", pod, dryRun="All")


def test_guardrails_pod_security_stands_behind(api: Api, restricted: str) -> None:
    """Pod Security refuses a pod on the host's network too, and takes a task's pod."""
    path = f"/api/v1/namespaces/{restricted}/pods"
    api.create(path, task_pod(restricted, canary=True), dryRun="All")
    pod = task_pod(restricted)
    pod["spec"]["hostNetwork"] = True
    with pytest.raises(ApiError, match='violates PodSecurity "restricted'):
        api.create(path, pod, dryRun="All")


def test_guardrails_unknown_kinds_are_no_obstacle(api: Api, namespace: str) -> None:
    """A guard that names a kind which the cluster lacks guards the kinds that are there."""
    name, original = f"{namespace}-kinds", "sluice-foreign-policies"
    (guard,) = made("ValidatingAdmissionPolicy", original)
    (binding,) = made("ValidatingAdmissionPolicyBinding", original)
    guard["metadata"]["name"] = binding["metadata"]["name"] = binding["spec"]["policyName"] = name
    for rule in guard["spec"]["matchConstraints"]["resourceRules"]:
        rule["resources"].append("kindsthatarenotthere")
    labels = binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"]
    labels["kubernetes.io/metadata.name"] = namespace
    wanted: Object = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "any"},
        "spec": {"podSelector": {}},
    }
    api.create(f"{GUARDS}/validatingadmissionpolicies", guard)
    api.create(f"{GUARDS}/validatingadmissionpolicybindings", binding)
    try:
        path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
        assert "networkpolicies have no place" in refused_soon(api, path, wanted).message
    finally:
        api.delete(f"{GUARDS}/validatingadmissionpolicybindings/{name}")
        api.delete(f"{GUARDS}/validatingadmissionpolicies/{name}")


def refused_soon(api: Api, path: str, wanted: Object) -> ApiError:
    """Dry-run until it is refused: a new guard takes a moment to be seen."""
    for _ in range(100):
        try:
            api.create(path, wanted, dryRun="All")
        except ApiError as refusal:
            return refusal
        time.sleep(0.1)
    raise AssertionError("still accepted")


def test_guardrails_namespace_can_be_removed(guarded: Installation) -> None:
    """The tasks' namespace goes with its pods, profiles and baseline, and is installed again."""
    guarded["runner"].create(PODS, task_pod(hold="running"))
    guarded["binder"].create(POLICIES, good())
    guarded.remove_tasks()
    guarded.apply()
    names = [item["metadata"]["name"] for item in guarded.admin.get(POLICIES)["items"]]
    assert sorted(names) == ["sluice-baseline", "sluice-cut"]
    refused(lambda: guarded.admin.create(PODS, task_pod()), "sluice-pods", "only the gateway's")


def test_guardrails_older_foreign_policies(guarded: Installation) -> None:
    """Policies from before the installation are not changed any more, and can be deleted."""
    guarded.admin.delete(f"{GUARDS}/validatingadmissionpolicybindings/sluice-foreign-policies")
    older = [foreigner(name) for name in FOREIGNERS]
    for path, body in older:
        accepted_soon(guarded.admin, path, body)
    guarded.apply()
    for path, body in older:
        found = f"{path}/{body['metadata']['name']}"
        refused(
            lambda found=found: guarded["stranger"].merge(found, CHANGED),  # type: ignore[misc]
            "sluice-foreign-policies",
            "have no place beside network profiles",
        )
        guarded["stranger"].delete(found)


def accepted_soon(api: Api, path: str, wanted: Object) -> None:
    """Create as soon as a guard that was removed is gone."""
    for _ in range(100):
        with contextlib.suppress(ApiError):
            api.create(path, wanted)
            return
        time.sleep(0.1)
    raise AssertionError("still refused")


def test_guardrails_apply_twice(guarded: Installation) -> None:
    """Installing again changes nothing: an upgrade to the same is no upgrade."""
    before = guarded.admin.get(f"{GUARDS}/validatingadmissionpolicies/sluice-pods")
    guarded.apply()
    after = guarded.admin.get(f"{GUARDS}/validatingadmissionpolicies/sluice-pods")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_guardrails_apply_twice_from_the_client(guarded: Installation) -> None:
    """Without ``--server-side``, as error texts say, it is installed too; again changes nothing."""
    try:
        kubectl(guarded.kubeconfig, "apply", "-k", CLUSTER)
        before = there(guarded)
        kubectl(guarded.kubeconfig, "apply", "-k", CLUSTER)
        assert there(guarded) == before
        (namespace,) = made("Namespace", TASKS)
        found = before["Namespace", TASKS]["metadata"]["labels"]
        assert found.items() >= namespace["metadata"]["labels"].items()
        refused(lambda: guarded.admin.create(PODS, task_pod()), "sluice-pods", "only the gateway's")
    finally:
        guarded.apply()


def there(guarded: Installation) -> dict[tuple[str, str], Object]:
    """Return what the cluster has of ``deploy/cluster``, without what the cluster says of it."""
    listed = json.loads(kubectl(guarded.kubeconfig, "get", "-k", CLUSTER, "-o", "json"))["items"]
    for item in listed:
        item.pop("status", None)
        for mine in ("managedFields", "resourceVersion"):
            item["metadata"].pop(mine, None)
    return {(item["kind"], item["metadata"]["name"]): item for item in listed}


@pytest.mark.parametrize("folder", ["overlays/node-local-dns", "overlays/openshift"])
def test_guardrails_overlays_are_the_same_guards(folder: str, guarded: Installation) -> None:  # noqa: ARG001 - kubectl is built by then
    """An overlay changes how the gateway asks for names, and no guard or right of what is there."""
    kinds = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "Role", "ClusterRole"}
    base = [item for item in rendered("cluster") if item["kind"] in kinds]
    over = rendered(folder)
    assert [item for item in over if item["kind"] in kinds] == base
    (gateway,) = [item for item in over if item["kind"] == "Deployment"]
    env = gateway["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "SLUICE_CLUSTER__DNS", "value": folder.rpartition("/")[2]} in env
