"""Whether two peers can be one place: some address can be behind both.

A name and an address cannot be compared (DNS decides, and changes its mind), so they never overlap
here. Wildcards are taken for any depth, which is more than ``*.`` of Cilium matches: whoever asks
about overlaps wants the careful answer.
"""

from __future__ import annotations

from gateway.network import addresses
from gateway.network.peers import Addresses, AnyPeer, Name, Pods


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
