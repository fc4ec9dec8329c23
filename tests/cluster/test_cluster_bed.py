"""The bed is what it says: real parts that refuse what a real cluster refuses."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api, ApiError, Object
from bed.objects import PROFILES, collection, ended, phase, pod
from bed.oracle import PolicyOracle

FAKE = pytest.mark.usefixtures("fake_nodes")
GUARDS = "/apis/admissionregistration.k8s.io/v1"


def policy(*egress: Object, **rule: Any) -> Object:
    """One network profile's policy, with nothing coming in and these rules going out."""
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "sluice-p-0123", "namespace": "tasks"},
        "spec": {
            "endpointSelector": {"matchLabels": {"sluice/profile": "p-0123"}},
            "ingress": [{}],
            "egress": list(egress) or [{}],
            **rule,
        },
    }


def ports(*numbers: str, protocol: str = "TCP", **more: Any) -> list[Object]:
    """The ports of one rule."""
    return [{"ports": [{"port": each, "protocol": protocol} for each in numbers], **more}]


API_HOST: Object = {
    "toFQDNs": [{"matchName": "api.example.com"}],
    "toPorts": ports("443"),
}
DNS: Object = {
    "toEndpoints": [
        {
            "matchLabels": {
                "k8s:io.kubernetes.pod.namespace": "kube-system",
                "k8s:k8s-app": "kube-dns",
            }
        }
    ],
    "toPorts": ports("53", protocol="ANY", rules={"dns": [{"matchName": "api.example.com"}]}),
}
WAREHOUSE: Object = {
    "toCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}],
    "toPorts": ports("5432"),
}

