"""A task's pod, as the API server gets it: the gateway alone decides every field of it.

One bare pod for one attempt. Its only label is the network profile. It runs as nobody in
particular, can write to ``/tmp`` and ``/workspace`` alone, has no token, and needs no way back to
us: what it has to do comes with it, what it has to say it leaves in its termination message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.canonical import Json
from gateway.cluster.marks import PROFILE_LABEL

Manifest = dict[str, Any]

COMMAND = ("python3", "-I", "-B", "/sluice/guest.pyz")
CONTAINER = "task"
CANARY = "canary"
USER = (
    65_532  # nobody's account: not root, and not 65534, which kernels give to what they cannot map
)
_LARGEST_ENV = 32_768  # bytes; Linux takes 128 KiB in one variable
_SCRATCH = "1Gi"
_TOPOLOGY = "topology.kubernetes.io/"
_NEVER = ("hostNetwork", "hostPID", "hostIPC", "ephemeralContainers", "resourceClaims")


@dataclass(frozen=True, slots=True)
class SecretVariable:
    """An environment variable that holds one key of a Secret of the namespace."""

    name: str
    secret: str
    key: str

    def manifest(self) -> Manifest:
        """Return the variable as a container has it."""
        return {
            "name": self.name,
            "valueFrom": {"secretKeyRef": {"name": self.secret, "key": self.key}},
        }


@dataclass(frozen=True, slots=True)
class ReadOnlyVolume:
    """A volume claim, mounted so that nothing can be left there."""

    claim: str
    path: str


@dataclass(frozen=True, slots=True)
class PodShape:
    """What all pods of a launch have in common. ``cpu`` and ``memory`` are Kubernetes quantities.

    ``code`` is the ConfigMap of the pipeline's tree, None where the image holds it. ``workspace``
    is a claim and a path in it, None for an empty folder in each pod.
    """

    namespace: str
    service_account: str
    image: str
    guest: str  # ConfigMap of the entry point
    code: str | None
    cpu: str
    memory: str
    longest_seconds: int
    workspace: tuple[str, str] | None = None
    variables: tuple[SecretVariable, ...] = ()
    volumes: tuple[ReadOnlyVolume, ...] = ()
    canary: tuple[str, Mapping[str, Json]] | None = None  # image, and what to try


@dataclass(frozen=True, slots=True)
class PodOrder:
    """One pod: its name, its profile, why it exists, and what its process has to do.

    ``payload`` goes by a Secret of this attempt, and its report comes back sealed, where either
    may hold ``masked`` values, or the payload is large.
    """

    name: str
    profile: str
    annotations: Mapping[str, str]
    shape: PodShape
    payload: Mapping[str, Json] = field(repr=False)
    masked: bool = False
    seconds: float | None = None  # its process may run, besides what the cluster allows to all
    pending_seconds: float = math.inf  # it may wait to begin, besides the same

    @property
    def text(self) -> str:
        """The payload as the process reads it."""
        return json.dumps(self.payload, separators=(",", ":"))

    @property
    def by_secret(self) -> bool:
        """Whether the payload has to go by a Secret."""
        return self.masked or len(self.text) > _LARGEST_ENV

    def manifest(self) -> Manifest:
        """Return the pod."""
        shape, text = self.shape, self.text
        by_secret = self.masked or len(text) > _LARGEST_ENV
        variables: list[Manifest] = [{"name": "HOME", "value": "/tmp"}]  # noqa: S108 -- the pod's own
        variables += [item.manifest() for item in shape.variables]
        if not by_secret:
            variables.append({"name": "SLUICE_TASK", "value": text})
        volumes, mounts = _volumes(shape, self.name if by_secret else None)
        container = {
            "name": CONTAINER,
            "image": shape.image,
            "env": variables,
            "volumeMounts": mounts,
            "workingDir": "/workspace",
            **_process(shape.cpu, shape.memory),
        }
        spec: Manifest = {
            "restartPolicy": "Never",
            "serviceAccountName": shape.service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "activeDeadlineSeconds": shape.longest_seconds,
            "terminationGracePeriodSeconds": 5,
            "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": volumes,
        }
        if shape.canary:
            spec["initContainers"] = [_canary(*shape.canary)]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": shape.namespace,
                "labels": {PROFILE_LABEL: self.profile},
                "annotations": dict(self.annotations),
            },
            "spec": spec,
        }

    def secret(self, pod_uid: str, key: bytes) -> Manifest:
        """Return the Secret of the attempt, which goes when its pod goes: the pod owns it.

        ``key`` is what the pod seals its report with.
        """
        text = json.dumps({**self.payload, "seal": key.hex()}, separators=(",", ":"))
        owner = {"apiVersion": "v1", "kind": "Pod", "name": self.name, "uid": pod_uid}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "immutable": True,
            "metadata": {
                "name": self.name,
                "namespace": self.shape.namespace,
                "ownerReferences": [owner],
            },
            "stringData": {"task.json": text},
        }


def _process(cpu: str, memory: str) -> Manifest:
    resources = {"cpu": cpu, "memory": memory}
    return {
        "command": list(COMMAND),
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _canary(image: str, payload: Mapping[str, Json]) -> Manifest:
    return {
        "name": CANARY,
        "image": image,
        "env": [{"name": "SLUICE_TASK", "value": json.dumps(payload, separators=(",", ":"))}],
        "volumeMounts": [{"name": "guest", "mountPath": "/sluice", "readOnly": True}],
        **_process("100m", "64Mi"),
    }


def _volumes(shape: PodShape, secret: str | None) -> tuple[list[Manifest], list[Manifest]]:
    """Return the volumes of the pod and where its container sees them."""
    volumes: list[Manifest] = [
        {"name": "guest", "configMap": {"name": shape.guest}},
        {"name": "tmp", "emptyDir": {"sizeLimit": _SCRATCH}},
    ]
    mounts: list[Manifest] = [
        {"name": "guest", "mountPath": "/sluice", "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 -- the pod's own
    ]
    workspace: Manifest = {"name": "workspace", "mountPath": "/workspace"}
    if shape.workspace:
        claim, path = shape.workspace
        volumes.append({"name": "workspace", "persistentVolumeClaim": {"claimName": claim}})
        workspace["subPath"] = path
    else:
        volumes.append({"name": "workspace", "emptyDir": {"sizeLimit": _SCRATCH}})
    mounts.append(workspace)
    if shape.code:
        volumes.append({"name": "code", "configMap": {"name": shape.code}})
        mounts.append({"name": "code", "mountPath": "/sluice-code", "readOnly": True})
    if secret:
        volumes.append({"name": "order", "secret": {"secretName": secret, "defaultMode": 0o444}})
        mounts.append({"name": "order", "mountPath": "/sluice-task", "readOnly": True})
    for index, item in enumerate(shape.volumes):
        name, source = f"data-{index}", {"claimName": item.claim, "readOnly": True}
        volumes.append({"name": name, "persistentVolumeClaim": source})
        mounts.append({"name": name, "mountPath": item.path, "readOnly": True})
    return volumes, mounts


def is_same(wanted: Manifest, found: Mapping[str, Any]) -> bool:
    """Whether a pod of the cluster is the one that we would have made.

    The server adds defaults, and from Kubernetes 1.35 on the topology of the node as labels, and
    leaves out what is empty; all else that we say has to be there as we say it. Two things may
    differ, because a newer gateway takes up an older one's pods: the version of the entry point,
    and whether the canary was alive when the pod was made.
    """
    meta, ours = found.get("metadata") or {}, wanted["metadata"]
    labels = {
        name: value
        for name, value in (meta.get("labels") or {}).items()
        if not name.startswith(_TOPOLOGY)
    }
    spec = found.get("spec") or {}
    return (
        labels == ours["labels"]
        and _holds(meta.get("annotations") or {}, ours["annotations"])
        and _holds(_lasting(spec), _lasting(wanted["spec"]))
        and {item.get("name") for item in spec.get("initContainers") or ()} <= {CANARY}
        and not any(spec.get(name) for name in _NEVER)
    )


def _lasting(spec: Mapping[str, Any]) -> Manifest:
    """Return what of a specification is the same for all versions of the gateway."""
    guest = {"name": "guest", "configMap": "of any version"}
    volumes = [guest if _is_guest(item) else item for item in spec.get("volumes") or ()]
    rest = {name: value for name, value in spec.items() if name != "initContainers"}
    return {**rest, "volumes": volumes}


def _is_guest(volume: Mapping[str, Any]) -> bool:
    name = str((volume.get("configMap") or {}).get("name") or "")
    return volume.get("name") == "guest" and name.startswith("sluice-guest-")


def _holds(found: object, wanted: object) -> bool:
    if wanted in ([], {}):
        return not found
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            _holds(found.get(name), value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_holds(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return found == wanted
