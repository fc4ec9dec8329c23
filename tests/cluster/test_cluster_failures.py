"""What goes wrong with pods becomes a failure that a person understands, retried as Luigi says.

Each test watches beside the gateway: no task ever has two living pods, and none is left behind.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api, ApiError
from pods_bed import RUNS, MuteDoor, PodRig, kill_driver, rig, tainted, when

from gateway.runs.events import RunEvent, RunFinished, TaskStarted

pytestmark = pytest.mark.usefixtures("fake_nodes")
HELD = "hold=running"
TWICE = 2  # failures after which Luigi disables a task, as these runs are set

Rigs = Callable[..., AbstractAsyncContextManager[PodRig]]


@pytest.fixture
def rigs(api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path) -> Rigs:
    """Make runs in a namespace of this test, with other settings perhaps."""
    return partial(rig, api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig")


@pytest.fixture
async def runs(rigs: Rigs) -> AsyncIterator[PodRig]:
    """Runs with the usual settings, impatient with pods that do not begin."""
    async with rigs(pending_seconds=1.5, pull_seconds=0.3) as made:
        yield made


ENDS = {
    "exit code": ("exit-code=3", "its process ended with exit code 3"),
    "signal": ("exit-code=137", "its process was killed (signal 9)"),
    "memory": (
        "exit-code=137,reason=OOMKilled",
        "it used more memory than its limit of 64Mi",
    ),
    "eviction by its node": (
        "pod-reason=Evicted,pod-message=The node was low on resource: memory.",
        "its node evicted it: The node was low on resource: memory.",
    ),
    "the cluster's own time limit": (
        "pod-reason=DeadlineExceeded",
        "it ran longer than the cluster lets any task run (cluster.longest_seconds)",
    ),
    "nonsense": ("message=well well", "its report is not JSON"),
    "silence": ("message= ", "its report is not JSON"),
    "no such program": (
        "exit-code=128,reason=StartError,message=exec: python3: not found",
        "its process could not be started: exec: python3: not found",
    ),
}
WAITS = {
    "pull": (
        "ErrImagePull",
        "not found",
        "its image IMAGE cannot be had (ErrImagePull): not found",
    ),
    "back-off": ("ImagePullBackOff", "x", "its image IMAGE cannot be had (ImagePullBackOff): x"),
    "name": ("InvalidImageName", "odd", "its image IMAGE cannot be had (InvalidImageName): odd"),
    "configuration": (
        "CreateContainerConfigError",
        'configmap "x" not found',
        'its container cannot be made (CreateContainerConfigError): configmap "x" not found',
    ),
    "a lazy node": ("ContainerCreating", "", "its node NODE has not started it"),
}


@pytest.mark.parametrize("name", ENDS)
async def test_a_pod_that_fails_is_retried(runs: PodRig, name: str) -> None:
    """Luigi tries again, in a pod of its own, and the first failure says why in words."""
    play, sentence = ENDS[name]
    end = await runs.play(play, "")
    assert (end.status, runs.failures) == ("succeeded", [sentence])
    assert runs.witness.attempts() == TWICE


async def test_luigi_gives_up(runs: PodRig) -> None:
    """As many failures as Luigi allows, and not one pod more; the run's end repeats the reason."""
    end = await runs.play("exit-code=137,reason=OOMKilled")
    assert end.status == "failed"
    assert "1 task failed" in end.reason
    assert "(it used more memory than its limit of 64Mi)" in end.reason
    assert runs.witness.attempts() == len(runs.failures) == TWICE


async def test_a_tasks_own_retry_count(runs: PodRig) -> None:
    """A task that says how often is tried so often."""
    await runs.play("exit-code=1", tries="3")
    assert runs.witness.attempts() == 3


async def test_the_cluster_itself_ends_what_runs_for_ever(runs: PodRig) -> None:
    """Should nobody else end a pod, its deadline does: it is in each pod's spec."""
    order = await runs.order(play=HELD)
    await runs.supervisor.start(order)
    pod = await runs.pod()
    assert pod["spec"]["activeDeadlineSeconds"] == runs.cluster.longest_seconds
    await runs.wish(pod, hold="go")
    assert (await runs.end(order)).status == "succeeded"


