"""Deciding over HTTP, beside a bare aiohttp server that answers the same bytes.

One request verifies a token, admits, asks policy about a graph that is at hand, and answers when
the entry is durable. The graph comes from memory here: what resolving costs is a figure of its own.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from benchmarks.bed import bed
from benchmarks.figures import Figure

SIZES = (1, 10, 100, 1000)
ROUNDS = {1: 60, 10: 60, 100: 20, 1000: 6}


async def measure() -> list[Figure]:
    """Return milliseconds a decision, by tasks in the graph."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        async with bed(Path(folder)) as found:
            _remember(found.gateway.parts.resolver)
            for tasks in SIZES:
                body = {"pipeline": "wide", "parameters": {"n": tasks}}

                async def ask(body: dict[str, Any] = body) -> object:
                    return await found.client.post("/v1/plans", body)

                answer = await ask()
                assert answer["decision"]["verdict"] == "allow", answer["decision"]
                value = await _median(ask, ROUNDS[tasks])
                reference = await _bare(answer, ROUNDS[tasks])
                figures.append(
                    Figure(
                        f"decide {tasks} task{'s' if tasks > 1 else ''} over HTTP",
                        value * 1000,
                        "ms",
                        "ms, bare aiohttp",
                        reference * 1000,
                    )
                )
    return figures


def _remember(resolver: Any) -> None:
    """Let the resolver answer a question that it was asked before from memory."""
    resolve, known = resolver.resolve, {}

    async def remembered(**question: Any) -> Any:
        key = tuple(sorted(question["parameters"].items()))
        if key not in known:
            known[key] = await resolve(**question)
        return known[key]

    resolver.resolve = remembered


async def _bare(answer: Any, rounds: int) -> float:
    async def handle(request: web.Request) -> web.Response:
        await request.json()
        return web.json_response(answer)

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with ClientSession() as session:

        async def ask() -> object:
            async with session.post(url, json={"pipeline": "wide"}) as response:
                return await response.json()

        seconds = await _median(ask, rounds)
    await runner.cleanup()
    return seconds


async def _median(call: Callable[[], Awaitable[object]], rounds: int) -> float:
    await call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        await call()
        times.append(time.perf_counter() - start)
        await asyncio.sleep(0)
    return statistics.median(times)
