"""The client where no API server behaves well: what proxies, overload and broken lines answer.

What a healthy one says is asked of a real one, under tests/cluster.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.cluster.client import ClusterAway, ClusterClient, ClusterRefused, WatchExpired
from gateway.errors import IntegrityViolation, Misconfigured


@asynccontextmanager
async def served(folder: Path, status: int, body: str, **more: Any) -> AsyncIterator[ClusterClient]:
    """Yield a client of a server that gives one answer to everything."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    client = await ClusterClient.open(_kubeconfig(folder, f"http://{host}:{port}"), **more)
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


def _kubeconfig(folder: Path, server: str) -> Path:
    named = {
        "clusters": [{"name": "x", "cluster": {"server": server}}],
        "users": [{"name": "x", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps({"current-context": "x", **named}))
    return path


def _status(code: int, reason: str) -> str:
    return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": "words"})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, _status(500, "InternalError")),
        (503, "<html>the load balancer has nobody to ask</html>"),
        (429, _status(429, "TooManyRequests")),
        (200, "<html>hello</html>"),
        (200, "[" * 100_000),
    ],
)
async def test_not_now(tmp_path: Path, status: int, body: str) -> None:
    """Overload, a proxy's page and nonsense mean that nobody knows: ask again."""
    async with served(tmp_path, status, body) as client:
        with pytest.raises(ClusterAway):
            await client.get("/x")


async def test_refusal_keeps_reason_and_words(tmp_path: Path) -> None:
    """A refusal says what the server said, and which kind it is."""
    async with served(tmp_path, 409, _status(409, "AlreadyExists")) as client:
        with pytest.raises(ClusterRefused) as caught:
            await client.create("/x", {})
    error = caught.value
    assert (error.exists, error.missing, error.message) == (True, False, "words")


async def test_refusal_of_a_proxy(tmp_path: Path) -> None:
    """A refusal that is not Kubernetes' own is one all the same."""
    async with served(tmp_path, 403, "<html>no</html>") as client:
        with pytest.raises(ClusterRefused, match="<html>no</html>"):
            await client.get("/x")


async def test_an_answer_that_is_no_object(tmp_path: Path) -> None:
    """JSON of another shape is not taken for an object."""
    async with served(tmp_path, 200, "[]") as client:
        with pytest.raises(IntegrityViolation):
            await client.get("/x")


async def test_deleting_what_is_gone(tmp_path: Path) -> None:
    """What is gone is deleted; so is another object than the one that was meant."""
    async with served(tmp_path, 404, _status(404, "NotFound")) as client:
        await client.delete("/x")
    async with served(tmp_path, 409, _status(409, "Conflict")) as client:
        await client.delete("/x", uid="u")
        with pytest.raises(ClusterRefused):
            await client.delete("/x")


async def _watched(client: ClusterClient) -> list[str]:
    return [kind async for kind, _ in client.watch("/x", "1")]


async def test_watch_that_is_too_old(tmp_path: Path) -> None:
    """Said by the status or by an event: list again."""
    async with served(tmp_path, 410, _status(410, "Expired")) as client:
        with pytest.raises(WatchExpired):
            await _watched(client)
    event = json.dumps({"type": "ERROR", "object": json.loads(_status(410, "Expired"))})
    async with served(tmp_path, 200, f"{event}\n") as client:
        with pytest.raises(WatchExpired):
            await _watched(client)


async def test_watch_that_breaks(tmp_path: Path) -> None:
    """Half a line, or an error in the stream, is a break; a stream that ends is not."""
    bookmark = json.dumps({"type": "BOOKMARK", "object": {}})
    error = json.dumps({"type": "ERROR", "object": {"code": 500}})
    async with served(tmp_path, 200, f"{bookmark}\n") as client:
        assert await _watched(client) == ["BOOKMARK"]
    for broken in (bookmark[:9], error):
        async with served(tmp_path, 200, f"{bookmark}\n{broken}\n") as client:
            with pytest.raises(ClusterAway):
                await _watched(client)


async def test_data_is_cut(tmp_path: Path) -> None:
    """A log is read as far as it was asked for."""
    async with served(tmp_path, 200, "x" * 100_000) as client:
        assert len(await client.data("/x", 1000)) == 1000


async def test_nobody_listens(tmp_path: Path) -> None:
    """A closed port is a server that is away."""
    client = await ClusterClient.open(_kubeconfig(tmp_path, "http://127.0.0.1:9"))
    try:
        with pytest.raises(ClusterAway):
            await client.get("/x")
    finally:
        await client.close()


async def test_a_kubeconfig_that_is_none(tmp_path: Path) -> None:
    """Start-up says which file it could not use."""
    path = tmp_path / "kubeconfig"
    path.write_text("current-context: nowhere\n")
    with pytest.raises(Misconfigured, match=str(path)):
        await ClusterClient.open(path)


async def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    """Nor is a missing token a server that is away."""
    async with served(tmp_path, 200, "{}", token=tmp_path / "token") as client:
        with pytest.raises(Misconfigured, match="token"):
            await client.get("/x")


@pytest.mark.parametrize("body", ["{}", '{"items": null, "metadata": {}}', '{"items": []}'])
async def test_what_is_no_list_is_not_taken_for_an_empty_one(tmp_path: Path, body: str) -> None:
    """Whoever asks what is there acts on what is not."""
    async with served(tmp_path, 200, body) as client:
        with pytest.raises(IntegrityViolation, match="no list"):
            [item async for item in client.listed("/x")]
