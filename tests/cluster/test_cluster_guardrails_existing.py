"""What may become of a task's pod once it exists: nothing, but being cut off and deleted.

Attacked on the real API server by an administrator (``admin``), by somebody with every right in the
tasks' namespace (``stranger``) and by the runner itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from bed.api import Api, ApiError, Object
from bed.attempts import IMAGE, PODS, no_right, refused, task_pod
from bed.installation import TASKS, Installation

EXISTING, BINDINGS, DOORS = "sluice-pods-that-exist", "sluice-bindings", "sluice-doors"
LABELS = "labels stay as they are"
NOTES = "what a pod's annotations say of its launch and its network stays"
SPEC = "specification stays as it was approved"
OTHER = f"p-{32 * '8'}"
PRIVILEGED = ["admin", "stranger"]
EVERYBODY = [*PRIVILEGED, "runner"]


@pytest.fixture
def pod(guarded: Installation) -> Iterator[str]:
    """The path of a pod of the gateway's that stays pending."""
    path = f"{PODS}/{guarded['runner'].create(PODS, waiting())['metadata']['name']}"
    yield path
    guarded.admin.delete(path, gracePeriodSeconds="0")


def waiting() -> Object:
    """Return a good pod that no node takes."""
    found = task_pod()
    found["spec"]["nodeSelector"] = {"nobody": "has-this"}
    return found


def labels(**values: str | None) -> Object:
    """A patch of labels; ``profile`` is ours."""
    return {
        "metadata": {
            "labels": {
                key.replace("profile", "sluice/profile"): value for key, value in values.items()
            }
        }
    }


def notes(key: str, value: str | None = "x") -> Object:
    """A patch of one annotation."""
    return {"metadata": {"annotations": {key: value}}}


CHANGES: dict[str, tuple[Object, str]] = {
    "other profile": (labels(profile=OTHER), LABELS),
    "label removed": (labels(profile=None), LABELS),
    "label added": (labels(app="web"), LABELS),
    "launch changed": (notes("sluice/launch-id"), NOTES),
    "plan removed": (notes("sluice/plan-digest", None), NOTES),
    "annotation of ours added": (notes("sluice/more"), NOTES),
    "network added": (notes("k8s.v1.cni.cncf.io/networks"), NOTES),
    "network plug-in told": (notes("policy.cilium.io/no-track-port"), NOTES),
    "other image": (
        {"spec": {"containers": [{"name": "task", "image": IMAGE.replace("1", "9")}]}},
        SPEC,
    ),
    "longer": ({"spec": {"activeDeadlineSeconds": 1}}, SPEC),
    "finalizer": ({"metadata": {"finalizers": ["example.com/stay"]}}, "no owner and no finalizer"),
    "owner": (
        {
            "metadata": {
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b"},
                ]
            }
        },
        "no owner and no finalizer",
    ),
}


def patch(api: Api, path: str, body: Object) -> None:
    """Change an object by a strategic merge patch, as kubectl does."""
    api.text("PATCH", path, body, None, "application/strategic-merge-patch+json")


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("change", CHANGES)
def test_guardrails_refuse_change(guarded: Installation, pod: str, change: str, who: str) -> None:
    """Identity, image and explanation of a pod stay, whoever asks."""
    body, says = CHANGES[change]
    refused(lambda: patch(guarded[who], pod, body), EXISTING, says)


@pytest.mark.parametrize("change", ["other profile", "label added", "launch changed"])
@pytest.mark.parametrize("who", PRIVILEGED)
def test_guardrails_refuse_change_by_status(
    guarded: Installation, pod: str, change: str, who: str
) -> None:
    """Kubernetes takes labels and annotations by way of a pod's status too; the guard sees that."""
    body, says = CHANGES[change]
    refused(lambda: patch(guarded[who], f"{pod}/status", body), EXISTING, says)


