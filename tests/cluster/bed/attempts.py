"""What attacks on the guard rails have in common: a task's pod as it should be, and refusals.

A refusal counts when it is the one that was meant: each names its guard, or says that RBAC knows no
such right. A pod that is refused because something else is wrong with it would prove nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from gateway.cluster.marks import DECISION_ID, LAUNCH_ID, PLAN_DIGEST, TASK, pod_name
from gateway.cluster.pods import PodOrder, PodShape, ReadOnlyVolume, SecretVariable

from .api import ApiError, Object
from .installation import TASKS

PROFILE = f"p-{32 * '7'}"
PODS = f"/api/v1/namespaces/{TASKS}/pods"
POLICIES = f"/apis/cilium.io/v2/namespaces/{TASKS}/ciliumnetworkpolicies"
IMAGE = f"registry.example.com/tasks@sha256:{64 * '1'}"


def task_pod(
    namespace: str = TASKS,
    *,
    canary: bool = False,
    workspace: str | None = None,
    variables: tuple[SecretVariable, ...] = (),
    volumes: tuple[ReadOnlyVolume, ...] = (),
    **wish: str,
) -> Object:
    """Return a pod as the gateway makes it, of a launch of its own.

    ``workspace`` is a path in a claim, where ``{launch}`` stands for the launch. ``wish`` is for a
    fake node, as in ``objects.pod``.
    """
    launch, task = str(uuid.uuid4()), 64 * "a"
    wishes = {f"bed.sluice/{key.replace('_', '-')}": value for key, value in wish.items()}
    shape = PodShape(
        namespace=namespace,
        service_account="sluice-task",
        image=IMAGE,
        guest=f"sluice-guest-{64 * '2'}",
        code=f"sluice-code-{64 * '3'}",
        cpu="500m",
        memory="1Gi",
        longest_seconds=3600,
        workspace=("workspaces", workspace.format(launch=launch)) if workspace else None,
        variables=variables,
        volumes=volumes,
        canary=(IMAGE, {"v": 1, "mode": "canary"}) if canary else None,
    )
    order = PodOrder(
        name=pod_name(launch, task, 1),
        profile=PROFILE,
        annotations={
            LAUNCH_ID: launch,
            TASK: task,
            DECISION_ID: str(uuid.uuid4()),
            PLAN_DIGEST: 64 * "4",
            **wishes,
        },
        shape=shape,
        payload={"v": 1},
        masked=True,
    )
    return order.manifest()


def refused(call: Callable[[], object], guard: str, says: str) -> None:
    """Hold that a guard refuses a call, and with which words."""
    with pytest.raises(ApiError) as error:
        call()
    found = error.value
    assert (found.status, found.reason) == (403, "Forbidden"), found
    denied = f"ValidatingAdmissionPolicy '{guard}' with binding '{guard}' denied request: sluice: "
    assert denied in found.message, found
    assert says in found.message.partition(denied)[2], found


def no_right(call: Callable[[], object], verb: str, resource: str) -> None:
    """Hold that RBAC knows no such right."""
    with pytest.raises(ApiError) as error:
        call()
    assert error.value.status == 403, error.value
    assert f'cannot {verb} resource "{resource}"' in error.value.message, error.value
