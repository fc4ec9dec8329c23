"""The file with the gateway's token cannot be read for a while: no end of a pod is lost by that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bed.api import Api
from pods_bed import PodRig, rig, when
from relay_bed import token_for

from gateway.cluster import client as client_module
from gateway.runs.events import RunFinished, TaskFinished

pytestmark = pytest.mark.usefixtures("fake_nodes")
HELD = "hold=running"


@pytest.fixture
def token(api: Api, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, which is read for each request."""
    monkeypatch.setattr(client_module, "_TOKEN_LIVES", 0.0)
    return token_for(api, namespace, tmp_path)


@pytest.fixture
async def runs(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path, token: Path
) -> AsyncIterator[PodRig]:
    """Runs of a gateway that logs in with that file."""
    eyes = Path(cluster["KUBECONFIG"])
    async with rig(api, eyes, namespace, tmp_path / "rig", token=token) as made:
        yield made


async def test_pod_is_ended_when_the_token_is_there_again(runs: PodRig, token: Path) -> None:
    """Until then the attempt has not ended, and Luigi starts no other."""
    text = token.read_text()
    order = await runs.order(play=f"{HELD};")
    await runs.supervisor.start(order)
    name = (await runs.pod())["metadata"]["name"]
    token.unlink()
    stopping = asyncio.create_task(runs.pods.stop(name, "it was ended"))
    await asyncio.sleep(1)
    assert not stopping.done()
    assert (await runs.living(), runs.told(TaskFinished)) == ([name], [])
    token.write_text(text)
    await asyncio.wait_for(stopping, 60)
    assert (await runs.end(order)).status == "succeeded"
    assert runs.failures == ["it was ended"]
    assert runs.witness.attempts() == 2


async def test_pod_of_a_task_that_ended_is_deleted_when_the_token_is_there_again(
    runs: PodRig, token: Path
) -> None:
    """Its outcome counts at once; the run has no end before its last pod is gone."""
    text = token.read_text()
    order = await runs.order(play=HELD)
    await runs.supervisor.start(order)
    pod = await runs.pod()
    token.unlink()
    await runs.wish(pod, hold="go")
    await when(lambda: runs.told(TaskFinished))
    await asyncio.sleep(1)
    assert runs.told(RunFinished) == []
    assert len(await runs.listed()) == 1
    token.write_text(text)
    assert (await runs.end(order)).status == "succeeded"
    await when(lambda: not runs.pods.seen)
    assert (runs.failures, runs.witness.attempts()) == ([], 1)
