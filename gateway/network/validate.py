"""A closed grammar of the policies that Sluice writes: whatever is not in it is refused.

The compiler asks it about its own work, and the binder before it sends anything. It refuses what
Cilium 1.20 would refuse (``rule_validation.go``: two kinds of peers in one rule, more than 40
ports, a port that is no number, DNS rules with ranges, holes outside their range ...) and what
Cilium takes and reads more widely than it looks: rules without a peer, host bits, octal ports,
selectors with a source, ``endPort`` below ``port``, everything in two pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

from gateway.canonical import Json, sha256
from gateway.cluster.marks import CUT, PROFILE_LABEL
from gateway.errors import IntegrityViolation
from gateway.network import addresses, names
from gateway.network.marks import BASELINE, CANONICAL, CUT_POLICY, MANAGED, policy_name
from gateway.network.reading import Fault, at, items, record, text
from gateway.network.rulecheck import check_cidr, check_rule

MAX_ANNOTATION = 200 * 1024  # bytes; all annotations of an object may have 256 KiB (Kubernetes)

_DIGEST = "sha256:"
_PROFILE = re.compile(r"p-[0-9a-f]{32}")


def check_policy(manifest: Mapping[str, Json]) -> None:
    """Raise ``IntegrityViolation`` that names the field, unless the policy is one of ours."""
    try:
        _policy(manifest)
    except Fault as fault:
        raise IntegrityViolation(
            "policy_unsound",
            f"network policy: {f'{fault.field} ' if fault.field else ''}{fault.reason}",
            step="bind",
            field=fault.field,
        ) from fault


def _policy(manifest: object) -> None:
    entry = record(manifest, ("apiVersion", "kind", "metadata", "spec"))
    _is(entry, "apiVersion", "cilium.io/v2")
    _is(entry, "kind", "CiliumNetworkPolicy")
    with at("metadata"):
        name = _metadata(entry["metadata"])
    with at("spec"):
        _FIXED.get(name, partial(_profile_spec, name))(entry["spec"])


def _profile_spec(profile: str, value: object) -> None:
    spec = record(value, ("endpointSelector", "ingress", "egress"))
    _is(spec, "endpointSelector", {"matchLabels": {PROFILE_LABEL: profile}})
    _is(spec, "ingress", [{}])
    with at("egress"):
        _egress(spec["egress"])


def _baseline_spec(value: object) -> None:
    spec = record(value, ("endpointSelector", "ingress", "egress", "egressDeny"))
    _is(spec, "endpointSelector", {})
    _is(spec, "ingress", [{}])
    _is(spec, "egress", [{}])
    with at("egressDeny"):
        _denials(spec["egressDeny"])


def _cut_spec(value: object) -> None:
    spec = record(value, ("endpointSelector", "ingress", "egress", "ingressDeny", "egressDeny"))
    _is(spec, "endpointSelector", {"matchLabels": {PROFILE_LABEL: CUT}})
    _is(spec, "ingress", [{}])
    _is(spec, "egress", [{}])
    _is(spec, "ingressDeny", [{"fromEntities": ["all"]}])
    _is(spec, "egressDeny", [{"toEntities": ["all"]}])


def _metadata(value: object) -> str:
    """Return the profile's name, or that of a policy which comes with the namespace."""
    meta = record(value, ("name", "namespace", "labels"), ("annotations",))
    _is(meta, "labels", dict(MANAGED))
    with at("namespace"):
        names.check_kubernetes_name(text(meta["namespace"]))
    with at("name"):
        found = text(meta["name"])
        if found in _FIXED:
            return found
        profile = found.removeprefix("sluice-")
        if not _PROFILE.fullmatch(profile) or found != policy_name(profile):
            raise Fault(f"is not the name of a profile's policy: {found!r}")
    with at("annotations"):
        notes = record(meta.get("annotations"), (CANONICAL,))
        with at(CANONICAL):
            _content(text(notes[CANONICAL]), profile)
    return profile


def _content(canonical: str, profile: str) -> None:
    """The name is made of the content; the annotation holds it, or its digest when it is long."""
    data = canonical.encode()
    if len(data) > MAX_ANNOTATION:
        raise Fault(f"is longer than {MAX_ANNOTATION} bytes")
    whole = canonical.removeprefix(_DIGEST) if canonical.startswith(_DIGEST) else sha256(data)
    if f"p-{whole[:32]}" != profile:
        raise Fault(f"is not the content that {profile} is made of")


def _denials(value: object) -> None:
    for index, item in enumerate(items(value)):
        with at(index):
            ranges = record(item, ("toCIDRSet",))["toCIDRSet"]
            for place, entry in enumerate(items(ranges)):
                with at("toCIDRSet", place, "cidr"):
                    check_cidr(record(entry, ("cidr",))["cidr"])


def _egress(value: object) -> None:
    rules = items(value)
    if value == [{}]:
        return
    said = []
    for index, item in enumerate(rules):
        with at(index):
            said.append(check_rule(item))
    asked = {name for rule in said for name in rule.asked}
    for index, rule in enumerate(said):
        if rule.name is not None and rule.name not in asked:
            with at(index, "toFQDNs"):
                raise Fault(f"has {rule.name}, which no DNS rule lets anybody ask for")
    if addresses.is_world(span for rule in said for span in rule.held):
        raise Fault("holds the internet in disguise")


_FIXED: Mapping[str, Callable[[object], None]] = {
    BASELINE: _baseline_spec,
    CUT_POLICY: _cut_spec,
}


def _is(entry: Mapping[str, object], key: str, wanted: object) -> None:
    with at(key):
        if entry[key] != wanted:
            raise Fault(f"is not {wanted!r}")