# --- never begun ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WAITS)
async def test_a_pod_that_does_not_begin(runs: PodRig, name: str) -> None:
    """Patience ends with what the kubelet said; the pod is deleted before the next attempt."""
    reason, said, sentence = WAITS[name]
    end = await runs.play(f"hold=pending,wait={reason},message={said}", "")
    assert end.status == "succeeded"
    (failure,) = runs.failures
    failure = re.sub(r"sluice\.test/task@sha256:1+", "IMAGE", failure)
    failure = re.sub(r"node fake-\d", "node NODE", failure)
    assert re.fullmatch(r"it had not begun after \d+ s: (.*)", failure)[1] == sentence  # type: ignore[index]
    assert runs.witness.attempts() == TWICE


async def test_a_registrys_bad_minute_is_waited_out(rigs: Rigs) -> None:
    """An image that can be had a moment later fails nothing."""
    async with rigs(pull_seconds=20) as runs:
        order = await runs.order(play="hold=pending,wait=ErrImagePull")
        await runs.supervisor.start(order)
        await asyncio.sleep(1)
        await runs.wish(await runs.pod("Pending"), hold="go")
        assert (await runs.end(order)).status == "succeeded"
        assert runs.failures == []


async def test_no_node_takes_it(runs: PodRig) -> None:
    """A pod that no node can hold says so in the scheduler's words."""
    order = await runs.order(tries="1")
    assert order.pods is not None
    end = await runs.carry(replace(order, pods=replace(order.pods, cpu="5k")))
    assert end.status == "failed"
    assert re.search(r"no node takes it: 0/\d+ nodes are available: .*Insufficient cpu", end.reason)


# --- refused --------------------------------------------------------------------------------------


async def test_quota(runs: PodRig, namespace: str) -> None:
    """A used-up quota is a failure with the quota's name, and no pod is left waiting for it."""
    runs.hook = _once(TaskStarted, partial(asyncio.to_thread, _quota, runs.api, namespace, pods=0))
    end = await runs.play("")
    assert end.status == "failed"
    assert "the quota of the tasks' namespace is used up: " in runs.failures[0]
    assert "exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0" in end.reason
    assert (runs.witness.attempts(), len(runs.failures)) == (0, TWICE)


async def test_quota_that_has_room_again(runs: PodRig, namespace: str) -> None:
    """The retry finds room."""

    async def make_room(event: RunEvent) -> None:
        if isinstance(event, TaskStarted) and event.attempt == 1:
            await asyncio.to_thread(_quota, runs.api, namespace, pods=0)
        elif isinstance(event, TaskStarted):
            await asyncio.to_thread(_room, runs.api, namespace, 5)

    runs.hook = make_room
    assert (await runs.play("")).status == "succeeded"
    assert len(runs.failures) == 1


async def test_question_that_finds_no_room_is_asked_again(rigs: Rigs, namespace: str) -> None:
    """What is complete already is asked in a pod too, and no less patiently."""
    async with rigs(runs=RUNS.model_copy(update={"retry_delay_seconds": 3.0})) as runs:
        _quota(runs.api, namespace, pods=0)
        order = await runs.order(play="")
        await runs.supervisor.start(order)
        await asyncio.sleep(2)
        _room(runs.api, namespace, 5)
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


# --- disturbed ------------------------------------------------------------------------------------


async def test_deleted_by_somebody(runs: PodRig) -> None:
    """A pod that went under a running task is a failure, and tried again when it is gone."""
    order = await runs.order(play=f"{HELD};")
    await runs.supervisor.start(order)
    await runs.gone(await runs.pod())
    assert (await runs.end(order)).status == "succeeded"
    assert runs.failures == ["its pod was deleted before it ended by itself: nobody knows why"]


