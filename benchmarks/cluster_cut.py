"""``sluice cut`` of a run with 200 running pods, beside its bare part: one bare patch of each.

It begins when the HTTP request of the command is sent and ends when the API server has accepted the
new label of the last pod, by the server's own audit record.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from benchmarks.cluster_audit import RUNNER
from benchmarks.cluster_gateway import IN_FLIGHT, Gateway, gateway
from benchmarks.cluster_pods import PODS, a_pod, runner, watched
from benchmarks.cluster_site import Site
from benchmarks.cluster_start import quantile
from benchmarks.figures import Figure
from gateway.cluster.marks import CUT, PROFILE_LABEL

_HELD = {"bed.sluice/hold": "running"}


async def measure(site: Site, rounds: int) -> list[Figure]:
    """Return milliseconds."""
    bare = await _bare(site)
    async with gateway(site) as found:
        times = [await _cut(site, found) for _ in range(rounds)]
    name = f"cut of {IN_FLIGHT} running pods"
    return [
        Figure(f"{name}, {label}", value * 1000, "ms", "ms, bare patches", bare * 1000)
        for label, value in (("p50", statistics.median(times)), ("p99", quantile(times, 0.99)))
    ]


async def _cut(site: Site, found: Gateway) -> float:
    async with watched(site) as seen:  # and not while it is cut
        launch = await found.launch("crowd", n=IN_FLIGHT + 1, play="hold=running")
        await seen.until_running(IN_FLIGHT)
    mark, sent = site.audit.mark(), time.time()
    body = {"kind": "cut", "launch_id": launch, "reason": "benchmark"}
    await found.ada.post("/v1/stops", body)
    await found.ended(launch, "cancelled")
    accepted = {
        request.name: request.answered
        for request in site.audit.since(mark)
        if (request.user, request.verb, request.resource) == (RUNNER, "patch", "pods")
        and request.done
    }
    assert len(accepted) == IN_FLIGHT, len(accepted)
    return max(accepted.values()) - sent


async def _bare(site: Site) -> float:
    pods = [a_pod() for _ in range(IN_FLIGHT)]
    for pod in pods:
        pod["metadata"]["annotations"] |= _HELD
    paths = [f"{PODS}/{pod['metadata']['name']}" for pod in pods]
    async with runner(site) as client:
        async with watched(site) as seen:
            await asyncio.gather(*(client.create(PODS, pod) for pod in pods))
            await seen.until_running(IN_FLIGHT)
        label = {"metadata": {"labels": {PROFILE_LABEL: CUT}}}
        start = time.perf_counter()
        await asyncio.gather(*(client.merge(path, label) for path in paths))
        seconds = time.perf_counter() - start
        await asyncio.gather(*(client.delete(path, grace=0) for path in paths))
        return seconds
