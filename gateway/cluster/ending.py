"""What became of a pod, in words: read off its status, which the kubelet and controllers write.

Only the API server's word ends a pod here. One on a node that went silent is still running: it has
ended when its status says so, or when it is gone from the server (its node came back, or an
operator said that it will not: an ``out-of-service`` taint, a forced deletion).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.cluster.expansion import MessageError
from gateway.cluster.message import parse_canary
from gateway.cluster.pods import CANARY, CONTAINER

Status = Mapping[str, Any]

_ENDED = ("Succeeded", "Failed")
_TEXT = 500
_KILLED = 137
_ALLOWED_EXIT = (0,)

# Why a container does not start and, but for luck, never will (kubelet, pkg/kubelet/images and
# kuberuntime): the first group may be a registry's bad minute.
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ErrImageNeverPull",
             "InvalidImageName", "ImageInspectError", "SignatureValidationFailed")  # fmt: skip
_NO_CONTAINER = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")

# Conditions of type DisruptionTarget (Kubernetes, "Pod disruption conditions").
_DISRUPTIONS = {
    "PreemptionByScheduler": "a more important pod took its place",
    "DeletionByTaintManager": "its node was lost or told to take no pods",
    "EvictionByEvictionAPI": "it was evicted through the API",
    "DeletionByPodGC": "its node is gone from the cluster",
    "TerminationByKubelet": "its node evicted it or was shut down",
}


@dataclass(frozen=True, slots=True)
class PodEnd:
    """How a pod ended. ``failure`` is empty when its process ended by itself, with status 0.

    ``message`` is what the process left behind: untrusted, at most 4,096 bytes by the kubelet.
    """

    message: str = ""
    failure: str = ""
    ran: bool = False  # whether its process ever began, so that there may be a log
    key: bytes | None = field(default=None, repr=False)  # under which a graph in its log is sealed


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod has not begun. ``image``: its image cannot be had."""

    reason: str
    image: bool = False


def has_ended(pod: Status) -> bool:
    """Whether the API server says that no process of it lives."""
    return _status(pod).get("phase") in _ENDED


def has_begun(pod: Status) -> bool:
    """Whether the task's own process runs, or ran."""
    state = _state(pod)
    return "running" in state or "terminated" in state


def end_of(pod: Status) -> PodEnd:
    """Return how a pod ended, from the last that was seen of it.

    For a pod that has ended, or one that is gone from the API server.
    """
    status, ended = _status(pod), _state(pod).get("terminated") or {}
    message = str(ended.get("message") or "")
    ran = bool(ended) or has_begun(pod)
    if _status(pod).get("phase") == "Succeeded":
        return PodEnd(message, "", ran=ran)
    why = _canary_said(pod) or _disruption(status) or _pods_own(status) or _containers(pod, ended)
    if not has_ended(pod):
        lost = why or "nobody knows why"
        return PodEnd(message, f"its pod was deleted before it ended by itself: {lost}", ran=ran)
    return PodEnd(message, why or "its pod failed, and the cluster does not say why", ran=ran)


def trouble(pod: Status) -> Trouble:
    """Return why a pod waits."""
    for container in (*_statuses(pod, "initContainerStatuses"), *_statuses(pod)):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        said = _cut(waiting.get("message"))
        if reason in _NO_IMAGE:
            image = _cut(container.get("image"))
            return Trouble(f"its image {image} cannot be had ({reason}): {said}", image=True)
        if reason in _NO_CONTAINER:
            return Trouble(f"its container cannot be made ({reason}): {said}")
    for condition in _status(pod).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return Trouble(f"no node takes it: {_cut(condition.get('message'))}")
    node = (pod.get("spec") or {}).get("nodeName")
    return Trouble(f"its node {node} has not started it" if node else "no node was found for it")


def refused(reason: str, message: str) -> str:
    """Return why the API server did not make a pod, in words."""
    if "exceeded quota" in message:
        return f"the quota of the tasks' namespace is used up: {_cut(message)}"
    if "ValidatingAdmissionPolicy" in message or "PodSecurity" in message:
        return f"the cluster's guard rails refuse the pod: {_cut(message)}"
    if "cannot create resource" in message:
        return f"the gateway's account may not make the pod: {_cut(message)}"
    if reason == "Forbidden":
        return f"a rule of the tasks' namespace refuses the pod: {_cut(message)}"
    return f"the cluster refuses the pod ({reason or 'no reason'}): {_cut(message)}"


def _canary_said(pod: Status) -> str:
    for container in _statuses(pod, "initContainerStatuses"):
        ended = (container.get("state") or {}).get("terminated") or {}
        if container.get("name") == CANARY and ended.get("exitCode") not in (None, *_ALLOWED_EXIT):
            node = (pod.get("spec") or {}).get("nodeName")
            if _reached(ended):
                why = "no policy is in force there; look at its Cilium agent"
                return f"the canary could be reached from node {node}: {why}"
            said = _cut(ended.get("message") or ended.get("reason"))
            return (
                f"the canary's probe did not end well on node {node}, so it is not known whether "
                f"policy is in force there: {said}"
            )
    return ""


def _reached(ended: Status) -> bool:
    """Whether the probe itself says so, and not the kubelet that something befell it."""
    try:
        return parse_canary(ended.get("message"))
    except MessageError:
        return False


def _disruption(status: Status) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            reason = str(condition.get("reason") or "")
            return f"{_DISRUPTIONS.get(reason, reason)} ({_cut(condition.get('message'))})"
    return ""


def _pods_own(status: Status) -> str:
    reason, message = str(status.get("reason") or ""), _cut(status.get("message"))
    if reason == "Evicted":
        return f"its node evicted it: {message}"
    if reason == "DeadlineExceeded":
        return "it ran longer than the cluster lets any task run (cluster.longest_seconds)"
    return f"{reason}: {message}" if reason else ""


def _containers(pod: Status, ended: Status) -> str:
    if not ended:
        return ""
    reason, code = str(ended.get("reason") or ""), ended.get("exitCode")
    if reason == "OOMKilled":
        limit = _memory(pod)
        return f"it used more memory than its limit{f' of {limit}' if limit else ''}"
    if code == _KILLED:
        return "its process was killed (signal 9)"
    if reason in ("StartError", "ContainerCannotRun"):
        return f"its process could not be started: {_cut(ended.get('message'))}"
    return f"its process ended with exit code {code}" if code else ""


def _memory(pod: Status) -> str:
    for container in (pod.get("spec") or {}).get("containers") or ():
        if container.get("name") == CONTAINER:
            return str(((container.get("resources") or {}).get("limits") or {}).get("memory") or "")
    return ""


def _status(pod: Status) -> Status:
    return pod.get("status") or {}


def _statuses(pod: Status, kind: str = "containerStatuses") -> list[Status]:
    return list(_status(pod).get(kind) or ())


def _state(pod: Status) -> Status:
    for container in _statuses(pod):
        if container.get("name") == CONTAINER:
            return container.get("state") or {}
    return {}


def _cut(text: object) -> str:
    said = str(text or "").strip()
    return said if len(said) <= _TEXT else f"{said[:_TEXT]}..."
