"""What a pod that is asked for a graph may use, and whose fault it is when that was not enough."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from bed.api import Object
from bed.objects import collection
from cordon_bed import cordon
from pods_bed import KEY, PLAYED, SHOWN, PodRig, when

from gateway.clock import new_id
from gateway.errors import GatewayError, Retryable
from gateway.graph.failures import Unresolvable
from gateway.graph.pod_resolver import PodResolver
from gateway.graph.resolver import Resolution, SandboxResolver
from gateway.model import Receipt
from gateway.settings import SandboxSettings

pytestmark = pytest.mark.usefixtures("fake_nodes")
SETTINGS = SandboxSettings(
    resolve_seconds=1,
    resolve_cpu_seconds=7,
    resolve_memory_mb=1536,
    max_file_mb=3,
    max_nodes=11,
    max_edges=12,
)


async def resolve(runs: PodRig, settings: SandboxSettings) -> Resolution:
    """Ask for a graph in a pod."""

    async def deny_all(_: Receipt) -> str:
        return f"p-{'0' * 32}"

    resolver = PodResolver(
        runs.pods, runs.deliveries, settings, runs.folder / "code", KEY, deny_all
    )
    return await resolver.resolve(
        launch_id=new_id(),
        image="",
        source=PLAYED,
        in_image=False,
        module="played",
        family="Scene",
        parameters={"plays": "|"},
        shown=SHOWN,
        emits={},
        receipt=Receipt(1, "entry", "0" * 64, "launch.resolving"),
    )


async def refused(runs: PodRig, settings: SandboxSettings, **wishes: str) -> GatewayError:
    """Return why a pod that is played so gave no graph; no pod may be left."""
    async with cordon(runs.api) as nodes:
        await nodes.shut()
        resolving = asyncio.create_task(resolve(runs, settings))
        await runs.wish(await runs.pod("Pending"), **wishes)
    with pytest.raises(GatewayError) as caught:
        await asyncio.wait_for(resolving, 60)
    await when(lambda: not runs.pods.seen)
    assert runs.witness.attempts() == 1
    assert caught.value.step == "resolve"
    return caught.value


def secret(runs: PodRig, name: str) -> Object:
    """Return the Secret of a pod, once it is there."""
    path = collection(runs.cluster.namespace, "secrets")
    names = {name}
    runs.api.when(path, lambda all_: names <= {item["metadata"]["name"] for item in all_["items"]})
    return runs.api.get(f"{path}/{name}")


async def test_order_and_pod_hold_every_limit(runs: PodRig) -> None:
    """What a sandbox is bounded by here is in the order, or in the pod itself."""
    async with cordon(runs.api) as nodes:
        await nodes.shut()
        resolving = asyncio.create_task(resolve(runs, SETTINGS))
        pod = await runs.pod("Pending")
        given = await asyncio.to_thread(secret, runs, pod["metadata"]["name"])
        order: dict[str, Any] = json.loads(base64.b64decode(given["data"]["task.json"]))
        await runs.wish(pod, exit_code="3")
    with pytest.raises(Unresolvable):
        await asyncio.wait_for(resolving, 60)
    limits = ("cpu_seconds", "file_mb", "max_nodes", "max_edges")
    assert [order[name] for name in limits] == [7, 3, 11, 12]
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "1536Mi"}


async def test_order_holds_the_sandbox_s_own_bound_of_a_file(runs: PodRig) -> None:
    """A graph needs no large files: what tasks may write does not raise that."""
    async with cordon(runs.api) as nodes:
        await nodes.shut()
        resolving = asyncio.create_task(resolve(runs, SandboxSettings(max_file_mb=4096)))
        pod = await runs.pod("Pending")
        given = await asyncio.to_thread(secret, runs, pod["metadata"]["name"])
        await runs.wish(pod, exit_code="3")
    with pytest.raises(Unresolvable):
        await asyncio.wait_for(resolving, 60)
    assert json.loads(base64.b64decode(given["data"]["task.json"]))["file_mb"] == 16


async def test_pod_that_takes_too_long(runs: PodRig, tmp_path: Path) -> None:
    """It is ended, and the author is told what they are told of the sandbox here."""
    error = await refused(runs, SETTINGS, hold="running")
    source = tmp_path / "slow"
    source.mkdir()
    (source / "slow.py").write_text("import time\ntime.sleep(600)\n")
    resolver = SandboxResolver(SETTINGS, tmp_path / "store", KEY)
    with pytest.raises(Unresolvable) as here:
        await resolver.resolve(
            source=source, module="slow", family="X", parameters={}, shown=(), emits={}
        )
    assert isinstance(error, Unresolvable)
    assert error.detail == here.value.detail == "resolve_timeout"
    assert error.public_message == here.value.public_message


async def test_pod_that_takes_too_much_memory(runs: PodRig) -> None:
    """The kernel ended it for its own limit: a way out is the limit."""
    error = await refused(runs, SandboxSettings(), exit_code="137", reason="OOMKilled")
    assert isinstance(error, Unresolvable)
    assert error.detail == "memory"
    assert "sandbox.resolve_memory_mb" in error.public_message


async def test_pod_that_ends_without_a_word(runs: PodRig) -> None:
    """A pipeline that ends its process is at fault."""
    error = await refused(runs, SandboxSettings(), exit_code="3")
    assert isinstance(error, Unresolvable)
    assert error.detail == "ended_early"


@pytest.mark.parametrize(
    ("wishes", "code"),
    [
        ({"exit_code": "137"}, "resolver_killed"),
        (
            {"pod_reason": "Evicted", "pod_message": "The node was low on resource: memory."},
            "resolver_pod",
        ),
        (
            {
                "pod_reason": "Terminated",
                "pod_message": "the node was down for longer than planned",
            },
            "resolver_pod",
        ),
    ],
)
async def test_pod_that_its_node_ended(runs: PodRig, wishes: dict[str, str], code: str) -> None:
    """No pipeline is blamed for a node: the same launch may do well on another one."""
    error = await refused(runs, SandboxSettings(), **wishes)
    assert isinstance(error, Retryable)
    assert error.code == code
