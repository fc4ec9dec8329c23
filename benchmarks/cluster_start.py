"""From a person's approval to the first pod, beside one bare creation of such a pod.

It begins when the approving HTTP request is sent and ends when the API server has answered the
first creation of a pod of that launch, by the server's own audit record: the policy asked again,
the approval durable, profiles in force and read back, code in the cluster.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.cluster_audit import Request
from benchmarks.cluster_gateway import Gateway, gateway
from benchmarks.cluster_pods import PODS, a_pod, runner, watched
from benchmarks.cluster_site import Site
from benchmarks.figures import Figure


async def measure(site: Site, rounds: int) -> list[Figure]:
    """Return milliseconds, with profiles that are bound already and with new ones."""
    bare = await _bare(site, rounds)
    async with gateway(site) as found:
        await _start(site, found, reach=1)  # code and profile come to the cluster
        bound = [await _start(site, found, reach=1) for _ in range(rounds)]
        new = [await _start(site, found, reach=2 + number) for number in range(rounds)]
    name, reference = "ms, bare creation", statistics.median(bare) * 1000
    return [
        Figure(f"approval to first pod, {which}, {label}", value * 1000, "ms", name, reference)
        for which, times in (("profiles bound", bound), ("new profiles", new))
        for label, value in (("p50", statistics.median(times)), ("p90", quantile(times, 0.9)))
    ]


def quantile(values: list[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


async def _start(site: Site, found: Gateway, reach: int) -> float:
    launch = await found.launch("asked", n=1, reach=reach)
    view = await found.view(launch, "awaiting_approval")
    mark, sent = site.audit.mark(), time.time()
    await found.approve(launch, view["plan"]["plan_digest"])
    await found.ended(launch)
    return next(
        request.answered - sent for request in site.audit.since(mark) if created(request, launch)
    )


def created(request: Request, launch: str) -> bool:
    """Whether this made a pod of the launch."""
    kind = (request.verb, request.resource, request.done)
    return kind == ("create", "pods", True) and request.name.startswith(launch.replace("-", ""))


async def _bare(site: Site, rounds: int) -> list[float]:
    times = []
    async with runner(site) as client, watched(site) as seen:
        for _ in range(rounds + 1):
            pod = a_pod()
            name = pod["metadata"]["name"]
            start = time.perf_counter()
            await client.create(PODS, pod)
            times.append(time.perf_counter() - start)
            await seen.end(name).wait()
            await client.delete(f"{PODS}/{name}", grace=0)
    return times[1:]  # the first one opened the connection
