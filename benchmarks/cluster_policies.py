"""Many runs of one pipeline: how many policies and Cilium identities they need.

An identity is a distinct set of the labels that Cilium looks at: namespace, service account and the
pod's own. A Job's pods carry the Job's name as a label, so one Job per task is one identity per
task and run; that reference is counted from the same pods, not guessed.
"""

from __future__ import annotations

import asyncio

from benchmarks.cluster_gateway import Gateway, gateway
from benchmarks.cluster_pods import Seen, watched
from benchmarks.cluster_site import Site
from benchmarks.figures import Figure
from gateway.cluster.marks import PROBE
from tests.cluster.bed.installation import TASKS

POLICIES = f"/apis/cilium.io/v2/namespaces/{TASKS}/ciliumnetworkpolicies"
SIZE = {"n": 20, "sets": 4}
AT_ONCE = 4


async def measure(site: Site, runs: int) -> list[Figure]:
    """Return counts after the first run, a tenth, and all of them."""
    figures = []
    profiles: set[str] = set()
    before = _policies(site)
    async with gateway(site) as found, watched(site) as seen:
        done = 0
        for until in sorted({1, max(1, runs // 10), runs}):
            while done < until:
                some = min(AT_ONCE, until - done)
                for plan in await asyncio.gather(*(_run(found) for _ in range(some))):
                    profiles.update(plan)
                done += some
            figures += _counted(site, seen, done, len(profiles), before)
    return figures


async def _run(found: Gateway) -> list[str]:
    launch = await found.launch("crowd", **SIZE)
    await found.ended(launch)
    view = await found.view(launch, "succeeded")
    profiles: list[str] = view["plan"]["profiles"]
    return profiles


def _counted(
    site: Site, seen: Seen, runs: int, profiles: int, before: frozenset[str]
) -> list[Figure]:
    jobs = sum(task != PROBE for _, task in seen.tasks)
    after = f"after {runs} run{'s' if runs > 1 else ''} of {SIZE['n']} tasks"
    policies = len(_policies(site) - before)
    return [
        Figure(f"CiliumNetworkPolicies {after}", policies, "", "distinct profiles", profiles),
        Figure(
            f"Cilium identities {after}", len(seen.identities), "", "with one Job per task", jobs
        ),
    ]


def _policies(site: Site) -> frozenset[str]:
    return frozenset(item["metadata"]["name"] for item in site.admin.get(POLICIES)["items"])
