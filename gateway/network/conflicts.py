"""What no destination does wrong alone, and the destinations of one task do together.

Cilium accepts each of these policies. What it would then enforce is not what was approved.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from gateway.errors import Misconfigured, Unprocessable
from gateway.network import addresses, ports
from gateway.network.destinations import NetworkDestination
from gateway.network.overlap import peers_meet
from gateway.network.peers import Addresses, Name, Pods
from gateway.network.sites import Site


def check_together(destinations: Sequence[NetworkDestination], site: Site) -> None:
    """Raise unless all of these may be in one profile at this site.

    ``Misconfigured`` when an entry cannot be used at this site at all, ``Unprocessable`` when only
    the combination is at fault: then the task can be split.
    """
    for item in destinations:
        _check_cluster_name(item, site)
        _check_dns_bypass(item, site)
    for a, b in combinations(destinations, 2):
        _check_server_names(a, b)
    _check_world(destinations)


def _check_cluster_name(item: NetworkDestination, site: Site) -> None:
    """``toFQDNs`` never matches pods, so such a rule would look right and allow nothing."""
    domain = site.dns.cluster_domain
    if isinstance(item.peer, Name) and f".{item.peer.host}".endswith(f".{domain}"):
        reason = f"is inside the cluster ({domain}), where names do not select; use kind service"
        raise _unusable(item, "host", reason)


def _check_dns_bypass(item: NetworkDestination, site: Site) -> None:
    """A plain rule to the resolvers would void the rule that names what may be asked for."""
    dns, peer = site.dns, item.peer
    reached = (isinstance(peer, Pods) and any(peer.meets(pods) for pods in dns.pods)) or (
        isinstance(peer, Addresses)
        and any(addresses.meet(peer.spans, range_.spans) for range_ in dns.addresses)
    )
    if reached and ports.meet(item.ports, dns.ports):
        reason = (
            f"hold {dns.port} of the cluster's DNS servers, where any name could be asked for; "
            "leave that port out"
        )
        raise _unusable(item, "ports", reason)


def _unusable(item: NetworkDestination, field: str, reason: str) -> Misconfigured:
    return Misconfigured(
        "destination_invalid",
        f"destination {item.name}: {field} {reason}",
        step="bind",
        field=f"{item.name}.{field}",
    )


def _check_server_names(a: NetworkDestination, b: NetworkDestination) -> None:
    """Refuse rules of which one changes what the other allows.

    Rules with and without server names for one selector and port merge so that all connections need
    one (``pkg/policy/rule.go``, 1.20); for two selectors that share an address, the plain rule
    voids the names. Two different lists for overlapping selectors depend on which port range is
    the narrower one. Each would be a surprise, so none is built.
    """
    if a.server_names == b.server_names or a.protocol != b.protocol:
        return
    if not ports.meet(a.ports, b.ports) or not peers_meet(a.peer, b.peer):
        return
    if a.server_names and b.server_names and a.peer == b.peer:
        return  # one selector: the lists add up
    if a.server_names and b.server_names:
        reason = "different TLS server names"
    else:
        reason = f"TLS server names demanded by {a.name if a.server_names else b.name} alone"
    raise Unprocessable(
        "destinations_conflict",
        f"destinations {a.name} and {b.name} share an address and a port, with {reason}; "
        "use them in separate tasks, or give both the same server_names",
        step="bind",
        diagnostics=f"ports {ports.spoken(a.ports)} and {ports.spoken(b.ports)}",
    )


def _check_world(destinations: Sequence[NetworkDestination]) -> None:
    """0.0.0.0/1 and 128.0.0.0/1 are everything, in two pieces or in two hundred."""
    ranges = [
        (i.name, span)
        for i in destinations
        if isinstance(i.peer, Addresses)
        for span in i.peer.spans
    ]
    if addresses.is_world(span for _, span in ranges):
        names = sorted({name for name, _ in ranges})
        raise Unprocessable(
            "destinations_conflict",
            f"the ranges of {', '.join(names)} together are the internet in disguise; "
            "use them in separate tasks, or name hosts instead of ranges",
            step="bind",
        )
