"""Address ranges: what they hold, and which are the whole internet in disguise.

Ranges with host bits are refused because Cilium would drop the bits and so widen them. Cilium
refuses none of the other things that are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from gateway.network.reading import Fault

Network = IPv4Network | IPv6Network
Span = tuple[int, int, int]  # IP version, first address, last address

# Where clouds hand out credentials to whoever asks from inside a machine. Link-local addresses that
# serve names (169.254.20.10 of node-local-dns) must never be among them.
METADATA: tuple[str, ...] = (
    "169.254.169.254/32",  # AWS, Google, Azure, Oracle, OpenStack, DigitalOcean: instance metadata
    "169.254.170.2/32",  # AWS: credentials of an ECS task
    "169.254.170.23/32",  # AWS: EKS Pod Identity Agent (EKS user guide, "pod-id-agent-setup")
    "169.254.0.23/32",  # Tencent Cloud: metadata.tencentyun.com
    "169.254.10.10/32",  # Tencent Cloud: the same on older networks
    "169.254.42.42/32",  # Scaleway (cloud-init, datasource Scaleway)
    "100.100.100.200/32",  # Alibaba Cloud: ECS instance metadata
    "192.0.0.192/32",  # Oracle Cloud Classic
    "168.63.129.16/32",  # Azure: WireServer (Azure docs, "What is IP address 168.63.129.16")
    "fd00:ec2::254/128",  # AWS: instance metadata over IPv6
    "fd00:ec2::23/128",  # AWS: EKS Pod Identity Agent over IPv6
    "fd20:ce::254/128",  # Google: machines that have IPv6 alone
    "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud over IPv6
    "fd00:42::42/128",  # Scaleway over IPv6 (cloud-init, datasource Scaleway)
    "fd00:a9fe:a9fe::1/128",  # Linode over IPv6
    "fe80::a9fe:a9fe/128",  # OpenStack over IPv6 (Neutron spec "metadata-add-ipv6-support")
)

# Addresses that no stranger can hold: RFC 1918, 6598, 1122, 3927; RFC 4193, 4291.
_PRIVATE = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
)
# IPv6 ranges that stand for IPv4 addresses: mapped, NAT64 (RFC 6052, 8215), 6to4, Teredo.
_DISGUISED = ("::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
# The most public addresses that the ranges of one task may hold: a /8 of IPv4, a /16 of IPv6.
WORLD = {4: 2**24, 6: 2**112}
# The widest range of one rule. The guard on profiles has the same bounds, and cannot count holes.
_WIDEST = {4: 7, 6: 16}
_SHAPE = re.compile(r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?")


def parse_network(value: str) -> Network:
    """Read an address or a range that is written as Python and Go write it. Raises ``Fault``."""
    try:
        network = ip_network(value, strict=False) if _SHAPE.fullmatch(value) else None
    except ValueError:
        network = None
    if network is None:
        raise Fault(f"is neither an address nor a range: {value!r}")
    if value not in {str(network), str(network.network_address)}:
        raise Fault(f"has host bits or another spelling: {value!r}; write {network}")
    if network.prefixlen == 0:
        raise Fault("is every address there is")
    if any(
        network.overlaps(d) for d in map(ip_network, _DISGUISED) if d.version == network.version
    ):
        raise Fault(f"stands for IPv4 addresses: {value}; write those")
    return network


def parse_except(network: Network, values: Iterable[str]) -> tuple[Network, ...]:
    """Read the holes of a range, merged and sorted. Each lies inside. Raises ``Fault``."""
    holes: list[Network] = []
    for value in values:
        hole = parse_network(value)
        if hole.version != network.version or not hole.subnet_of(network):  # type: ignore[arg-type]
            raise Fault(f"is not inside {network}: {value}")
        holes.append(hole)
    found = tuple(collapse_addresses(holes))  # type: ignore[type-var]
    if network in found:
        raise Fault(f"leaves nothing of {network}")
    return found


def is_wide(network: Network) -> bool:
    """Say whether a range is wider than any rule may be, whatever its holes leave of it."""
    private = (ip_network(text) for text in _PRIVATE)
    return network.prefixlen < _WIDEST[network.version] and not any(
        network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]
        for other in private
    )


def spans(network: Network, holes: Iterable[Network]) -> tuple[Span, ...]:
    """Return the addresses of a range outside its holes, as disjoint spans."""
    return _minus((_span(network),), [_span(hole) for hole in holes])


def meet(first: Iterable[Span], second: Iterable[Span]) -> bool:
    """Say whether two sets of addresses share one."""
    others = tuple(second)
    return any(a[0] == b[0] and a[1] <= b[2] and b[1] <= a[2] for a in first for b in others)


def metadata_in(held: Iterable[Span]) -> tuple[str, ...]:
    """Return the metadata addresses among these."""
    own = tuple(held)
    return tuple(text for text in METADATA if meet(own, [_span(ip_network(text))]))


def is_world(held: Iterable[Span]) -> bool:
    """Say whether these hold more public addresses than any one destination can mean."""
    public = _minus(_joined(held), [_span(ip_network(text)) for text in _PRIVATE])
    counts = {version: sum(s[2] - s[1] + 1 for s in public if s[0] == version) for version in WORLD}
    return any(counts[version] > limit for version, limit in WORLD.items())


def _span(network: Network) -> Span:
    first, last = int(network.network_address), int(network.broadcast_address)
    return network.version, first, last


def _joined(held: Iterable[Span]) -> tuple[Span, ...]:
    found: list[Span] = []
    for version, first, last in sorted(held):
        if found and found[-1][0] == version and first <= found[-1][2] + 1:
            found[-1] = version, found[-1][1], max(found[-1][2], last)
        else:
            found.append((version, first, last))
    return tuple(found)


def _minus(held: Iterable[Span], holes: Iterable[Span]) -> tuple[Span, ...]:
    left = list(held)
    for version, low, high in holes:
        cut: list[Span] = []
        for span in left:
            if span[0] != version or span[2] < low or high < span[1]:
                cut.append(span)
                continue
            if span[1] < low:
                cut.append((version, span[1], low - 1))
            if high < span[2]:
                cut.append((version, high + 1, span[2]))
        left = cut
    return tuple(left)