GOOD = {
    "deny all": policy(),
    "a name, and the DNS question for it": policy(DNS, API_HOST),
    "addresses with a hole in them": policy(WAREHOUSE),
}
BAD = {
    "two kinds of peers in one rule": (policy({**API_HOST, **WAREHOUSE}), "combining"),
    "more than 40 ports": (
        policy({**API_HOST, "toPorts": ports(*map(str, range(1000, 1041)))}),
        "too many ports",
    ),
    "a port that the CRD lets through": (
        policy({**API_HOST, "toPorts": ports("99999")}),
        "unable to parse port",
    ),
    "HTTP rules on UDP": (
        policy(
            {**API_HOST, "toPorts": ports("80", protocol="UDP", rules={"http": [{"path": "/"}]})}
        ),
        "L7 rules can only apply to TCP",
    ),
    "a hole outside its addresses": (
        policy({"toCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["192.168.0.0/16"]}]}),
        "does not contain",
    ),
    "a field that no policy has": (policy(API_HOST, egres=[]), "unknown field"),
}


def test_cluster_version_is_the_pinned_one(api: Api) -> None:
    """The API server is Kubernetes 1.35, and says so as a release does."""
    version = api.get("/version")
    assert (version["major"], version["minor"].rstrip("+")) == ("1", "35")
    assert version["gitVersion"].startswith("v1.35.")


def test_cluster_refuses_strangers(api: Api, namespace: str) -> None:
    """RBAC is on: a service account that nobody gave rights to may not list pods."""
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    account = f"{collection(namespace, 'serviceaccounts')}/default/token"
    stranger = api.with_token(api.create(account, request)["status"]["token"])
    with pytest.raises(ApiError) as refused:
        stranger.get(collection(namespace))
    assert refused.value.status == 403
    assert f"system:serviceaccount:{namespace}:default" in refused.value.message


@pytest.mark.parametrize("name", GOOD)
def test_cluster_accepts_good_policies(api: Api, namespace: str, name: str) -> None:
    """Cilium's CRD is served, and takes what the oracle takes."""
    wanted = copy.deepcopy(GOOD[name])
    wanted["metadata"]["namespace"] = namespace
    created = api.create(collection(namespace, PROFILES), wanted)
    assert created["spec"] == wanted["spec"]


def test_cluster_refuses_unknown_fields(api: Api, namespace: str) -> None:
    """Strict field validation refuses a misspelled field, where a lenient server would drop it."""
    wanted = policy(API_HOST, egres=[])
    wanted["metadata"]["namespace"] = namespace
    with pytest.raises(ApiError, match=r'unknown field "spec\.egres"') as refused:
        api.create(collection(namespace, PROFILES), wanted)
    assert refused.value.status == 400
    lenient = api.create(collection(namespace, PROFILES), wanted, fieldValidation="Ignore")
    assert "egres" not in lenient["spec"]


def test_cluster_refuses_a_bad_name(api: Api, namespace: str) -> None:
    """The CRD's own schema refuses a host name that is none."""
    wanted = policy({**API_HOST, "toFQDNs": [{"matchName": "https://api.example.com/"}]})
    wanted["metadata"]["namespace"] = namespace
    with pytest.raises(ApiError, match="matchName") as refused:
        api.create(collection(namespace, PROFILES), wanted)
    assert refused.value.status == 422


@pytest.mark.parametrize("name", GOOD)
def test_oracle_accepts_good_policies(oracle: PolicyOracle, name: str) -> None:
    """Cilium itself takes what we hold for good."""
    assert oracle.ask(GOOD[name]).error == ""


@pytest.mark.parametrize("name", BAD)
def test_oracle_refuses_bad_policies(oracle: PolicyOracle, name: str) -> None:
    """Cilium itself refuses what we hold for bad, for the reason that we think."""
    wanted, reason = BAD[name]
    opinion = oracle.ask(wanted)
    assert not opinion.ok
    assert reason in opinion.error


@FAKE
def test_cluster_pod_runs_to_success(api: Api, namespace: str) -> None:
    """The scheduler places a pod on a fake node, and KWOK runs it to Succeeded with its message."""
    api.create(collection(namespace), pod("task", message="42 rows"))
    done = api.when(f"{collection(namespace)}/task", phase("Succeeded"))
    assert done["spec"]["nodeName"].startswith("fake-")
    how = ended(done)
    assert (how["exitCode"], how["reason"], how["message"]) == (0, "Completed", "42 rows")


@FAKE
def test_cluster_pod_fails_when_told(api: Api, namespace: str) -> None:
    """A pod that is held stays Running; an exit code given later makes it Failed."""
    api.create(collection(namespace), pod("task", hold="running"))
    path = f"{collection(namespace)}/task"
    api.when(path, phase("Running"))
    verdict = {
        "bed.sluice/hold": None,
        "bed.sluice/exit-code": "137",
        "bed.sluice/reason": "OOMKilled",
    }
    api.merge(path, {"metadata": {"annotations": verdict}})
    ended = api.when(path, phase("Failed"))["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


@FAKE
def test_cluster_pod_log_comes_from_a_file(api: Api, namespace: str, tmp_path: Path) -> None:
    """A pod's log is asked of the API server, which asks the kubelet that KWOK plays."""
    lines = tmp_path / "task.log"  # as a container runtime writes it: time, stream, full line
    lines.write_text("2026-11-22T08:15:00.123456789Z stdout F 42 rows\n", encoding="utf-8")
    source: Object = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Logs",
        "metadata": {"name": "task"},
        "spec": {"logs": [{"containers": ["task"], "logsFile": str(lines)}]},
    }
    api.create(f"/apis/kwok.x-k8s.io/v1alpha1/namespaces/{namespace}/logs", source)
    api.create(collection(namespace), pod("task", hold="running"))
    path = f"{collection(namespace)}/task"
    api.when(path, phase("Running"))
    assert api.text("GET", f"{path}/log") == "42 rows\n"


@FAKE
def test_cluster_pod_is_deleted(api: Api, namespace: str) -> None:
    """A running pod that is deleted goes away, as under a kubelet."""
    api.create(collection(namespace), pod("task", hold="running"))
    path = f"{collection(namespace)}/task"
    api.when(path, phase("Running"))
    api.delete(path)
    api.when(collection(namespace), lambda found: found["items"] == [])


def test_cluster_guard_refuses_host_network(api: Api, namespace: str) -> None:
    """A ValidatingAdmissionPolicy refuses a pod on the host's network, where no policy holds."""
    name = f"{namespace}-no-host-network"
    guard: Object = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["pods"],
                    }
                ]
            },
            "validations": [
                {
                    "expression": "!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
                    "message": "tasks do not run on the host's network",
                }
            ],
        },
    }
    label = "kubernetes.io/metadata.name"
    binding: Object = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {label: namespace}}},
        },
    }
    on_host = pod("on-host")
    on_host["spec"]["hostNetwork"] = True
    api.create(f"{GUARDS}/validatingadmissionpolicies", guard)
    api.create(f"{GUARDS}/validatingadmissionpolicybindings", binding)
    try:
        refusal = refused_soon(api, collection(namespace), on_host)
        assert refusal.status == 422
        assert "tasks do not run on the host's network" in refusal.message
        api.create(collection(namespace), pod("ordinary"))
    finally:
        api.delete(f"{GUARDS}/validatingadmissionpolicybindings/{name}")
        api.delete(f"{GUARDS}/validatingadmissionpolicies/{name}")


def refused_soon(api: Api, path: str, wanted: Object, *, tries: int = 100) -> ApiError:
    """Dry-run until it is refused: a new policy takes a moment to reach the admission plug-in."""
    for _ in range(tries):
        try:
            api.create(path, wanted, dryRun="All")
        except ApiError as refusal:
            return refusal
        time.sleep(0.1)
    raise AssertionError(f"still accepted after {tries} tries")


@FAKE
def test_cluster_audit_log_names_the_user(
    api: Api, namespace: str, cluster: dict[str, str]
) -> None:
    """Who created a pod is in the API server's audit log, without the pod's body."""
    if "SLUICE_CLUSTER_AUDIT_LOG" not in cluster:
        pytest.skip("the cluster of KUBECONFIG keeps its audit log to itself")
    api.create(collection(namespace), pod("task"))
    api.when(f"{collection(namespace)}/task", phase("Succeeded"))
    lines = Path(cluster["SLUICE_CLUSTER_AUDIT_LOG"]).read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines if namespace in line and '"create"' in line]
    created = next(event for event in events if event["objectRef"]["resource"] == "pods")
    assert (created["user"]["username"], created["level"]) == ("bed-admin", "Metadata")
    assert "requestObject" not in created