ENDS = {
    "success": {"phase": "Succeeded"},
    "report": {
        "containerStatuses": [
            {
                "name": "task",
                "image": IMAGE,
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "message": "z:"}},
            }
        ]
    },
    "report of the canary": {
        "initContainerStatuses": [
            {"name": "canary", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0}
        ]
    },
}


@pytest.mark.parametrize("end", ENDS)
def test_guardrails_refuse_forged_end(guarded: Installation, pod: str, end: str) -> None:
    """How a task ended is said by its node, and not by who may write to the namespace."""
    refused(
        lambda: patch(guarded["stranger"], f"{pod}/status", {"status": ENDS[end]}),
        EXISTING,
        "only nodes and the control plane",
    )


def test_guardrails_runner_has_no_right_to_status(guarded: Installation, pod: str) -> None:
    """The gateway cannot write it either."""
    no_right(
        lambda: patch(guarded["runner"], f"{pod}/status", {"status": ENDS["success"]}),
        "patch",
        "pods/status",
    )


def test_guardrails_accept_other_conditions(guarded: Installation, pod: str) -> None:
    """Whoever has a right to may add a condition to a pod's status."""
    condition = {"type": "example.com/seen", "status": "True"}
    patch(guarded["stranger"], f"{pod}/status", {"status": {"conditions": [condition]}})


PAYLOADS = {
    "entry point": ("ConfigMap", f"sluice-guest-{64 * '2'}"),
    "code": ("ConfigMap", f"sluice-code-{64 * '3'}"),
    "task": ("Secret", f"{32 * '0'}-{24 * 'a'}-1"),
    "probe": ("Secret", f"{32 * '0'}-probe-1"),
}


def payload(name: str, **fields: Any) -> tuple[str, Object]:
    """Return the collection of something that pods read at their start, and the object."""
    kind, named = PAYLOADS[name]
    path = f"/api/v1/namespaces/{TASKS}/{kind.lower()}s"
    return path, {"apiVersion": "v1", "kind": kind, "metadata": {"name": named}, **fields}


@pytest.mark.parametrize("who", PRIVILEGED)
@pytest.mark.parametrize("name", PAYLOADS)
def test_guardrails_refuse_payload_by(guarded: Installation, name: str, who: str) -> None:
    """Nobody but the runner lays down what a task will read."""
    path, wanted = payload(name, immutable=True)
    refused(lambda: guarded[who].create(path, wanted), "sluice-payloads", "only the gateway's")


@pytest.mark.parametrize("name", PAYLOADS)
def test_guardrails_refuse_payload_that_changes(guarded: Installation, name: str) -> None:
    """And what it lays down cannot be changed by anybody."""
    path, wanted = payload(name)
    refused(lambda: guarded["runner"].create(path, wanted), "sluice-payloads", "never be changed")


@pytest.mark.parametrize("name", PAYLOADS)
def test_guardrails_payload_stays(guarded: Installation, name: str) -> None:
    """An entry point that is there is not replaced in place: the API server sees to that."""
    path, wanted = payload(name, immutable=True)
    guarded["runner"].create(path, wanted)
    mine = f"{path}/{wanted['metadata']['name']}"
    try:
        with pytest.raises(ApiError, match="field is immutable"):
            guarded["stranger"].merge(mine, {"data": {"guest.pyz": "bWluZQ=="}})
    finally:
        guarded.admin.delete(mine)


def test_guardrails_accept_named_secret(guarded: Installation) -> None:
    """Secrets of other names are the operators': a password that a pipeline may use."""
    path = f"/api/v1/namespaces/{TASKS}/secrets"
    wanted = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "warehouse"}}
    guarded["stranger"].create(path, wanted, dryRun="All")


@pytest.mark.parametrize("who", PRIVILEGED)
def test_guardrails_refuse_cut_by(guarded: Installation, pod: str, who: str) -> None:
    """Only the runner cuts a pod off."""
    refused(lambda: patch(guarded[who], pod, labels(profile="cut")), EXISTING, LABELS)


