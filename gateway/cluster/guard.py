"""Tries what is forbidden, as dry runs: while all of it is refused, the guard rails stand.

Each attempt is one of our own objects but for one thing, to which nothing but the guard that is
meant objects; so the words of that very guard are looked for. Nothing is ever made or changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.cluster.client import ClusterAway, ClusterClient, ClusterRefused
from gateway.cluster.ending import has_ended
from gateway.cluster.marks import (
    DECISION_ID,
    LAUNCH_ID,
    PLAN_DIGEST,
    PROFILE_LABEL,
    TASK,
    pod_name,
)
from gateway.cluster.pods import Manifest, PodOrder, PodShape
from gateway.cluster.running import Pods
from gateway.settings import ClusterSettings

_GUARD = "guard"
_NOBODY = "00000000-0000-0000-0000-000000000000"
_PROFILE = f"p-{'0' * 32}"
_IMAGE = f"forbidden@sha256:{'0' * 64}"
_FORBIDDEN = 403
_OF_LIVING = "sluice-pods-that-exist"
_STARTING = "not yet ready to handle request"


async def try_forbidden(
    runner: ClusterClient, binder: ClusterClient, pods: Pods, settings: ClusterSettings
) -> str:
    """Return what is wrong with the guard rails; empty while they hold.

    A pod with a second label, a profile that reaches the whole world, and, where a pod lives, a
    change of its label. Raises ``ClusterAway`` when nobody answers.
    """
    space = f"namespaces/{settings.namespace}"
    living = [name for name, pod in pods.seen.items() if not has_ended(pod)]
    attempts: list[tuple[str, str, Callable[[], Awaitable[object]]]] = [
        (
            "sluice-pods",
            "a pod with a second label",
            lambda: runner.create(f"/api/v1/{space}/pods", forbidden_pod(settings), dry_run=True),
        ),
        (
            "sluice-profiles",
            "a profile that reaches the whole world",
            lambda: binder.create(
                f"/apis/cilium.io/v2/{space}/ciliumnetworkpolicies",
                forbidden_profile(settings),
                dry_run=True,
            ),
        ),
    ]
    if living:
        label = {"metadata": {"labels": {PROFILE_LABEL: _PROFILE}}}
        attempts.append(
            (
                _OF_LIVING,
                "a change of a pod's label",
                lambda: runner.merge(f"/api/v1/{space}/pods/{living[0]}", label, dry_run=True),
            )
        )
    for guard, what, attempt in attempts:
        if wrong := await _wrong(guard, what, attempt):
            return wrong
    return ""


async def _wrong(guard: str, what: str, attempt: Callable[[], Awaitable[object]]) -> str:
    """Return why an attempt was not refused by its guard; empty when it was."""
    words = f"ValidatingAdmissionPolicy '{guard}' with binding '{guard}' denied request: sluice: "
    try:
        await attempt()
    except ClusterRefused as error:
        if error.http_status == _FORBIDDEN and words in error.message:
            return ""
        if error.missing and guard == _OF_LIVING:
            return ""  # the pod has gone while it was asked about
        if _STARTING in error.message:
            raise ClusterAway("cluster_starting", "the API server is just starting") from error
        return f"{what} was refused, but not by the guard {guard}: {error.message}"
    return f"{what} would be accepted; apply deploy/ again"


def forbidden_pod(settings: ClusterSettings) -> Manifest:
    """Return a pod that wears a second label."""
    shape = PodShape(
        namespace=settings.namespace,
        service_account=settings.service_account,
        image=settings.image or _IMAGE,
        guest="sluice-guest-none",
        code=None,
        cpu="100m",
        memory="64Mi",
        longest_seconds=settings.longest_seconds,
    )
    notes = {LAUNCH_ID: _NOBODY, TASK: _GUARD, DECISION_ID: _GUARD, PLAN_DIGEST: _GUARD}
    order = PodOrder(pod_name(_NOBODY, _GUARD, 1), _PROFILE, notes, shape, {"v": 1})
    pod = order.manifest()
    pod["metadata"]["labels"]["sluice/forbidden"] = "tried"
    return pod


def forbidden_profile(settings: ClusterSettings) -> Manifest:
    """Return a profile that reaches everything outside the cluster."""
    ports = [{"ports": [{"port": "443", "protocol": "TCP"}]}]
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": f"sluice-{_PROFILE}", "namespace": settings.namespace},
        "spec": {
            "endpointSelector": {"matchLabels": {PROFILE_LABEL: _PROFILE}},
            "ingress": [{}],
            "egress": [{"toEntities": ["world"], "toPorts": ports}],
        },
    }
