"""What a schema of one file cannot say: names that have to exist elsewhere, and classes that leak.

Runs on values that their schemas have accepted; answers with findings and raises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from gateway.clock import rfc3339
from gateway.policy.data import PUBLIC
from gateway.policy.findings import Finding, unknown
from gateway.policy.lookup import Files, entries, unknown_name, unknown_names
from gateway.policy.podcheck import check_pods
from gateway.policy.yamlfile import Path


def cross_check(files: Files) -> list[Finding]:
    """Return every finding over the files that the gateway reads itself."""
    checks: tuple[Callable[[Files], Iterator[Finding]], ...] = (
        _pipelines,
        _destinations,
        _people,
        _members,
        _tiers,
        check_pods,
    )
    return [finding for check in checks for finding in check(files)]


def moment(text: str) -> str:
    """Return a day or a moment as the gateway writes moments. Raises ``ValueError``."""
    parsed = datetime.fromisoformat(text)
    return rfc3339(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


def _pipelines(files: Files) -> Iterator[Finding]:
    file = files["pipelines"]
    groups, destinations = entries(files, "groups"), entries(files, "destinations")
    for name, entry in entries(files, "pipelines").items():
        yield from unknown_name(file, (name, "owner"), "group", entry["owner"], groups)
        yield from unknown_names(file, (name, "launchers"), "group", entry["launchers"], groups)
        wanted = entry.get("destinations", [])
        yield from unknown_names(file, (name, "destinations"), "destination", wanted, destinations)
        for key, doc in entry.get("parameters", {}).items():
            if (doc.get("type") == "choice") != ("choices" in doc):
                yield file.finding(
                    (name, "parameters", key), "type `choice` and `choices` go together"
                )
        if standing := entry.get("standing_approval"):
            at = (name, "standing_approval")
            persons = entries(files, "persons")
            yield from unknown_name(file, (*at, "by"), "person", standing["by"], persons)
            try:
                moment(standing["until"])
            except ValueError:
                yield file.finding((*at, "until"), f"no such day or moment: {standing['until']}")


def _destinations(files: Files) -> Iterator[Finding]:
    file = files["destinations"]
    for name, entry in entries(files, "destinations").items():
        emits, accepts = set(entry["emits"]), set(entry["accepts"])
        if lost := sorted(accepts - emits):
            reason = (
                f"accepts {', '.join(lost)} and does not emit it: "
                "what is brought there could be read back without its class"
            )
            yield file.finding((name, "accepts"), reason)
        if entry["tenancy"] != "internal" and (leaks := sorted(accepts - {PUBLIC})):
            reason = (
                f"tenancy {entry['tenancy']} is open to strangers and accepts {', '.join(leaks)}; "
                f"only {PUBLIC} may go there"
            )
            yield file.finding((name, "accepts"), reason)
        for path, reason in _place(entry):
            yield file.finding((name, *path), reason)


def _place(entry: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield field and fault of what an entry says of where it is."""
    if reason := _host(entry["kind"], entry.get("host")):
        yield ("host",), reason
    for index, ports in enumerate(entry["ports"]):
        if isinstance(ports, Mapping) and ports["endPort"] < ports["port"]:
            yield ("ports", index), "endPort is below port"
    for field, kind in (("except", "cidr"), ("service_account", "service")):
        if entry.get(field) and entry["kind"] != kind:
            yield (field,), f"goes with kind {kind} alone"
    for index, hole in enumerate(entry.get("except", [])):
        if reason := _range(hole):
            yield ("except", index), reason


def _host(kind: str, host: str | None) -> str:
    if kind == "kube-apiserver":
        return "" if host is None else "kind kube-apiserver has no host: Cilium knows the address"
    if host is None:
        return f"needs host, as kind is {kind}"
    if kind == "cidr":
        return _range(host)
    if kind == "service":
        return "" if host.count("/") == 1 and "*" not in host else "has to be namespace/name"
    plain = host.removeprefix("*.")
    return "" if "*" not in plain and ":" not in host and "/" not in host else "not a DNS name"


def _range(text: str) -> str:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return f"{text!r} is neither an address nor a range"
    return ""


def _people(files: Files) -> Iterator[Finding]:
    file = files["persons"]
    held: dict[str, str] = {}
    for name, entry in entries(files, "persons").items():
        for key in ("accounts", "owns_agents"):
            for index, account in enumerate(entry.get(key, [])):
                if account in held:
                    reason = (
                        f"{account} belongs to {held[account]} already: one account, one person"
                    )
                    yield file.finding((name, key, index), reason)
                held.setdefault(account, name)


def _members(files: Files) -> Iterator[Finding]:
    persons = entries(files, "persons")
    for name, entry in entries(files, "groups").items():
        people = [(i, m) for i, m in enumerate(entry["members"]) if "#" not in m]
        for index, member in people:
            if member not in persons:
                path: Path = (name, "members", index)
                yield files["groups"].finding(path, unknown("person", member, persons))


def _tiers(files: Files) -> Iterator[Finding]:
    groups = entries(files, "groups")
    for tier, entry in entries(files, "limits")["tiers"].items():
        at = ("tiers", tier, "approvers")
        yield from unknown_names(files["limits"], at, "group", entry["approvers"], groups)