def test_guardrails_refuse_cut_with_more(guarded: Installation, pod: str) -> None:
    """Cutting is no occasion to add another label."""
    refused(
        lambda: patch(guarded["runner"], pod, labels(profile="cut", app="web")), EXISTING, LABELS
    )


@pytest.mark.parametrize(
    "change", [name for name in CHANGES if name not in {"other profile", "label removed"}]
)
def test_guardrails_refuse_cut_with_a_change(guarded: Installation, pod: str, change: str) -> None:
    """A cut is recognised before all other conditions, so it must not hide what they refuse."""
    body, says = copy.deepcopy(CHANGES[change])
    body.setdefault("metadata", {}).setdefault("labels", {})["sluice/profile"] = "cut"
    refused(lambda: patch(guarded["runner"], pod, body), EXISTING, says)


def test_guardrails_accept_cut_with_what_anybody_may_change(
    guarded: Installation, pod: str
) -> None:
    """Somebody's webhook that notes something on each change of a pod holds up no cut."""
    body = {"metadata": labels(profile="cut")["metadata"] | notes("team.example/seen")["metadata"]}
    cut = guarded["runner"].merge(pod, body)
    assert cut["metadata"]["labels"] == {"sluice/profile": "cut"}


def test_guardrails_accept_cut(guarded: Installation, pod: str) -> None:
    """The runner relabels a pod to ``cut``, as the gateway does it."""
    body = labels(profile="cut")
    body["metadata"]["managedFields"] = [{}]
    cut = guarded["runner"].merge(pod, body)
    assert cut["metadata"]["labels"] == {"sluice/profile": "cut"}


@pytest.mark.parametrize("who", EVERYBODY)
def test_guardrails_refuse_reconnection(guarded: Installation, pod: str, who: str) -> None:
    """A pod that was cut off stays cut off, for the runner too."""
    guarded["runner"].merge(pod, labels(profile="cut"))
    refused(lambda: patch(guarded[who], pod, labels(profile=f"p-{32 * '7'}")), EXISTING, LABELS)


@pytest.mark.parametrize("who", EVERYBODY)
def test_guardrails_accept_other_annotations(guarded: Installation, pod: str, who: str) -> None:
    """What neither names a launch nor speaks to the network is not the guards' business."""
    patch(guarded[who], pod, notes("example.com/seen"))
    patch(guarded[who], pod, notes("k8s.v1.cni.cncf.io/network-status"))


def binding(name: str, **meta: Any) -> Object:
    """Bind a pod to a node, saying something on that occasion."""
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, **meta},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "fake-0"},
    }


BOUND = {
    "other profile": ({"labels": {"sluice/profile": OTHER}}, "no labels but the node's topology"),
    "second label": ({"labels": {"app": "web"}}, "no labels but the node's topology"),
    "other launch": ({"annotations": {"sluice/launch-id": "x"}}, "does not change"),
    "network": ({"annotations": {"k8s.v1.cni.cncf.io/networks": "x"}}, "does not change"),
}


@pytest.mark.parametrize("who", PRIVILEGED)
@pytest.mark.parametrize("way", ["pod's binding", "bindings"])
@pytest.mark.parametrize("said", BOUND)
def test_guardrails_refuse_binding(
    guarded: Installation, pod: str, said: str, way: str, who: str
) -> None:
    """A binding overwrites a pod's labels (Kubernetes 1.35) with no update to be seen."""
    meta, says = BOUND[said]
    path = f"{pod}/binding" if way == "pod's binding" else f"{PODS.removesuffix('pods')}bindings"
    wanted = binding(pod.rpartition("/")[2], **meta)
    refused(lambda: guarded[who].create(path, wanted), BINDINGS, says)


