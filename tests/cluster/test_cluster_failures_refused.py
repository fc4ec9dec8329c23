"""What the cluster refuses to make is a failure in its own words: quotas, rights, guard rails.

Each test watches beside the gateway: no task ever has two living pods, and none is left behind.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import pytest
import yaml
from bed.api import Api, ApiError
from failures_bed import TWICE, Rigs, once, quota, room
from pods_bed import RUNS, PodRig, rig

from gateway.runs.events import RunEvent, TaskStarted

pytestmark = pytest.mark.usefixtures("fake_nodes")


async def test_quota(runs: PodRig, namespace: str) -> None:
    """A used-up quota is a failure with the quota's name, and no pod is left waiting for it."""
    runs.hook = once(TaskStarted, partial(asyncio.to_thread, quota, runs.api, namespace, pods=0))
    end = await runs.play("")
    assert end.status == "failed"
    assert "the quota of the tasks' namespace is used up: " in runs.failures[0]
    assert "exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0" in end.reason
    assert (runs.witness.attempts(), len(runs.failures)) == (0, TWICE)


async def test_quota_that_has_room_again(runs: PodRig, namespace: str) -> None:
    """The retry finds room."""

    async def make_room(event: RunEvent) -> None:
        if isinstance(event, TaskStarted) and event.attempt == 1:
            await asyncio.to_thread(quota, runs.api, namespace, pods=0)
        elif isinstance(event, TaskStarted):
            await asyncio.to_thread(room, runs.api, namespace, 5)

    runs.hook = make_room
    assert (await runs.play("")).status == "succeeded"
    assert len(runs.failures) == 1


async def test_question_that_finds_no_room_is_asked_again(rigs: Rigs, namespace: str) -> None:
    """What is complete already is asked in a pod too, and no less patiently."""
    async with rigs(runs=RUNS.model_copy(update={"retry_delay_seconds": 3.0})) as runs:
        quota(runs.api, namespace, pods=0)
        order = await runs.order(play="")
        await runs.supervisor.start(order)
        await asyncio.sleep(2)
        room(runs.api, namespace, 5)
        end = await runs.end(order)
        assert (end.status, runs.failures) == ("succeeded", [])


async def test_limit_range(runs: PodRig, namespace: str) -> None:
    """A namespace's LimitRange refuses in its own words."""
    limit = {"type": "Container", "max": {"cpu": "50m"}}
    runs.api.create(
        f"/api/v1/namespaces/{namespace}/limitranges",
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "small"},
            "spec": {"limits": [limit]},
        },
    )
    end = await runs.play("", tries="1")
    assert "a rule of the tasks' namespace refuses the pod: " in end.reason
    assert "maximum cpu usage per Container is 50m" in end.reason


async def test_guard_rails_refuse(runs: PodRig, namespace: str) -> None:
    """An admission policy's refusal is told as one, with its message."""
    _guard(runs.api, namespace, "tasks have to be small")
    try:
        end = await runs.play("", tries="1")
    finally:
        _guard(runs.api, namespace, None)
    assert "the cluster's guard rails refuse the pod: " in end.reason
    assert "tasks have to be small" in end.reason


async def test_no_rights(
    runs: PodRig, namespace: str, tmp_path: Path, cluster: dict[str, str]
) -> None:
    """An account that may look and not make says that it may not."""
    kubeconfig = _onlooker(runs.api, namespace, Path(cluster["KUBECONFIG"]), tmp_path)
    async with rig(
        runs.api, kubeconfig, namespace, tmp_path / "other", eyes=Path(cluster["KUBECONFIG"])
    ) as other:
        order = await other.order()
        end = await other.carry(order)
    assert end.status == "failed"
    assert "is forbidden" in end.reason


def _guard(api: Api, namespace: str, message: str | None) -> None:
    """Refuse all pods of a namespace with a message, or no longer."""
    group = "/apis/admissionregistration.k8s.io/v1"
    if message is None:
        api.delete(f"{group}/validatingadmissionpolicybindings/{namespace}")
        api.delete(f"{group}/validatingadmissionpolicies/{namespace}")
        return
    version, meta = "admissionregistration.k8s.io/v1", {"name": namespace}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    policy = {
        "apiVersion": version,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": meta,
        "spec": {
            "matchConstraints": {"resourceRules": [{**rule, "resources": ["pods"]}]},
            "validations": [
                {"expression": "object.metadata.name.contains('-probe-')", "message": message}
            ],
        },
    }
    home = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    binding = {
        "apiVersion": version,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": meta,
        "spec": {
            "policyName": namespace,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": home},
        },
    }
    api.create(f"{group}/validatingadmissionpolicies", policy)
    api.create(f"{group}/validatingadmissionpolicybindings", binding)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "try"},
        "spec": {"containers": [{"name": "x", "image": "x"}]},
    }
    for _ in range(100):
        try:
            api.create(f"/api/v1/namespaces/{namespace}/pods", pod, dryRun="All")
        except ApiError:
            return
        time.sleep(0.1)
    raise TimeoutError("the guard does not stand")


def _onlooker(api: Api, namespace: str, kubeconfig: Path, folder: Path) -> Path:
    """Return a kubeconfig of an account that may read pods and ConfigMaps, and make the latter."""
    rights = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create"]},
    ]
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": "looks"}}
    api.create(f"{rights}/roles", {**role, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    binding = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": {"name": "looks"}}
    ref = {"apiGroup": group, "kind": "Role", "name": "looks"}
    api.create(f"{rights}/rolebindings", {**binding, "roleRef": ref, "subjects": [subject]})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    token = api.create(path, request)["status"]["token"]
    value = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    for user in value["users"]:
        user["user"] = {"token": token}
    copy = folder / "onlooker.kubeconfig"
    copy.write_text(yaml.safe_dump(value), encoding="utf-8")
    return copy
