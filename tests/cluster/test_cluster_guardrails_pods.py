"""Which pods may come to be in the tasks' namespace, tried on the real API server.

Each attempt differs from a good pod in one thing, so that it is that thing which is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from bed.api import ApiError
from bed.attempts import IMAGE, PODS, refused, task_pod
from bed.installation import Installation

from gateway.cluster.pods import ReadOnlyVolume, SecretVariable

Pod = dict[str, Any]
Change = Callable[[Pod], object]
GUARD = "sluice-pods"

ONE_LABEL = "wears one label, sluice/profile"
ANNOTATIONS = "four annotations"
NAME = "the name of a task's pod is made of"
NETWORK = "asks the cluster's network plug-ins for nothing"
OWNER = "no owner and no finalizer"
ACCOUNT = "wears the account sluice-task, and no token"
DNS = "asks the cluster's DNS"
CONTAINERS = "one container, task, and before it at most canary"
COMMAND = "runs /sluice/guest.pyz and nothing else"
DIGEST = "image is named by its digest"
CONTEXT = "security context has fields that no task needs"
USER = "runs as user 65532"
PRIVILEGES = "no privileges, and no way to gain any"
SECCOMP = "runs under the runtime's seccomp profile"
READ_ONLY = "cannot write to its image's files"
VOLUMES = "volumes are config maps, secrets, claims and empty folders"
MOUNTS = "mounts its own secret, and config maps of the gateway"
VARIABLES = "variables come from no attempt's secret, and from nothing but secrets"
CLAIMS = "writes to no claim but the workspace's, and there to its own folder"


def meta(**fields: Any) -> Change:
    """Set fields of the metadata."""
    return lambda pod: pod["metadata"].update(fields)


def notes(**fields: str | None) -> Change:
    """Set annotations, or take them away; ``__`` is a slash, ``_`` a dash."""

    def change(pod: Pod) -> None:
        for name, value in fields.items():
            key = name.replace("__", "/").replace("_", "-")
            if value is None:
                del pod["metadata"]["annotations"][key]
            else:
                pod["metadata"]["annotations"][key] = value

    return change


def note(key: str) -> Change:
    """Add an annotation."""
    return lambda pod: pod["metadata"]["annotations"].update({key: "x"})


def spec(**fields: Any) -> Change:
    """Set fields of the specification."""
    return lambda pod: pod["spec"].update(fields)


def without(*path: str) -> Change:
    """Take a field of the specification away."""

    def change(pod: Pod) -> None:
        at = pod["spec"]
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]

    return change


def task(**fields: Any) -> Change:
    """Set fields of the container."""
    return lambda pod: pod["spec"]["containers"][0].update(fields)


def context(**fields: Any) -> Change:
    """Set fields of the container's security context."""
    return lambda pod: pod["spec"]["containers"][0]["securityContext"].update(fields)


def pod_context(**fields: Any) -> Change:
    """Set fields of the pod's security context."""
    return lambda pod: pod["spec"]["securityContext"].update(fields)


def volume(**source: Any) -> Change:
    """Add a volume."""
    return lambda pod: pod["spec"]["volumes"].append({"name": "more", **source})


def variable(**source: Any) -> Change:
    """Add a variable whose value is somewhere else."""
    return lambda pod: pod["spec"]["containers"][0]["env"].append(
        {"name": "X", "valueFrom": source}
    )


def claim(name: str, path: str, mount: Pod, **source: Any) -> Change:
    """Mount a claim, in place of a volume of that name."""

    def change(pod: Pod) -> None:
        spec, container = pod["spec"], pod["spec"]["containers"][0]
        for items in (spec["volumes"], container["volumeMounts"]):
            items[:] = [item for item in items if item["name"] != name]
        asked = {"claimName": "disk", **source}
        spec["volumes"].append({"name": name, "persistentVolumeClaim": asked})
        container["volumeMounts"].append({"name": name, "mountPath": path, **mount})

    return change


