"""The order in which the parts come up. ``serve`` is the bed: it lasts as long as the call.

Whatever ends it, a signal, a part that dies, an error on the way up, the parts end in the reverse
order and what they wrote goes; after an error their logs stay, and the message names them.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import yaml

from .api import Api, ApiError
from .builds import crds, program
from .image import PIPELINES_IMAGE, TASK_IMAGE
from .parts import Layout, fake_node
from .places import State
from .processes import Child, running, wait_until
from .real_node import RealNode

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_NODES = "/api/v1/nodes"
_START_SECONDS = 180
_LOOK_SECONDS = 0.5
_PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")


class _Stopped(Exception):
    """Somebody asked the bed to end."""


@contextlib.contextmanager
def _until_stopped() -> Iterator[None]:
    """End the block, quietly, at the first SIGTERM or SIGINT."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):  # once is enough: the parts are ending
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with contextlib.suppress(_Stopped):
        yield


@dataclass(frozen=True)
class Size:
    """What to bring up: this many fake nodes, and a real one or not."""

    nodes: int = 3
    kubelet: bool = False


def prepare(size: Size) -> dict[str, Path]:
    """Have every program at hand, building what the cache lacks (minutes, the first time).

    Raises BedError when one cannot be had.
    """
    crds()
    if size.kubelet:
        RealNode.prepare()
    return {name: program(name) for name in (*_PARTS, "cilium-oracle")}


def serve(state: State, size: Size) -> None:
    """Bring the bed up, announce it in the state folder, keep it up until SIGTERM.

    Raises BedError when a part ends or does not become ready.
    """
    with state.held():
        state.clear(keep_logs=True)
        state.logs.mkdir(exist_ok=True)
        with _until_stopped(), contextlib.ExitStack() as stack:
            stack.callback(state.clear, keep_logs=True)  # registered first: it runs last
            children = _start(state, size, stack)
            _watch(children)
        state.clear()


def _watch(children: list[Child]) -> None:
    """Look after the parts until one ends; then raise BedError.

    In short sleeps: a signal that came just before one endless system call would wait for its end.
    """
    while True:
        for child in children:
            child.check()
        time.sleep(_LOOK_SECONDS)


def _start(state: State, size: Size, stack: contextlib.ExitStack) -> list[Child]:
    programs = prepare(size)
    layout = Layout.make(state)
    children: list[Child] = []

    def begin(name: str, command: list[str]) -> None:
        children.append(stack.enter_context(running(name, command, state.logs)))

    begin("etcd", layout.etcd(programs["etcd"]))
    begin("kube-apiserver", layout.kube_apiserver(programs["kube-apiserver"]))
    kubeconfig = layout.authority.kubeconfig(
        state.kubeconfig, layout.api, "bed-admin", "system:masters"
    )
    api = Api.from_kubeconfig(kubeconfig)
    wait_until("the API server's /readyz", lambda: _ready(api), children, seconds=_START_SECONDS)
    definitions = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in crds()]
    for definition in definitions:
        api.create(_CRDS, definition)
    wait_until(
        "serving CRDs",
        lambda: _with(api, _CRDS, ("Established", "True")) == len(definitions),
        children,
        seconds=_START_SECONDS,
    )
    for name, command in (
        ("kube-controller-manager", layout.kube_controller_manager),
        ("kube-scheduler", layout.kube_scheduler),
        ("kwok", layout.kwok),
    ):
        begin(name, command(programs[name]))
    for number in range(size.nodes):
        api.create(_NODES, fake_node(number))
    more: dict[str, str] = {}
    if size.kubelet:
        node = RealNode(layout, state.machine / "node")
        begin("containerd", node.containerd())
        wait_until("containerd", node.listens, children, seconds=_START_SECONDS)
        images = node.load_images()
        begin("kubelet", node.kubelet())
        more = {
            "SLUICE_CLUSTER_IMAGE": images[TASK_IMAGE],
            "SLUICE_CLUSTER_PIPELINES_IMAGE": images[PIPELINES_IMAGE],
            "SLUICE_CLUSTER_KUBELET": str(children[-1].process.pid),
        }
    expected = size.nodes + size.kubelet
    wait_until(
        "readiness for pods",
        lambda: _takes_pods(api, expected),
        children,
        seconds=_START_SECONDS,
    )
    if (
        size.kubelet
    ):  # pods that do not care come to a fake node; tests of the real one turn that round
        api.merge(f"{_NODES}/{RealNode.NAME}", {"spec": {"unschedulable": True}})
    state.announce(
        {
            "KUBECONFIG": str(state.kubeconfig),
            "SLUICE_CLUSTER_AUDIT_LOG": str(state.audit_log),
            "SLUICE_CLUSTER_LOGS": str(state.logs),
            "SLUICE_CLUSTER_ORACLE": str(programs["cilium-oracle"]),
            **more,
        }
    )
    return children


def _ready(api: Api) -> bool:
    try:
        return api.text("GET", "/readyz") == "ok"
    except (ApiError, OSError, http.client.HTTPException):
        return False


def _with(api: Api, collection: str, condition: tuple[str, str]) -> int:
    """How many objects of a collection have this condition, a type and a status."""
    held = (
        {(each["type"], each["status"]) for each in one["status"].get("conditions") or ()}
        for one in api.get(collection)["items"]
    )
    return sum(condition in each for each in held)


def _takes_pods(api: Api, nodes: int) -> bool:
    """Whether nodes are ready and a namespace got the service account that its pods need."""
    accounts = api.get("/api/v1/namespaces/default/serviceaccounts")["items"]
    return bool(accounts) and _with(api, _NODES, ("Ready", "True")) == nodes
