"""Large runs, 200 pods at a time, beside a bare loop that makes, awaits and deletes as many."""

from __future__ import annotations

import asyncio
import time

from benchmarks.cluster_audit import BINDER, RUNNER
from benchmarks.cluster_gateway import IN_FLIGHT, gateway, peaks
from benchmarks.cluster_pods import PODS, a_pod, runner, watched
from benchmarks.cluster_site import Site
from benchmarks.figures import Figure


async def measure(site: Site, tasks: int, most: int) -> list[Figure]:
    """Return figures of a run of ``tasks`` tasks, and the time of one of ``most``."""
    bare = await _bare(site, tasks)
    async with gateway(site) as found:
        await found.ended(await found.launch("crowd", n=2))
        mark, start = site.audit.mark(), time.perf_counter()
        async with peaks(found) as memory:
            await found.ended(await found.launch("crowd", n=tasks))
        ours = time.perf_counter() - start
        asked = site.audit.asked(mark, RUNNER, BINDER)
    name = f"run of {tasks} tasks, {IN_FLIGHT} pods at a time"
    figures = [
        Figure(name, ours, "s", "s, bare loop", bare),
        Figure(
            f"per task of that {name}", *_each(ours, tasks), "ms, bare loop", bare / tasks * 1e3
        ),
        Figure("overhead per task of that run", *_each(ours - bare, tasks)),
        Figure("gateway's memory at its peak", memory["gateway"], "MB"),
        Figure("driver's memory at its peak", memory["driver"], "MB"),
        Figure("API requests per task", asked / tasks, ""),
    ]
    if most > tasks:
        async with gateway(site) as found:
            start = time.perf_counter()
            async with peaks(found) as memory:
                await found.ended(await found.launch("crowd", n=most))
            figures += [
                Figure(f"run of {most} tasks", time.perf_counter() - start, "s"),
                Figure(f"gateway's memory at its peak, {most} tasks", memory["gateway"], "MB"),
            ]
    return figures


def _each(seconds: float, tasks: int) -> tuple[float, str]:
    return seconds / tasks * 1000, "ms"


async def _bare(site: Site, tasks: int) -> float:
    places = asyncio.Semaphore(IN_FLIGHT)
    async with runner(site) as client, watched(site) as seen:

        async def one() -> None:
            async with places:
                pod = a_pod()
                name = pod["metadata"]["name"]
                await client.create(PODS, pod)
                await seen.end(name).wait()
                await client.delete(f"{PODS}/{name}", grace=0)

        start = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(tasks)))
        return time.perf_counter() - start
