"""What a schema of one file cannot say: names that have to exist elsewhere, and classes that leak.

Runs on values that their schemas have accepted; answers with findings and raises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from gateway.clock import rfc3339
from gateway.policy.data import PUBLIC
from gateway.policy.findings import Finding, unknown
from gateway.policy.yamlfile import Path, YamlFile

Files = Mapping[str, YamlFile]


def cross_check(files: Files) -> list[Finding]:
    """Return every finding over the five files that the gateway reads itself."""
    checks: tuple[Callable[[Files], Iterator[Finding]], ...] = (
        _pipelines,
        _destinations,
        _people,
        _members,
        _tiers,
    )
    return [finding for check in checks for finding in check(files)]


def moment(text: str) -> str:
    """Return a day or a moment as the gateway writes moments. Raises ``ValueError``."""
    parsed = datetime.fromisoformat(text)
    return rfc3339(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


def _pipelines(files: Files) -> Iterator[Finding]:
    file = files["pipelines"]
    groups, destinations = _entries(files, "groups"), _entries(files, "destinations")
    for name, entry in _entries(files, "pipelines").items():
        yield from _known(file, (name, "owner"), "group", [entry["owner"]], groups, single=True)
        yield from _known(file, (name, "launchers"), "group", entry["launchers"], groups)
        wanted = entry.get("destinations", [])
        yield from _known(file, (name, "destinations"), "destination", wanted, destinations)
        for key, doc in entry.get("parameters", {}).items():
            if (doc.get("type") == "choice") != ("choices" in doc):
                yield file.finding(
                    (name, "parameters", key), "type `choice` and `choices` go together"
                )
        if standing := entry.get("standing_approval"):
            at = (name, "standing_approval")
            persons = _entries(files, "persons")
            yield from _known(file, (*at, "by"), "person", [standing["by"]], persons, single=True)
            try:
                moment(standing["until"])
            except ValueError:
                yield file.finding((*at, "until"), f"no such day or moment: {standing['until']}")


def _destinations(files: Files) -> Iterator[Finding]:
    file = files["destinations"]
    for name, entry in _entries(files, "destinations").items():
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
        if reason := _host(entry["kind"], entry["host"]):
            yield file.finding((name, "host"), reason)


def _host(kind: str, host: str) -> str:
    if kind == "cidr":
        try:
            ip_network(host, strict=False)
        except ValueError:
            return f"{host!r} is neither an address nor a range"
        return ""
    if kind == "service":
        return "" if host.count("/") == 1 and "*" not in host else "has to be namespace/name"
    plain = host.removeprefix("*.")
    return "" if "*" not in plain and ":" not in host and "/" not in host else "not a DNS name"


def _people(files: Files) -> Iterator[Finding]:
    file = files["persons"]
    held: dict[str, str] = {}
    for name, entry in _entries(files, "persons").items():
        for key in ("accounts", "owns_agents"):
            for index, account in enumerate(entry.get(key, [])):
                if account in held:
                    reason = (
                        f"{account} belongs to {held[account]} already: one account, one person"
                    )
                    yield file.finding((name, key, index), reason)
                held.setdefault(account, name)


def _members(files: Files) -> Iterator[Finding]:
    persons = _entries(files, "persons")
    for name, entry in _entries(files, "groups").items():
        people = [(i, m) for i, m in enumerate(entry["members"]) if "#" not in m]
        for index, member in people:
            if member not in persons:
                path: Path = (name, "members", index)
                yield files["groups"].finding(path, unknown("person", member, persons))


def _tiers(files: Files) -> Iterator[Finding]:
    groups = _entries(files, "groups")
    for tier, entry in _entries(files, "limits")["tiers"].items():
        at = ("tiers", tier, "approvers")
        yield from _known(files["limits"], at, "group", entry["approvers"], groups)


def _known(
    file: YamlFile,
    path: Path,
    what: str,
    names: Iterable[str],
    known: Mapping[str, Any],
    *,
    single: bool = False,
) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name not in known:
            yield file.finding(path if single else (*path, index), unknown(what, name, known))


def _entries(files: Files, name: str) -> dict[str, Any]:
    value: Any = files[name].value
    return value or {}
