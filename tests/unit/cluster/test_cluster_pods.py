"""The pod that the API server gets, and whether another one is the same."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.cluster.pods import PodOrder, PodShape, ReadOnlyVolume, SecretVariable, is_same

SHAPE = PodShape(
    namespace="tasks",
    service_account="nobody",
    image=f"x@sha256:{'1' * 64}",
    guest="sluice-guest-1",
    code="sluice-code-1",
    cpu="100m",
    memory="64Mi",
    longest_seconds=600,
)
ORDER = PodOrder("name", "p-1", {"sluice/task": "t"}, SHAPE, {"v": 1, "word": "hush-hush"})


def as_served(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a pod as the API server gives it back: with defaults, and without what is empty."""
    found = copy.deepcopy(manifest)
    found["metadata"]["uid"] = "u"
    found["metadata"]["labels"]["topology.kubernetes.io/zone"] = "a"
    found["spec"]["schedulerName"] = "default-scheduler"
    for container in found["spec"]["containers"]:
        container["resources"]["claims"] = []
        if not container["env"]:
            del container["env"]
    return found


def test_what_every_pod_is() -> None:
    """Non-root, read-only, without privileges, token or service links; one label; our command."""
    pod = ORDER.manifest()
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert pod["metadata"]["labels"] == {"sluice/profile": "p-1"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["dnsConfig"]["options"] == [{"name": "ndots", "value": "1"}]
    assert container["command"] == ["python3", "-I", "-B", "/sluice/guest.pyz"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"] == container["resources"]["requests"]


def test_masked_payload_is_in_the_secret_alone() -> None:
    """Nothing of it is in the pod: no variable, no annotation, no argument."""
    masked = replace(ORDER, masked=True)
    assert "hush-hush" in json.dumps(ORDER.manifest())
    assert "hush-hush" not in json.dumps(masked.manifest())
    secret = masked.secret("the-uid", bytes(32))
    assert "hush-hush" in secret["stringData"]["task.json"]
    assert secret["immutable"] is True
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "name", "the-uid")
    assert "hush-hush" not in repr(masked)


def test_large_payload_goes_by_a_secret() -> None:
    """What does not fit into a variable does not go into one."""
    assert not ORDER.by_secret
    assert replace(ORDER, payload={"v": "x" * 40_000}).by_secret


@pytest.mark.parametrize("masked", [True, False])
def test_a_pod_is_the_same_as_itself_served(*, masked: bool) -> None:
    """Defaults, the node's topology and left out empty fields change nothing."""
    shape = replace(
        SHAPE,
        variables=(SecretVariable("A", "s", "k"),) if not masked else (),
        volumes=(ReadOnlyVolume("claim", "/data"),),
        workspace=("claim", "runs/1"),
        canary=("image", {"v": 1}),
    )
    manifest = replace(ORDER, shape=shape, masked=masked).manifest()
    assert is_same(manifest, as_served(manifest))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        return [p for key, item in value.items() for p in _paths(item, (*path, key))]
    if isinstance(value, list) and value:
        return [p for index, item in enumerate(value) for p in _paths(item, (*path, index))]
    return [path]


OURS = [path for path in _paths(ORDER.manifest()) if path[0] == "spec" or len(path) > 2]


@pytest.mark.parametrize("path", OURS, ids=str)
def test_a_change_anywhere_makes_another_pod(path: tuple[Any, ...]) -> None:
    """Whichever value of ours differs, the pod is not the one that was approved."""
    found = as_served(ORDER.manifest())
    place = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = "changed"
    assert not is_same(ORDER.manifest(), found)


def test_an_older_gateways_pod_is_the_same() -> None:
    """After an upgrade, and whether or not the canary is alive now, a living pod is taken up."""
    found = as_served(ORDER.manifest())
    found["spec"]["volumes"][0]["configMap"]["name"] = "sluice-guest-0"
    assert is_same(ORDER.manifest(), found)
    watched = replace(ORDER, shape=replace(SHAPE, canary=("x", {"v": 1}))).manifest()
    assert is_same(watched, found)
    found["spec"]["initContainers"] = watched["spec"]["initContainers"]
    assert is_same(ORDER.manifest(), found)
    found["spec"]["initContainers"][0]["name"] = "stranger"
    assert not is_same(ORDER.manifest(), found)


@pytest.mark.parametrize("field", ["hostNetwork", "hostPID", "hostIPC"])
def test_a_pod_of_the_host_is_another_pod(field: str) -> None:
    """What we never ask for is not there."""
    found = as_served(ORDER.manifest())
    found["spec"][field] = True
    assert not is_same(ORDER.manifest(), found)


@pytest.mark.parametrize("kind", ["containers", "volumes"])
def test_one_more_of_anything_makes_another_pod(kind: str) -> None:
    """A second container, or another volume, was slipped in."""
    found = as_served(ORDER.manifest())
    found["spec"][kind].append({"name": "more"})
    assert not is_same(ORDER.manifest(), found)


def test_a_second_label_makes_another_pod() -> None:
    """Another label is another identity; so is ours on a pod that lacks it."""
    found = as_served(ORDER.manifest())
    found["metadata"]["labels"]["app"] = "web"
    assert not is_same(ORDER.manifest(), found)
    assert not is_same(ORDER.manifest(), {"metadata": {}, "spec": found["spec"]})


def test_what_is_empty_is_left_out_by_the_server() -> None:
    """An empty list of ours is no list of the server's; a full one of the server's is a change."""
    wanted = ORDER.manifest()
    wanted["spec"]["containers"][0]["env"] = []
    found = as_served(wanted)
    assert "env" not in found["spec"]["containers"][0]
    assert is_same(wanted, found)
    found["spec"]["containers"][0]["env"] = [{"name": "X", "value": "slipped in"}]
    assert not is_same(wanted, found)