def beside(**fields: Any) -> Change:
    """Add a container beside the task's, as good as that one."""

    def change(pod: Pod) -> None:
        containers = pod["spec"]["containers"]
        containers.append({**copy.deepcopy(containers[0]), "name": "sidecar", **fields})

    return change


def before(**fields: Any) -> Change:
    """Add an init container, as good as the task's."""

    def change(pod: Pod) -> None:
        good = copy.deepcopy(pod["spec"]["containers"][0])
        pod["spec"].setdefault("initContainers", []).append({**good, "name": "canary", **fields})

    return change


def device(pod: Pod) -> None:
    """Give the container a claim as a raw device."""
    volume(persistentVolumeClaim={"claimName": "disk"})(pod)
    task(volumeDevices=[{"name": "more", "devicePath": "/dev/x"}])(pod)


def name_ends(end: str) -> Change:
    """Write another attempt in the name."""
    return lambda pod: pod["metadata"].update(name=pod["metadata"]["name"][:-1] + end)


def sets(name: str) -> str:
    """What is said of a field that no task's pod has."""
    return f"does not set {name}"


ATTEMPTS: dict[str, tuple[Change, str]] = {
    "no label": (meta(labels={}), ONE_LABEL),
    "foreign label": (meta(labels={"app": "web"}), ONE_LABEL),
    "second label": (meta(labels={"sluice/profile": f"p-{32 * '7'}", "app": "web"}), ONE_LABEL),
    "label cut": (meta(labels={"sluice/profile": "cut"}), ONE_LABEL),
    "label of no profile": (meta(labels={"sluice/profile": "p-7"}), ONE_LABEL),
    "label with a tail": (meta(labels={"sluice/profile": f"p-{33 * '7'}"}), ONE_LABEL),
    "no launch": (notes(sluice__launch_id=None), ANNOTATIONS),
    "no task": (notes(sluice__task=None), ANNOTATIONS),
    "no decision": (notes(sluice__decision_id=None), ANNOTATIONS),
    "no plan": (notes(sluice__plan_digest=None), ANNOTATIONS),
    "name of no launch": (meta(name="task"), NAME),
    "name of another launch": (meta(name=f"{32 * '0'}-{24 * 'a'}-1"), NAME),
    "launch of another name": (notes(sluice__launch_id=32 * "0"), NAME),
    "task of another name": (notes(sluice__task=64 * "b"), NAME),
    "name without an attempt": (name_ends("x"), NAME),
    "name that ends later": (name_ends("1.web"), NAME),
    "prefix of a name": (meta(generateName="web-"), NAME),
    "second network by Multus": (note("k8s.v1.cni.cncf.io/networks"), NETWORK),
    "first network by Multus": (note("v1.multus-cni.io/default-network"), NETWORK),
    "port without conntrack": (note("policy.cilium.io/no-track-port"), NETWORK),
    "finalizer": (meta(finalizers=["example.com/stay"]), OWNER),
    "owner": (
        meta(ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b"}]),
        OWNER,
    ),
    "host network": (spec(hostNetwork=True), sets("hostNetwork")),
    "host processes": (spec(hostPID=True), sets("hostPID")),
    "host memory": (spec(hostIPC=True), sets("hostIPC")),
    "host users": (spec(hostUsers=True), "host's users"),
    "node chosen": (spec(nodeName="fake-0"), sets("nodeName")),
    "shared processes": (spec(shareProcessNamespace=True), sets("shareProcessNamespace")),
    "host aliases": (
        spec(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["api.example.com"]}]),
        sets("hostAliases"),
    ),
    "scheduling gate": (
        spec(schedulingGates=[{"name": "example.com/wait"}]),
        sets("schedulingGates"),
    ),
    "device claim": (
        spec(resourceClaims=[{"name": "gpu", "resourceClaimName": "gpu"}]),
        sets("resourceClaims"),
    ),
    "other scheduler": (spec(schedulerName="mine"), "placed by the default scheduler"),
    "restarts": (spec(restartPolicy="Always"), "is never restarted"),
    "priority of the system": (spec(priorityClassName="system-node-critical"), "priority"),
    "other account": (spec(serviceAccountName="default"), ACCOUNT),
    "token mounted": (spec(automountServiceAccountToken=True), ACCOUNT),
    "token by default": (without("automountServiceAccountToken"), ACCOUNT),
    "node's DNS": (spec(dnsPolicy="Default"), DNS),
    "DNS server of its own": (spec(dnsConfig={"nameservers": ["192.0.2.53"]}), DNS),
    "sidecar": (beside(), CONTAINERS),
    "container of another name": (task(name="job"), CONTAINERS),
    "init container of another name": (before(name="setup"), CONTAINERS),
    "sidecar that starts first": (before(restartPolicy="Always"), sets("restartPolicy")),
    "arguments": (task(args=["x"]), sets("args")),
    "whole secret as environment": (
        task(envFrom=[{"secretRef": {"name": "others"}}]),
        sets("envFrom"),
    ),
    "port": (task(ports=[{"containerPort": 80}]), sets("ports")),
    "port of the host": (task(ports=[{"containerPort": 80, "hostPort": 80}]), sets("ports")),
    "hook": (task(lifecycle={"postStart": {"exec": {"command": ["sh"]}}}), sets("lifecycle")),
    "probe": (task(livenessProbe={"exec": {"command": ["sh"]}}), sets("livenessProbe")),
    "terminal": (task(tty=True), sets("tty")),
    "device": (device, sets("volumeDevices")),
    "other command": (task(command=["sh", "-c", "true"]), COMMAND),
    "longer command": (task(command=["python3", "-I", "-B", "/sluice/guest.pyz", "x"]), COMMAND),
    "the image's command": (without("containers", 0, "command"), COMMAND),  # type: ignore[arg-type]
    "other command of the canary": (before(command=["sh"]), COMMAND),
    "tag": (task(image="registry.example.com/tasks:1"), DIGEST),
    "no tag": (task(image="registry.example.com/tasks"), DIGEST),
    "short digest": (task(image=IMAGE[:-1]), DIGEST),
    "tag of the canary": (before(image="registry.example.com/tasks:1"), DIGEST),
    "kernel parameter": (
        pod_context(sysctls=[{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]),
        CONTEXT,
    ),
    "other AppArmor profile": (context(appArmorProfile={"type": "Unconfined"}), CONTEXT),
    "root": (context(runAsUser=0), USER),
    "other user": (pod_context(runAsUser=1000), USER),
    "perhaps root": (context(runAsNonRoot=False), USER),
    "root in the canary": (before(securityContext={"runAsUser": 0}), USER),
    "escalation": (context(allowPrivilegeEscalation=True), PRIVILEGES),
    "capabilities kept": (context(capabilities={}), PRIVILEGES),
    "capability": (context(capabilities={"drop": ["ALL"], "add": ["NET_RAW"]}), PRIVILEGES),
    "no seccomp": (context(seccompProfile={"type": "Unconfined"}), SECCOMP),
    "seccomp unsaid": (without("securityContext", "seccompProfile"), SECCOMP),
    "writable image": (context(readOnlyRootFilesystem=False), READ_ONLY),
    "writable image unsaid": (
        without("containers", 0, "securityContext", "readOnlyRootFilesystem"),  # type: ignore[arg-type]
        READ_ONLY,
    ),
    "host path": (volume(hostPath={"path": "/"}), VOLUMES),
    "token as a volume": (
        volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
        VOLUMES,
    ),
    "network file system": (volume(nfs={"server": "192.0.2.1", "path": "/"}), VOLUMES),
    "another's secret": (volume(secret={"secretName": "others"}), MOUNTS),
    "another's config map": (volume(configMap={"name": "others"}), MOUNTS),
    "another attempt's secret as a variable": (
        variable(secretKeyRef={"name": f"{32 * '0'}-{24 * 'a'}-1", "key": "task.json"}),
        VARIABLES,
    ),
    "secret that may be missing": (
        variable(secretKeyRef={"name": "warehouse", "key": "password", "optional": True}),
        VARIABLES,
    ),
    "secret of the canary": (
        before(env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]),
        VARIABLES,
    ),
    "field of the pod": (variable(fieldRef={"fieldPath": "spec.nodeName"}), VARIABLES),
    "resources as a variable": (variable(resourceFieldRef={"resource": "limits.cpu"}), VARIABLES),
    "config map as a variable": (
        variable(configMapKeyRef={"name": "others", "key": "a"}),
        VARIABLES,
    ),
    "file as a variable": (
        variable(fileKeyRef={"volumeName": "tmp", "path": "a", "key": "b"}),
        VARIABLES,
    ),
    "claim to write to": (claim("data-0", "/data/x", {}), CLAIMS),
    "claim mounted to write to": (claim("data-0", "/data/x", {}, readOnly=True), CLAIMS),
    "claim asked for to write to": (claim("data-0", "/data/x", {"readOnly": True}), CLAIMS),
    "whole workspace": (claim("workspace", "/workspace", {}), CLAIMS),
    "another run's workspace": (
        claim("workspace", "/workspace", {"subPath": "runs/00000000-0000-0000-0000-000000000000"}),
        CLAIMS,
    ),
    "all runs' workspaces": (claim("workspace", "/workspace", {"subPath": "runs"}), CLAIMS),
    "all pipelines' workspaces": (
        claim("workspace", "/workspace", {"subPath": "pipelines/"}),
        CLAIMS,
    ),
    "workspace in another place": (
        claim("workspace", "/data/x", {"subPath": "pipelines/other"}),
        CLAIMS,
    ),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_guardrails_refuse_pod(guarded: Installation, attempt: str) -> None:
    """Even the runner cannot create a pod that is not a task's in every respect."""
    change, says = ATTEMPTS[attempt]
    pod = task_pod()
    change(pod)
    refused(lambda: guarded["runner"].create(PODS, pod), GUARD, says)


