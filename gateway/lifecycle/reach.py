"""What the tasks of a graph may reach, by today's destinations and today's Services.

Asked twice, when a launch is planned and when it is bound: the plan freezes the first answer, and
the second has to be the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.canonical import Json
from gateway.model import TaskGraph
from gateway.network.binder import NetworkBinder
from gateway.network.profiles import Profile, profiles
from gateway.policy.decide import LoadedPolicy


@dataclass(frozen=True, slots=True)
class Reach:
    """The profile of each egress set, and what each Service among the destinations is now.

    A Service, by the destination's name, is ``{namespace, name, type, selector, ports}`` with the
    ports of its pods, and ``service_account`` where the catalogue says it.
    """

    by_egress: Mapping[tuple[str, ...], Profile] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)

    @property
    def profiles(self) -> dict[str, Profile]:
        """The profiles by name, in order."""
        return {item.name: item for item in sorted(self.by_egress.values(), key=lambda p: p.name)}

    @property
    def names(self) -> dict[str, str]:
        """The name of each egress set's profile, as a plan has it: all else follows from these."""
        return {",".join(egress): item.name for egress, item in sorted(self.by_egress.items())}


async def reach_of(binder: NetworkBinder, policy: LoadedPolicy, graph: TaskGraph) -> Reach:
    """Return what a graph's tasks may reach; its egress has to be in the catalogue.

    Raises ``Unprocessable`` for a Service that cannot be reached as it is and for destinations that
    cannot be together, ``Retryable`` and ``Misconfigured`` where the cluster does not answer.
    """
    used = {name for node in graph.nodes.values() for name in node.egress}
    catalogue = await binder.catalogue(destination_catalogue(policy), used)
    found = {name: catalogue[name].get("service") for name in sorted(used)}
    return Reach(
        profiles(graph, catalogue, binder.site),
        {name: service for name, service in found.items() if isinstance(service, Mapping)},
    )


def destination_catalogue(policy: LoadedPolicy) -> dict[str, Mapping[str, Json]]:
    """Return every destination as ``network`` reads it."""
    return {name: item.to_json() for name, item in policy.snapshot.data.destinations.items()}
