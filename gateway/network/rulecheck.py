"""One egress rule of the closed grammar: exactly one peer, counted ports, perhaps names.

Each check raises ``Fault`` with the place in the rule. See ``validate`` for what is refused, why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.network import addresses, names
from gateway.network.peers import ACCOUNT_KEY, NAMESPACE_KEY
from gateway.network.ports import LAST, MAX_ENTRIES, number
from gateway.network.reading import Fault, at, items, record, text

_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PEERS = ("toFQDNs", "toCIDRSet", "toEndpoints", "toEntities")


@dataclass(frozen=True, slots=True)
class Said:
    """What a rule says: the DNS name it reaches, the names it lets ask for, addresses it holds."""

    name: str | None = None
    asked: frozenset[str] = frozenset()
    held: tuple[addresses.Span, ...] = ()


def check_rule(value: object) -> Said:
    """Check one entry of ``egress``. Raises ``Fault``."""
    entry = record(value, ("toPorts",), _PEERS)
    kinds = [kind for kind in _PEERS if kind in entry]
    if len(kinds) != 1:
        raise Fault(f"has to name exactly one kind of peer, not {' and '.join(kinds) or 'none'}")
    kind = kinds[0]
    name: str | None = None
    held: tuple[addresses.Span, ...] = ()
    with at(kind):
        peer = _single(entry[kind])
        with at(0):
            match kind:
                case "toFQDNs":
                    name = _match(peer)
                case "toCIDRSet":
                    held = _range(peer)
                case "toEndpoints":
                    _selector(peer)
                case _:
                    if peer != "kube-apiserver":
                        raise Fault("is not kube-apiserver, the one entity that tasks may reach")
    with at("toPorts"):
        port_rule = _single(entry["toPorts"])
        with at(0):
            asked = _port_rule(port_rule, kind)
    return Said(name, asked, held)


def check_cidr(value: object) -> addresses.Network:
    """Check a range, which has to have its prefix length. Raises ``Fault``."""
    network = addresses.parse_network(text(value))
    if value != str(network):
        raise Fault(f"has no prefix length: {value!r}")
    return network


def _single(value: object) -> object:
    found = items(value)
    if len(found) != 1:
        raise Fault("has more than one entry")
    return found[0]


def _match(value: object) -> str:
    entry = record(value, (), ("matchName", "matchPattern"))
    if len(entry) != 1:
        raise Fault("has to have matchName or matchPattern")
    ((key, item),) = entry.items()
    with at(key):
        name = text(item)
        if name.startswith("*.") != (key == "matchPattern"):
            raise Fault(f"is not of that form: {name!r}")
        names.check_pattern(name)
    return name


def _range(value: object) -> tuple[addresses.Span, ...]:
    entry = record(value, ("cidr",), ("except",))
    with at("cidr"):
        network = check_cidr(entry["cidr"])
    holes: tuple[addresses.Network, ...] = ()
    if "except" in entry:
        with at("except"):
            for hole in items(entry["except"]):
                check_cidr(hole)
            holes = addresses.parse_except(network, map(text, items(entry["except"])))
    held = addresses.spans(network, holes)
    if found := addresses.metadata_in(held):
        raise Fault(f"holds metadata addresses: {', '.join(found)}")
    return held


def _selector(value: object) -> None:
    labels = record(value, ("matchLabels",))["matchLabels"]
    with at("matchLabels"):
        if not isinstance(labels, Mapping) or NAMESPACE_KEY not in labels:
            raise Fault("does not name a namespace")
        if not set(labels) - {NAMESPACE_KEY, ACCOUNT_KEY}:
            raise Fault("has no label of a pod: it would select a whole namespace")
        for key, item in labels.items():
            with at(key):
                if not isinstance(item, str):
                    raise Fault("has to be a text")
                if key == NAMESPACE_KEY:
                    names.check_kubernetes_name(item)
                elif key == ACCOUNT_KEY:
                    names.check_service_account(item)
                else:
                    if not key.startswith("k8s:"):
                        raise Fault("has no source k8s")
                    names.bare_label_key(key)
                    names.check_label_value(item)


def _port_rule(value: object, kind: str) -> frozenset[str]:
    """Return the names that a DNS rule lets a pod ask for."""
    entry = record(value, ("ports",), ("serverNames", "rules"))
    ports = items(entry["ports"])
    with at("ports"):
        if len(ports) > MAX_ENTRIES:
            raise Fault(f"has more than {MAX_ENTRIES} entries")
    dns = "rules" in entry
    for index, item in enumerate(ports):
        with at("ports", index):
            _port(item, ("ANY",) if dns else ("TCP",) if "serverNames" in entry else ("TCP", "UDP"))
    if dns:
        return _dns(entry, kind)
    if "serverNames" in entry:
        with at("serverNames"):
            listed = [text(item) for item in items(entry["serverNames"])]
            for name in listed:
                names.check_name(name)
            if len(set(listed)) != len(listed):
                raise Fault("has a name twice")
    return frozenset()


def _dns(entry: Mapping[str, object], kind: str) -> frozenset[str]:
    with at("rules"):
        rules = record(entry["rules"], ("dns",))
        if "serverNames" in entry or kind not in {"toEndpoints", "toCIDRSet"}:
            raise Fault("do not go with serverNames or with this kind of peer")
        if any(isinstance(port, Mapping) and "endPort" in port for port in items(entry["ports"])):
            raise Fault("do not go with ranges of ports")
        asked = set()
        for index, item in enumerate(items(rules["dns"])):
            with at("dns", index):
                asked.add(_match(item))
        return frozenset(asked)


def _port(value: object, protocols: Sequence[str]) -> None:
    entry = record(value, ("port", "protocol"), ("endPort",))
    with at("port"):
        written = text(entry["port"])
        if not _PORT.fullmatch(written) or int(written) > LAST:
            raise Fault(f"is not a decimal number from 1 to {LAST}: {written!r}")
    with at("protocol"):
        if text(entry["protocol"]) not in protocols:
            raise Fault(f"is not {' or '.join(protocols)}: {entry['protocol']!r}")
    if "endPort" in entry:
        with at("endPort"):
            if number(entry["endPort"]) <= int(written):
                raise Fault("is not above port")
