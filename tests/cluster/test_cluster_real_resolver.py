"""A graph from a real pod: the kernel's limits there, and what is said when one was too low."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bed.api import Api
from pods_bed import KEY, PodRig, rig

from gateway.clock import new_id
from gateway.graph.failures import Unresolvable
from gateway.graph.pod_resolver import PodResolver
from gateway.graph.resolver import Resolution, SandboxResolver
from gateway.model import Receipt
from gateway.settings import SandboxSettings

TASK = """
import luigi
class Job(luigi.Task):
    pass
"""
LARGE = """
import tempfile
with tempfile.TemporaryFile(buffering=0) as stream:
    for _ in range(3):
        stream.write(bytes(1 << 20))
"""
SETTINGS = SandboxSettings(
    resolve_seconds=60, resolve_cpu_seconds=4, resolve_memory_mb=256, max_file_mb=2
)


@pytest.fixture
async def runs(
    real_node: None,  # noqa: ARG001 - first of all, so that nothing is made in vain
    api: Api,
    cluster: dict[str, str],
    namespace: str,
    tmp_path: Path,
) -> AsyncIterator[PodRig]:
    """Pods of a namespace of this test, on the real node."""
    async with rig(api, Path(cluster["KUBECONFIG"]), namespace, tmp_path / "rig") as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return the folder of a pipeline that has to be written yet."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


async def in_a_pod(runs: PodRig, image: str, source: Path) -> Resolution:
    """Ask for the graph in a pod."""

    async def deny_all(_: Receipt) -> str:
        return f"p-{'0' * 32}"

    store = runs.folder / "code"
    resolver = PodResolver(runs.pods, runs.deliveries, SETTINGS, store, KEY, deny_all)
    return await resolver.resolve(
        launch_id=new_id(),
        image=image,
        source=source,
        in_image=False,
        module="job",
        family="Job",
        parameters={},
        shown=(),
        emits={},
        receipt=Receipt(1, "entry", "0" * 64, "launch.resolving"),
    )


async def in_a_sandbox(source: Path, store: Path) -> Resolution:
    """Ask for the graph here."""
    resolver = SandboxResolver(SETTINGS, store, KEY)
    return await resolver.resolve(
        source=source, module="job", family="Job", parameters={}, shown=(), emits={}
    )


async def test_graph_of_a_pod_is_the_sandbox_s(
    runs: PodRig, cluster: dict[str, str], source: Path, tmp_path: Path
) -> None:
    """The limits take nothing from a pipeline that keeps to them."""
    (source / "job.py").write_text(TASK)
    there = await in_a_pod(runs, cluster["SLUICE_CLUSTER_IMAGE"], source)
    here = await in_a_sandbox(source, tmp_path / "store")
    assert there.graph.digest == here.graph.digest


@pytest.mark.parametrize(
    ("code", "detail"), [("sum(range(1 << 60))", "resolve_cpu"), (LARGE, "import_failed")]
)
async def test_limit_of_a_pod_is_the_sandbox_s(
    runs: PodRig, cluster: dict[str, str], source: Path, tmp_path: Path, code: str, detail: str
) -> None:
    """Process 1 of a pod, which some signals do not reach, is no way around it."""
    (source / "job.py").write_text(TASK + code)
    with pytest.raises(Unresolvable) as there:
        await in_a_pod(runs, cluster["SLUICE_CLUSTER_IMAGE"], source)
    with pytest.raises(Unresolvable) as here:
        await in_a_sandbox(source, tmp_path / "store")
    assert there.value.detail == here.value.detail == detail
    assert there.value.public_message == here.value.public_message


async def test_memory_of_a_pod_is_limited(
    runs: PodRig, cluster: dict[str, str], source: Path
) -> None:
    """The kubelet says so even where the kernel ended the pipeline and not process 1."""
    (source / "job.py").write_text(TASK + "held = bytearray(b'x') * (1 << 30)")
    with pytest.raises(Unresolvable) as caught:
        await in_a_pod(runs, cluster["SLUICE_CLUSTER_IMAGE"], source)
    assert caught.value.detail == "memory"
