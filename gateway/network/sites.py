"""Where profiles are in force: the namespace of the tasks' pods, and the cluster's way with DNS."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.canonical import Json
from gateway.errors import Misconfigured
from gateway.network.dns import KUBE_DNS, DnsFlavour, flavour
from gateway.network.names import check_kubernetes_name
from gateway.network.reading import Fault
from gateway.settings import ClusterSettings


@dataclass(frozen=True, slots=True)
class Site:
    """One namespace of one cluster. Raises ``Misconfigured`` when the namespace is no name."""

    namespace: str = "sluice-tasks"
    dns: DnsFlavour = KUBE_DNS

    def __post_init__(self) -> None:
        try:
            check_kubernetes_name(self.namespace)
        except Fault as fault:
            raise Misconfigured(
                "namespace_invalid", f"the namespace {fault.reason}", step="bind"
            ) from fault

    def to_json(self) -> dict[str, Json]:
        """Return the canonical form."""
        return {"namespace": self.namespace, "dns": self.dns.to_json()}


def site_of(settings: ClusterSettings) -> Site:
    """Return the place that an installation's settings name. Raises ``Misconfigured``."""
    return Site(settings.namespace, flavour(settings.dns))


EMBEDDED = Site()  # names profiles where no cluster is configured
