"""``deploy/cluster`` on the API server under its real names, as an administrator applies it.

One at a time: the guards are cluster-wide objects and find the tasks' namespace by its name. One
thing differs from a real installation: Pod Security is off in the tasks' namespace, so that what is
refused there is refused by the guards themselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .api import Api, ApiError, Object
from .builds import program
from .places import ROOT, BedError

GATEWAY, TASKS = "sluice", "sluice-tasks"
DEPLOY = ROOT / "deploy"
GUARDS = "/apis/admissionregistration.k8s.io/v1"
RIGHTS = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNTS = {
    "frontend": (GATEWAY, "sluice-frontend"),
    "binder": (GATEWAY, "sluice-binder"),
    "runner": (GATEWAY, "sluice-runner"),
    "task": (TASKS, "sluice-task"),
}
_LEVEL = "pod-security.kubernetes.io/enforce"
_KINDS = {
    "ValidatingAdmissionPolicy": f"{GUARDS}/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": f"{GUARDS}/validatingadmissionpolicybindings",
    "ClusterRole": f"{RIGHTS}/clusterroles",
    "ClusterRoleBinding": f"{RIGHTS}/clusterrolebindings",
    "Namespace": "/api/v1/namespaces",
}


def kubectl(kubeconfig: Path, *arguments: str) -> str:
    """Run the kubectl of the bed's Kubernetes version and return what it says.

    Raises BedError with its complaint.
    """
    done = subprocess.run(
        [program("kubectl"), f"--kubeconfig={kubeconfig}", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BedError(f"kubectl {' '.join(arguments)}:\n{done.stderr}")
    return done.stdout


def rendered(folder: str) -> list[Object]:
    """Return what a folder of ``deploy/`` holds, as kustomize writes it."""
    text = subprocess.run(
        [program("kubectl"), "kustomize", str(DEPLOY / folder)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return list(yaml.safe_load_all(text))


@dataclass(frozen=True)
class Installation:
    """An installed ``deploy/cluster``, and the people round it.

    ``stranger`` has every right inside the tasks' namespace and none outside it.
    """

    kubeconfig: Path
    admin: Api
    people: dict[str, Api]

    def __getitem__(self, name: str) -> Api:
        """The API server as one of ``admin``, ``stranger`` and ``ACCOUNTS``."""
        return self.people[name]

    def apply(self) -> None:
        """Apply it, again perhaps; return when the guards are up."""
        how = ("apply", "--server-side", "--force-conflicts", "-k")  # the label below is one
        kubectl(self.kubeconfig, *how, str(DEPLOY / "cluster"))
        self.admin.merge(
            f"/api/v1/namespaces/{TASKS}", {"metadata": {"labels": {_LEVEL: "privileged"}}}
        )
        _grant_everything(self.admin)
        accounts = f"/api/v1/namespaces/{TASKS}/serviceaccounts"
        self.admin.when(accounts, lambda found: len(found["items"]) > 1)
        self.people.update({name: _as(self.admin, *each) for name, each in ACCOUNTS.items()})
        _wait_for_guards(self.admin)

    def remove_tasks(self) -> None:
        """Delete the tasks' namespace with all that is in it, and wait until it is gone."""
        _delete_namespace(self.admin, TASKS)


@contextlib.contextmanager
def installed(api: Api, kubeconfig: Path, *, ours: bool) -> Iterator[Installation]:
    """Install for a while. ``ours``: the cluster is a bed, where leftovers may be removed.

    Raises BedError on a cluster where somebody else's Sluice is installed.
    """
    cluster = hashlib.sha256(api.server.encode()).hexdigest()[:12]
    place = Path(tempfile.gettempdir()) / f"sluice-installation-{cluster}.lock"
    with place.open("w") as lock, contextlib.ExitStack() as undo:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ours and _exists(api, f"/api/v1/namespaces/{TASKS}"):
            raise BedError(f"the cluster has a namespace {TASKS} already; these tests need it")
        _remove(api)
        undo.callback(_remove, api)
        home = f"bed-{uuid.uuid4().hex[:12]}"
        api.create("/api/v1/namespaces", _named("v1", "Namespace", home))
        undo.callback(api.delete, f"/api/v1/namespaces/{home}")
        path = f"/api/v1/namespaces/{home}/serviceaccounts"
        api.create(path, _named("v1", "ServiceAccount", "stranger"))
        people = {"admin": api, "stranger": _as(api, home, "stranger")}
        found = Installation(kubeconfig, api, people)
        found.apply()
        yield found