def test_guardrails_cut_with_topology(guarded: Installation, pod: str) -> None:
    """A pod that got its node's zone when it was bound is cut off, keeps the zone, and stays so."""
    zone = {"topology.kubernetes.io/zone": "a"}
    wanted = binding(pod.rpartition("/")[2], labels=zone)
    guarded.admin.create(f"{pod}/binding", wanted)
    cut = guarded["runner"].merge(pod, labels(profile="cut"))
    assert cut["metadata"]["labels"] == {"sluice/profile": "cut", **zone}
    moved = {"metadata": {"labels": {"topology.kubernetes.io/zone": "b"}}}
    refused(lambda: patch(guarded["runner"], pod, moved), EXISTING, LABELS)


WAYS_IN = {
    "exec": ("POST", "exec", {"command": "sh", "container": "task", "stdout": "true"}),
    "exec by GET": ("GET", "exec", {"command": "sh", "container": "task", "stdout": "true"}),
    "attach": ("POST", "attach", {"container": "task", "stdout": "true"}),
    "portforward": ("POST", "portforward", {"ports": "80"}),
    "proxy": ("GET", "proxy", {}),
}


@pytest.mark.parametrize("who", PRIVILEGED)
@pytest.mark.parametrize("way", WAYS_IN)
def test_guardrails_refuse_way_in(guarded: Installation, pod: str, way: str, who: str) -> None:
    """Nobody gets into a running pod."""
    method, door, query = WAYS_IN[way]
    refused(lambda: guarded[who].text(method, f"{pod}/{door}", None, query), DOORS, f"pods/{door}")


@pytest.mark.parametrize("way", ["exec", "attach", "portforward"])
def test_guardrails_runner_has_no_way_in(guarded: Installation, pod: str, way: str) -> None:
    """The runner lacks the right as well, should the guard be away."""
    method, door, query = WAYS_IN[way]
    no_right(
        lambda: guarded["runner"].text(method, f"{pod}/{door}", None, query),
        "create",
        f"pods/{door}",
    )


@pytest.mark.parametrize("who", PRIVILEGED)
def test_guardrails_refuse_proxy_of_service(guarded: Installation, who: str) -> None:
    """Nor by way of a Service."""
    path = f"/api/v1/namespaces/{TASKS}/services/any/proxy"
    refused(lambda: guarded[who].text("GET", path), DOORS, "services/proxy")


@pytest.mark.parametrize("who", PRIVILEGED)
def test_guardrails_refuse_ephemeral_container(guarded: Installation, pod: str, who: str) -> None:
    """``kubectl debug`` puts no container beside a task's."""
    debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": IMAGE}]}}
    refused(
        lambda: patch(guarded[who], f"{pod}/ephemeralcontainers", debug),
        DOORS,
        "pods/ephemeralcontainers",
    )


@pytest.mark.parametrize("who", PRIVILEGED)
def test_guardrails_refuse_resize(guarded: Installation, pod: str, who: str) -> None:
    """What policy bounded stays bounded."""
    resources = {"requests": {"cpu": "4"}, "limits": {"cpu": "4"}}
    more = {"spec": {"containers": [{"name": "task", "resources": resources}]}}
    refused(lambda: patch(guarded[who], f"{pod}/resize", more), DOORS, "pods/resize")


def test_guardrails_refuse_relabelled_namespace(guarded: Installation) -> None:
    """Who is no administrator of the cluster changes no label of the namespace, by no way."""
    path = f"/api/v1/namespaces/{TASKS}"
    for way in ("", "/status"):
        refused(
            lambda way=way: guarded["stranger"].merge(f"{path}{way}", labels(team="mine")),  # type: ignore[misc]
            "sluice-namespace",
            "only the cluster's administrators",
        )


def test_guardrails_namespace_keeps_its_name(guarded: Installation) -> None:
    """The label by which the guards find the namespace cannot be taken away, by nobody."""
    path, key = f"/api/v1/namespaces/{TASKS}", "kubernetes.io/metadata.name"
    for value in (None, "other"):
        guarded.admin.merge(path, {"metadata": {"labels": {key: value}}})
        assert guarded.admin.get(path)["metadata"]["labels"][key] == TASKS
