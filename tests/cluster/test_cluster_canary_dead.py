"""A canary proves something while it is alive; one that is not stops nothing; the log says so."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from bed.installation import Installation
from catalogue_bed import Catalogue, ask
from cut_bed import HELD, alive, cleared, ended, settings
from gateway_bed import ROOT, Served, serve
from pods_bed import when

pytestmark = pytest.mark.usefixtures("fake_nodes")
Gateways = Callable[[int], AbstractAsyncContextManager[Served]]


@pytest.fixture
def gateways(guarded: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateways:
    """Run a gateway whose canary is at a port of this machine."""
    monkeypatch.chdir(ROOT)

    @asynccontextmanager
    async def run(port: int) -> AsyncIterator[Served]:
        chosen = settings(guarded, tmp_path)
        Catalogue(chosen.policy.directory).enter("act", "Act")
        cluster = chosen.cluster.model_copy(update={"canary": f"127.0.0.1:{port}"})
        with cleared(guarded.admin):
            async with serve(chosen.model_copy(update={"cluster": cluster})) as served:
                yield served

    return run


@contextmanager
def canary(state: str) -> Iterator[int]:
    """Have a port that answers, that refuses, or whose host says nothing at all."""
    with socket.socket() as one, socket.socket() as first, socket.socket() as second:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        if state == "silent":  # its queue is full, and the kernel drops who comes next
            one.listen(0)
            for each in (first, second):
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
        elif state == "alive":
            one.listen()
        yield port


async def layers(served: Served, launch_id: str) -> list[bool]:
    """Return what the log says of the canary for each time that the run began."""
    found = await served.gateway.parts.log.entries(0, 9, launch_id=launch_id, event_prefix="run.")
    return [
        entry.value["body"]["layers"]["canary"]
        for entry in found
        if entry.value["event"] != "run.finished"
    ]


@pytest.mark.parametrize("state", ["alive", "refusing", "silent"])
async def test_only_a_canary_that_answers_is_tried(
    gateways: Gateways, guarded: Installation, state: str
) -> None:
    """The gateway asks first: without an answer there is no probe, and the entry says so."""
    with canary(state) as port:
        async with gateways(port) as served:
            launch_id = str((await ask(served, "act", play=HELD))["id"])
            await when(lambda: alive(guarded.admin, launch_id), 60)
            (pod,) = await asyncio.to_thread(alive, guarded.admin, launch_id)
            names = [item["name"] for item in pod["spec"].get("initContainers") or ()]
            assert names == (["canary"] if state == "alive" else [])
            assert await layers(served, launch_id) == [state == "alive"]
            async with served.client("ada") as ada:
                await ada.post(f"/v1/launches/{launch_id}/cancel")
            await ended(served, launch_id)


@pytest.mark.parametrize("state", ["refusing", "silent"])
async def test_dead_canary_stops_no_run(gateways: Gateways, state: str) -> None:
    """It would prove nothing, and a launch does not wait for it."""
    with canary(state) as port:
        async with gateways(port) as served:
            view = await ended(served, (await ask(served, "act"))["id"])
            assert view["state"] == "succeeded"
            assert await layers(served, view["id"]) == [False]