def test_guardrails_refuse_privileged_pod(guarded: Installation) -> None:
    """By the guard, or before it by a server that has no privileged containers at all."""
    pod = task_pod()
    context(privileged=True, allowPrivilegeEscalation=True)(pod)
    with pytest.raises(ApiError, match=f"{PRIVILEGES}|privileged: Forbidden: disallowed"):
        guarded["runner"].create(PODS, pod)


@pytest.mark.parametrize("who", ["admin", "stranger"])
def test_guardrails_refuse_pod_from(guarded: Installation, who: str) -> None:
    """A pod that does not come from the gateway is refused, and be it as good as the gateway's."""
    refused(lambda: guarded[who].create(PODS, task_pod()), GUARD, "only the gateway's runner")


def test_guardrails_refuse_generated_name(guarded: Installation) -> None:
    """A name that the server completes is not one that the log can explain."""
    pod = task_pod()
    pod["metadata"]["generateName"] = pod["metadata"].pop("name")[:-1]
    pod["spec"]["volumes"] = [v for v in pod["spec"]["volumes"] if "secret" not in v]
    pod["spec"]["containers"][0]["volumeMounts"].pop()
    refused(lambda: guarded["runner"].create(PODS, pod), GUARD, NAME)


@pytest.mark.parametrize("canary", [False, True], ids=["task", "task after canary"])
def test_guardrails_accept_pod(guarded: Installation, canary: bool) -> None:
    """What the gateway makes is accepted, as a dry run, with and without the canary before it."""
    guarded["runner"].create(PODS, task_pod(canary=canary), dryRun="All")


@pytest.mark.parametrize("folder", ["runs/{launch}", "pipelines/city-weather"])
def test_guardrails_accept_all_that_a_policy_gives(guarded: Installation, folder: str) -> None:
    """Nor is anything refused of what policies may grant: secrets, volumes, a shared workspace."""
    pod = task_pod(
        workspace=folder,
        variables=(SecretVariable("PASSWORD", "warehouse", "password"),),
        volumes=(ReadOnlyVolume("reference", "/data/reference"),),
    )
    guarded["runner"].create(PODS, pod, dryRun="All")
