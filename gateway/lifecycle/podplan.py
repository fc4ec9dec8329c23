"""What a launch's pods get beside their tasks: planned from the catalogue, then read off the plan.

Planned once, frozen in the plan that people approve, and compared when the run begins: neither the
pipeline's author nor a catalogue that changed meanwhile decides anything of a pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.canonical import Json
from gateway.cluster.pods import ReadOnlyVolume, SecretVariable
from gateway.lifecycle.warrant import Warrant
from gateway.policy.data import Pipeline
from gateway.runs.executor import PodPlan
from gateway.settings import ClusterSettings


def planned_pod(pipeline: Pipeline, cluster: ClusterSettings) -> dict[str, Json] | None:
    """Return the plan's word on pods; None where tasks are local processes."""
    if not cluster.enabled:
        return None
    keep = pipeline.workspace.keep
    return {
        "image": pipeline.image or cluster.image,
        "folder": pipeline.source if pipeline.in_image else None,
        "cpu": pipeline.pod.cpu,
        "memory": pipeline.pod.memory,
        "workspace": f"pipelines/{pipeline.name}" if keep else "runs",
        "secrets": [secret.to_json() for secret in pipeline.pod.secrets],
        "volumes": [volume.to_json() for volume in pipeline.pod.volumes],
    }


def pod_plan(warrant: Warrant) -> PodPlan | None:
    """Return what an executor needs, from the plan that was decided."""
    pod: Mapping[str, Any] | None = warrant.plan["pod"]
    if pod is None:
        return None
    workspace = str(pod["workspace"])
    return PodPlan(
        profiles={
            tuple(egress.split(",")) if egress else (): str(name)
            for egress, name in warrant.plan["reach"].items()
        },
        decision_id=warrant.decision_id,
        plan_digest=str(warrant.plan["plan_digest"]),
        image=str(pod["image"]),
        folder=pod["folder"],
        cpu=str(pod["cpu"]),
        memory=str(pod["memory"]),
        workspace=f"runs/{warrant.launch_id}" if workspace == "runs" else workspace,
        variables=tuple(
            SecretVariable(item["env"], item["secret"], item["key"]) for item in pod["secrets"]
        ),
        volumes=tuple(ReadOnlyVolume(item["claim"], item["mount"]) for item in pod["volumes"]),
    )
