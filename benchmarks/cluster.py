"""What one pod per task costs, on a real API server with ``deploy/cluster`` and its guard rails.

The bed (tests/cluster/README.md) is brought up for this alone. Where it cannot be had, because
there is no Go toolchain to build an API server with, these figures are skipped, and that is said.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rich.console import Console

from benchmarks import cluster_cut, cluster_policies, cluster_run, cluster_start
from benchmarks.cluster_site import NoClusterError, Site, site
from benchmarks.figures import Figure


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    runs: int  # of one pipeline
    starts: int  # of each kind
    tasks: int  # of one run
    most_tasks: int
    cuts: int


FULL = Scale(runs=100, starts=20, tasks=1000, most_tasks=2000, cuts=20)
QUICK = Scale(runs=10, starts=5, tasks=200, most_tasks=200, cuts=3)

PARTS: dict[str, Callable[[Site, Scale], Awaitable[list[Figure]]]] = {
    "policies": lambda site, scale: cluster_policies.measure(site, scale.runs),
    "start": lambda site, scale: cluster_start.measure(site, scale.starts),
    "run": lambda site, scale: cluster_run.measure(site, scale.tasks, scale.most_tasks),
    "cut": lambda site, scale: cluster_cut.measure(site, scale.cuts),
}


async def measure(scale: Scale = FULL, parts: tuple[str, ...] = tuple(PARTS)) -> list[Figure]:
    """Return the figures of some parts, one bed for each: none finds another's leftovers."""
    figures: list[Figure] = []
    for part in parts:
        try:
            with site() as found:
                figures += await PARTS[part](found, scale)
        except NoClusterError as error:
            Console(stderr=True).print(f"[bold]SKIPPED the cluster's figures[/]: {error}")
            break
    return figures