def _as(api: Api, namespace: str, account: str) -> Api:
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    api.when(path.removesuffix("/token"), lambda _: True)
    return api.with_token(api.create(path, request)["status"]["token"])


def _named(version: str, kind: str, name: str, **more: Any) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


def _grant_everything(api: Api) -> None:
    """Give the only account called ``stranger`` every right in the tasks' namespace."""
    group = "rbac.authorization.k8s.io"
    homes = [
        item["metadata"]["namespace"]
        for item in api.get("/api/v1/serviceaccounts", fieldSelector="metadata.name=stranger")[
            "items"
        ]
    ]
    with contextlib.suppress(ApiError):  # it is there already
        api.create(
            f"{RIGHTS}/namespaces/{TASKS}/rolebindings",
            _named(
                f"{group}/v1",
                "RoleBinding",
                "bed-stranger",
                roleRef={"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
                subjects=[
                    {"kind": "ServiceAccount", "name": "stranger", "namespace": home}
                    for home in homes
                ],
            ),
        )


def _wait_for_guards(api: Api, seconds: float = 10) -> None:
    """Wait until each kind of guard refuses something; what stays open is for the tests to find."""
    nothing = {"endpointSelector": {}, "ingress": [{}]}
    probes: list[Callable[[], object]] = [
        lambda: api.create(
            f"/api/v1/namespaces/{TASKS}/pods",
            _named("v1", "Pod", "probe", spec={"containers": [{"name": "x", "image": "x"}]}),
            dryRun="All",
        ),
        lambda: api.create(
            f"/apis/cilium.io/v2/namespaces/{TASKS}/ciliumnetworkpolicies",
            _named("cilium.io/v2", "CiliumNetworkPolicy", "probe", spec=nothing),
            dryRun="All",
        ),
        lambda: api.create(
            f"/apis/networking.k8s.io/v1/namespaces/{TASKS}/networkpolicies",
            _named("networking.k8s.io/v1", "NetworkPolicy", "probe", spec={"podSelector": {}}),
            dryRun="All",
        ),
    ]
    deadline = time.monotonic() + seconds
    while not all(_refused(probe) for probe in probes) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.1)  # the server looks for changed policies once a second


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except ApiError as error:
        return "denied request: sluice: " in error.message
    return False


def _exists(api: Api, path: str) -> bool:
    try:
        api.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


def _remove(api: Api) -> None:
    """Remove what ``deploy/cluster`` made: guards last, so that nothing is unguarded meanwhile."""
    for namespace in (TASKS, GATEWAY):
        _delete_namespace(api, namespace)
    for kind, name in [(item["kind"], item["metadata"]["name"]) for item in rendered("cluster")]:
        if kind in _KINDS and _exists(api, f"{_KINDS[kind]}/{name}"):
            api.delete(f"{_KINDS[kind]}/{name}")


def _delete_namespace(api: Api, name: str) -> None:
    path = f"/api/v1/namespaces/{name}"
    if not _exists(api, path):
        return
    with contextlib.suppress(ApiError):  # it is going already
        api.delete(path)
    _let_go(api, f"{path}/pods")  # of an attack that succeeded
    _let_go(api, f"{path}/persistentvolumeclaims")  # a bed has no controller for them
    deadline = time.monotonic() + 60
    while _exists(api, path):
        if time.monotonic() > deadline:
            raise TimeoutError(f"namespace {name} does not go away: {api.get(path)['status']}")
        time.sleep(0.1)


def _let_go(api: Api, collection: str) -> None:
    """Take the finalizers off what is in a namespace."""
    for item in api.get(collection)["items"]:
        if item["metadata"].get("finalizers"):
            name = item["metadata"]["name"]
            api.merge(f"{collection}/{name}", {"metadata": {"finalizers": None}})