async def test_evicted_through_the_api(runs: PodRig) -> None:
    """A drained node evicts through the API; the failure says so."""
    order = await runs.order(play=f"{HELD};")
    await runs.supervisor.start(order)
    name = (await runs.pod())["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    await runs.admin("create", f"{name}/eviction", eviction)
    assert (await runs.end(order)).status == "succeeded"
    (failure,) = runs.failures
    assert "it was evicted through the API" in failure


async def test_driven_from_its_node(runs: PodRig) -> None:
    """A taint drives the pod away; it runs again elsewhere."""
    order = await runs.order(play=f"{HELD};")
    await runs.supervisor.start(order)
    node = (await runs.pod())["spec"]["nodeName"]
    taint = {"key": "sluice.test/away", "value": namespace_of(runs), "effect": "NoExecute"}
    async with tainted(runs.api, node, taint):
        end = await runs.end(order)
    assert end.status == "succeeded"
    (failure,) = runs.failures
    assert "its node was lost or told to take no pods (" in failure


async def test_no_second_pod_while_the_first_is_ending(runs: PodRig) -> None:
    """A pod that takes its time to end is waited for: deleted is not gone."""
    order = await runs.order(play=f"{HELD}+terminating;")
    await runs.supervisor.start(order)
    pod = await runs.pod()
    await runs.gone(pod)
    await asyncio.sleep(1.5)
    assert runs.witness.attempts() == 1
    await runs.wish(pod, hold="go")
    assert (await runs.end(order)).status == "succeeded"
    assert runs.witness.attempts() == TWICE


# --- ended from here ------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", ["pending", "running"])
async def test_luigis_time_out(rigs: Rigs, hold: str) -> None:
    """Luigi's time-out ends a pod, begun or not, and then tries again."""
    async with rigs() as runs:
        end = await runs.play(f"hold={hold}", "", seconds=4)
        assert end.status == "succeeded"
        assert runs.failures == ["it ran longer than its time-out allows, and was ended"]
        assert runs.witness.attempts() == TWICE


async def test_cancel(runs: PodRig) -> None:
    """A cancelled run has no pod left within seconds."""
    order = await runs.order("Scene", plays="|".join([HELD] * 12))
    await runs.supervisor.start(order)
    await when(lambda: runs.witness.attempts() == 12)
    began = time.monotonic()
    await runs.supervisor.cancel(order.launch_id)
    assert time.monotonic() - began < 5
    assert await runs.listed() == []
    assert runs.told(RunFinished)[-1].status == "cancelled"


async def test_cancel_while_pods_are_being_made(runs: PodRig) -> None:
    """Neither what is there nor what is on its way to the server is left."""
    order = await runs.order("Scene", plays="|".join([HELD] * 12))
    await runs.supervisor.start(order)
    await when(lambda: runs.told(TaskStarted))
    await runs.supervisor.cancel(order.launch_id)
    assert await runs.listed() == []


async def test_driver_killed(runs: PodRig) -> None:
    """The scheduler's process may die: what runs goes on, in the same pods."""
    order = await runs.order("Sequel", play="", first=HELD)
    await runs.supervisor.start(order)
    pod = await runs.pod()
    assert kill_driver()
    await asyncio.sleep(0.5)
    await runs.wish(pod, hold="go")
    assert (await runs.end(order)).status == "succeeded"
    assert (runs.witness.attempts(), runs.failures) == (2, [])


# --- a node goes silent ---------------------------------------------------------------------------


@pytest.mark.slow
async def test_silent_node_that_comes_back(runs: PodRig) -> None:
    """A pod on a silent node is running for all that anybody knows: no second one is made."""
    order = await runs.order(play=HELD)
    await runs.supervisor.start(order)
    pod = await runs.pod()
    node = f"/api/v1/nodes/{pod['spec']['nodeName']}"
    runs.api.merge(node, {"metadata": {"labels": {"type": None}}})
    try:
        await _node_is(runs.api, node, "Unknown")
        await asyncio.sleep(2)
        assert (runs.witness.attempts(), runs.failures) == (1, [])
    finally:
        runs.api.merge(node, {"metadata": {"labels": {"type": "kwok"}}})
    await runs.wish(pod, hold="go")
    assert (await runs.end(order)).status == "succeeded"
    assert runs.witness.attempts() == 1


@pytest.mark.slow
async def test_time_out_on_a_silent_node(runs: PodRig) -> None:
    """A pod that was told to end and cannot answer is waited for, until an operator asserts it."""
    order = await runs.order(play=f"{HELD};", seconds=25)
    await runs.supervisor.start(order)
    pod = await runs.pod()
    node = f"/api/v1/nodes/{pod['spec']['nodeName']}"
    runs.api.merge(node, {"metadata": {"labels": {"type": None}}})
    try:
        await _node_is(runs.api, node, "Unknown")
        await asyncio.sleep(12)  # the time-out has passed
        assert (runs.witness.attempts(), len(await runs.living())) == (1, 1)
        name = pod["metadata"]["name"]
        runs.api.delete(f"{runs.path}/{name}", gracePeriodSeconds="0")  # the operator's word
        assert (await runs.end(order)).status == "succeeded"
    finally:
        runs.api.merge(node, {"metadata": {"labels": {"type": "kwok"}}})
        await _node_is(runs.api, node, "True")
    assert runs.witness.attempts() == TWICE


@pytest.mark.slow
async def test_lost_node(runs: PodRig) -> None:
    """When the Node object is gone the cluster gives its pods up, and the task runs again."""
    order = await runs.order(play=f"{HELD};")
    await runs.supervisor.start(order)
    name = (await runs.pod())["spec"]["nodeName"]
    node = runs.api.get(f"/api/v1/nodes/{name}")
    runs.api.delete(f"/api/v1/nodes/{name}")
    try:
        end = await asyncio.wait_for(runs.end(order), 120)
    finally:
        _put_back(runs.api, node)
    assert end.status == "succeeded"
    (failure,) = runs.failures
    assert "its node is gone from the cluster" in failure
    assert runs.witness.attempts() == TWICE


# --- the API server goes away ---------------------------------------------------------------------


@pytest.fixture
async def door(api: Api) -> AsyncIterator[MuteDoor]:
    """The way to the API server, which can be shut."""
    async with MuteDoor(api.server) as made:
        yield made


@pytest.fixture
def through(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path, door: MuteDoor
) -> Rigs:
    """Make runs that reach the API server through the door; the witness has another."""
    eyes = Path(cluster["KUBECONFIG"])
    kubeconfig = door.kubeconfig(eyes, tmp_path)
    return partial(rig, api, kubeconfig, namespace, tmp_path / "rig", eyes=eyes)


async def test_away_while_a_task_runs(through: Rigs, door: MuteDoor) -> None:
    """What ends meanwhile is heard of afterwards; nothing failed."""
    async with through() as runs:
        order = await runs.order("Scene", plays=f"{HELD}|{HELD}")
        await runs.supervisor.start(order)
        await when(lambda: runs.witness.attempts() == 2)
        pods = await runs.listed()
        await door.shut()
        await runs.wish(pods[0], hold="go")
        await when(lambda: runs.watch.away)
        await asyncio.sleep(1)
        await door.open()
        await runs.wish(pods[1], hold="go")
        assert (await runs.end(order)).status == "succeeded"
        assert (runs.failures, runs.witness.attempts()) == ([], 2)
        assert runs.watch.away == ""


async def test_away_for_a_moment_when_a_pod_is_to_be_made(through: Rigs, door: MuteDoor) -> None:
    """A short absence is waited out."""
    async with through(patience_seconds=20) as runs:
        runs.hook = _once(TaskStarted, door.shut)
        order = await runs.order(play="")
        await runs.supervisor.start(order)
        await when(lambda: runs.told(TaskStarted))
        await asyncio.sleep(1)
        await door.open()
        assert (await runs.end(order)).status == "succeeded"
        assert (runs.failures, runs.witness.attempts()) == ([], 1)


async def test_away_for_longer_than_patience(through: Rigs, door: MuteDoor) -> None:
    """Then the attempt has failed with a reason, and the next begins when the former is settled."""
    async with through(patience_seconds=0.5) as runs:
        runs.hook = _once(TaskStarted, door.shut)
        order = await runs.order(play="")
        await runs.supervisor.start(order)
        await when(lambda: runs.told(TaskStarted))
        await asyncio.sleep(2)
        await door.open()
        assert (await runs.end(order)).status == "succeeded"
        assert runs.failures == [
            "its pod could not be made: the cluster's API server does not answer; try again"
        ]


async def test_pod_whose_creation_was_not_answered(through: Rigs, door: MuteDoor) -> None:
    """It was made all the same: it is the one that is taken up, and no other."""
    async with through() as runs:

        async def muted() -> None:
            door.mute = True

        runs.hook = _once(TaskStarted, muted)
        order = await runs.order(play=HELD)
        await runs.supervisor.start(order)
        pod = await runs.pod()
        door.mute = False
        await door.hang_up()
        await runs.wish(pod, hold="go")
        assert (await runs.end(order)).status == "succeeded"
        assert (runs.failures, runs.witness.attempts()) == ([], 1)


async def test_unanswered_pod_that_fills_the_quota(
    through: Rigs, door: MuteDoor, namespace: str
) -> None:
    """Asked again, the server says that the quota is used up: by the very pod that it had made."""
    async with through() as runs:

        async def muted() -> None:
            _quota(runs.api, namespace, pods=1)
            door.mute = True

        runs.hook = _once(TaskStarted, muted)
        order = await runs.order(play=HELD)
        await runs.supervisor.start(order)
        pod = await runs.pod()
        door.mute = False
        await door.hang_up()
        await runs.wish(pod, hold="go")
        assert (await runs.end(order)).status == "succeeded"
        assert (runs.failures, runs.witness.attempts()) == ([], 1)


async def test_ended_while_its_pod_was_being_made(through: Rigs, door: MuteDoor) -> None:
    """A time-out before the answer: the pod is found and ended, then Luigi tries again."""
    async with through() as runs:

        async def muted() -> None:
            door.mute = True

        runs.hook = _once(TaskStarted, muted)
        order = await runs.order(play=f"{HELD};", seconds=4)
        await runs.supervisor.start(order)
        await runs.pod()
        await asyncio.sleep(4.5)
        door.mute = False
        await door.hang_up()
        assert (await runs.end(order)).status == "succeeded"
        assert runs.failures == ["it ran longer than its time-out allows, and was ended"]
        assert runs.witness.attempts() == TWICE


async def test_cancelled_while_the_server_is_away(through: Rigs, door: MuteDoor) -> None:
    """A cancel holds until the server is back, and then nothing is left."""
    async with through() as runs:
        order = await runs.order(play=HELD)
        await runs.supervisor.start(order)
        await runs.pod()
        await door.shut()
        cancelling = asyncio.create_task(runs.supervisor.cancel(order.launch_id))
        await asyncio.sleep(1)
        assert not cancelling.done()
        await door.open()
        await cancelling
        assert await runs.listed() == []


async def test_gateway_stops_while_the_server_is_away(through: Rigs, door: MuteDoor) -> None:
    """Stopping waits for nobody: the pod lives on, for the next gateway."""
    async with through() as runs:
        order = await runs.order(play=HELD)
        await runs.supervisor.start(order)
        pod = await runs.pod()
        await door.shut()
        await asyncio.wait_for(runs.supervisor.close(), 10)
        await door.open()
        assert await runs.living() == [pod["metadata"]["name"]]
        await runs.gone(pod)


async def test_watch_from_a_version_that_is_forgotten(runs: PodRig) -> None:
    """The server no longer knows where to begin: the list is read again, and nothing is missed."""
    await runs.watch.close()
    runs.watch._task = asyncio.create_task(runs.watch._follow("1"))  # as after a long break
    assert (await runs.play("")).status == "succeeded"
    assert runs.failures == []


def namespace_of(runs: PodRig) -> str:
    """Return where the runs' pods are."""
    return runs.cluster.namespace


def _once(kind: type[RunEvent], act: Callable[[], Any]) -> Callable[[RunEvent], Any]:
    """Return a hook that acts at the first event of a kind."""
    done: list[bool] = []

    async def hook(event: RunEvent) -> None:
        if isinstance(event, kind) and not done:
            done.append(True)
            await act()

    return hook


def _quota(api: Api, namespace: str, *, pods: int) -> None:
    """Bound the pods of a namespace; the bed has no controller that would take the spec over."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    meta = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    api.create(path, {**meta, "spec": {"hard": {"pods": str(pods)}}})
    _room(api, namespace, pods)
    time.sleep(0.3)  # the admission plug-in learns of it by a watch


def _room(api: Api, namespace: str, pods: int) -> None:
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/few"
    hard = {"pods": str(pods)}
    api.merge(path, {"spec": {"hard": hard}})
    api.merge(f"{path}/status", {"status": {"hard": hard, "used": {"pods": "0"}}})
    time.sleep(0.3)


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
    import yaml

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


async def _node_is(api: Api, path: str, status: str) -> None:
    def ready(node: Any) -> bool:
        return any(
            item["type"] == "Ready" and item["status"] == status
            for item in node["status"]["conditions"]
        )

    await asyncio.to_thread(api.when, path, ready, seconds=60)


def _put_back(api: Api, node: Any) -> None:
    """Make a node again that was deleted; KWOK plays it as before."""
    meta = {name: node["metadata"][name] for name in ("name", "labels")}
    status = {name: node["status"][name] for name in ("capacity", "allocatable")}
    fresh = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": status}
    api.create("/api/v1/nodes", fresh)
