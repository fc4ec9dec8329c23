"""Whether two destinations can be one place: some address and port belongs to both.

A name and an address cannot be compared (DNS decides, and changes its mind), so they never overlap
here. Wildcards are taken for any depth, which is more than ``*.`` of Cilium matches: whoever asks
about overlaps wants the careful answer.
"""

from __future__ import annotations

from gateway.network import addresses, ports
from gateway.network.destinations import NetworkDestination
from gateway.network.peers import Addresses, AnyPeer, Name, Pods


def overlaps(a: NetworkDestination, b: NetworkDestination) -> bool:
    """Say whether some address and port belong to both."""
    if a.service is not None and a.service == b.service:
        return a.protocol == b.protocol
    return a.protocol == b.protocol and ports.meet(a.ports, b.ports) and peers_meet(a.peer, b.peer)


def peers_meet(a: AnyPeer, b: AnyPeer) -> bool:
    """Say whether one address can be behind both peers."""
    match a, b:
        case Name(), Name():
            return names_meet(a.host, b.host)
        case Addresses(), Addresses():
            return addresses.meet(a.spans, b.spans)
        case Pods(), Pods():
            return a.meets(b)
        case _:
            return a == b


def names_meet(a: str, b: str) -> bool:
    """Compare names of which either may begin with ``*.``."""
    if a == b:
        return True
    wide_a, wide_b = a.startswith("*."), b.startswith("*.")
    return (wide_a and b.endswith(a[1:])) or (wide_b and a.endswith(b[1:]))
