"""Objects and questions that several tests of the cluster need."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .api import Object

PROFILES = "ciliumnetworkpolicies"


def collection(namespace: str, kind: str = "pods") -> str:
    """Return the path of a collection in a namespace."""
    group = "apis/cilium.io/v2" if kind == PROFILES else "api/v1"
    return f"/{group}/namespaces/{namespace}/{kind}"


def pod(name: str, nodes: str = "kwok", command: Sequence[str] = ("true",), **wish: str) -> Object:
    """Return one task's pod, as small as it gets, for fake nodes (``kwok``) or real (``kubelet``).

    What a fake node is asked to play (``exit_code="3"``) is in manifests/kwok-stages.yaml.
    """
    wishes = {f"bed.sluice/{key.replace('_', '-')}": value for key, value in wish.items()}
    task = {"name": "task", "image": "sluice.test/task:1", "command": list(command)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": wishes},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "nodeSelector": {"type": nodes},
            "containers": [{**task, "imagePullPolicy": "Never"}],
        },
    }


def phase(*names: str) -> Callable[[Object], bool]:
    """Return a question for ``Api.when``: whether the pod is in one of these phases."""
    return lambda found: found["status"].get("phase") in names


def ended(found: Object) -> Object:
    """Return how the only container of a pod ended."""
    state: Object = found["status"]["containerStatuses"][0]["state"]["terminated"]
    return state
