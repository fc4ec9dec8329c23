"""These tests need the cluster bed, which takes minutes to build, so the plain suite skips them.

They run while a bed is up (``python -m tests.cluster.bed up``), or with ``SLUICE_CLUSTER=1``, which
brings one up for the session, or uses the cluster that ``KUBECONFIG`` names. A ``KUBECONFIG`` alone
is not enough: nobody's real cluster becomes a test bed because a variable was set in their shell.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
from bed.api import Api, Object
from bed.builds import program
from bed.installation import Installation, installed
from bed.lifecycle import find
from bed.oracle import PolicyOracle
from bed.places import ROOT, State
from failures_bed import Rigs
from pods_bed import PodRig, rig

BUILD_SECONDS = 3600
HERE = Path(__file__).parent


def asked() -> bool:
    """Whether somebody asked for a cluster, theirs or a new bed."""
    return os.environ.get("SLUICE_CLUSTER") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip with the way out; and the first test may have to wait for Kubernetes to be built."""
    needy = [
        item
        for item in items
        if item.path.is_relative_to(HERE)
        and {"cluster", "oracle"}.intersection(getattr(item, "fixturenames", ()))
    ]
    skip = pytest.mark.skip(
        reason="no cluster bed is up: make test-cluster, or set SLUICE_CLUSTER=1"
    )
    wanted = asked() or State.default().variables() is not None
    for item in needy:
        item.add_marker(pytest.mark.timeout(BUILD_SECONDS) if wanted else skip)


def bed(command: str, *options: str) -> str:
    """Run a command of the bed, with its progress on our standard error."""
    return subprocess.run(
        [sys.executable, "-m", "tests.cluster.bed", command, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """The cluster's variables; a bed that this session brought up goes with it."""
    ours = State.default()
    found = find(ours) if asked() else ours.variables()
    if found is not None:
        yield found
        return
    bed("up")
    try:
        yield json.loads(bed("env", "--json"))
    finally:
        bed("down")


@pytest.fixture(scope="session")
def api(cluster: dict[str, str]) -> Api:
    """The API server, as its administrator."""
    return Api.from_kubeconfig(Path(cluster["KUBECONFIG"]))


def require_nodes(api: Api, kind: str, otherwise: str) -> None:
    """Skip the test where the cluster has no node of a kind."""
    if not api.get("/api/v1/nodes", labelSelector=f"type={kind}")["items"]:
        pytest.skip(otherwise)


@pytest.fixture
def fake_nodes(api: Api) -> None:
    """Nodes that KWOK plays, which do what a pod's annotations say."""
    require_nodes(api, "kwok", "this cluster has no fake nodes")


@pytest.fixture
def real_node(api: Api) -> Iterator[None]:
    """A node with a kubelet and the images made from this machine's Python.

    As long as the test runs, pods that do not say where to go can only go there.
    """
    require_nodes(api, "kubelet", "no real node: run --kubelet, see tests/cluster/README.md")
    _let_pods_go_to(api, "kubelet")
    yield
    _let_pods_go_to(api, "kwok")


def _let_pods_go_to(api: Api, kind: str) -> None:
    for node in api.get("/api/v1/nodes")["items"]:
        closed = node["metadata"]["labels"].get("type") != kind
        api.merge(
            f"/api/v1/nodes/{node['metadata']['name']}", {"spec": {"unschedulable": closed or None}}
        )


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace of this test alone, with its service account; gone afterwards."""
    name = f"bed-{uuid.uuid4().hex[:12]}"
    meta: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    api.create("/api/v1/namespaces", meta)
    accounts = f"/api/v1/namespaces/{name}/serviceaccounts"
    api.when(accounts, lambda found: len(found["items"]) > 0)
    yield name
    api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def guarded(api: Api, cluster: dict[str, str]) -> Iterator[Installation]:
    """``deploy/cluster`` as it is, installed under its own names for as long as tests need it."""
    bed_is_ours = "SLUICE_CLUSTER_AUDIT_LOG" in cluster
    with installed(api, Path(cluster["KUBECONFIG"]), ours=bed_is_ours) as found:
        yield found


@pytest.fixture(scope="session")
def oracle() -> Iterator[PolicyOracle]:
    """Cilium's own opinion; one process for all tests."""
    with PolicyOracle(program("cilium-oracle")) as running:
        yield running


@pytest.fixture
def rigs(api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path) -> Rigs:
    """Make runs in a namespace of this test, with other settings perhaps."""
    return partial(rig, api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig")


@pytest.fixture
async def runs(rigs: Rigs) -> AsyncIterator[PodRig]:
    """Runs with the usual settings, impatient with pods that do not begin."""
    async with rigs(pending_seconds=1.5, pull_seconds=0.3) as made:
        yield made
