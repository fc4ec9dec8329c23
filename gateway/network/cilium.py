"""A profile as one CiliumNetworkPolicy, as text, and compared with what a cluster gives back.

The policy denies everything in both directions but what the profile holds. It never has an empty
``egress`` (which denies nothing), ``enableDefaultDeny`` (which can switch denial off), a rule
without a peer, or an entity other than the API server. Same profile, same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import yaml

from gateway.canonical import Json, encode, sha256
from gateway.cluster.marks import PROFILE_LABEL
from gateway.network.dns import dns_rules
from gateway.network.marks import CANONICAL, MANAGED, policy_name
from gateway.network.profiles import Profile
from gateway.network.rules import egress_rules
from gateway.network.validate import MAX_ANNOTATION, check_policy

Manifest = dict[str, Json]

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./:-]*[A-Za-z0-9/]")  # reads as text in every YAML
_WORDS = {"yes", "no", "on", "off", "true", "false", "null", "inf", "nan"}


def policy(profile: Profile) -> Manifest:
    """Return the CiliumNetworkPolicy of a profile.

    Raises ``Misconfigured`` for a Service that nobody has resolved, ``IntegrityViolation`` when
    what was built is not sound: the compiler is not trusted either.
    """
    egress: list[Json] = [
        *dns_rules(profile.site.dns, profile.dns_names),
        *chain.from_iterable(egress_rules(rule) for rule in profile.rules),
    ]
    manifest: Manifest = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {
            "name": policy_name(profile.name),
            "namespace": profile.site.namespace,
            "labels": dict(MANAGED),
            "annotations": {CANONICAL: canonical_text(profile)},
        },
        "spec": {
            "endpointSelector": {"matchLabels": {PROFILE_LABEL: profile.name}},
            "ingress": [{}],
            "egress": egress or [{}],
        },
    }
    check_policy(manifest)
    return manifest


def called(manifest: Manifest) -> str:
    """Return the name of a manifest's object."""
    metadata: Any = manifest["metadata"]
    return str(metadata["name"])


def canonical_text(profile: Profile) -> str:
    """Return the canonical form, or its whole digest where it is too long for an annotation.

    The name holds 128 bits of the digest; whoever reuses a policy compares this as well.
    """
    data = encode(profile.canonical)
    return data.decode() if len(data) <= MAX_ANNOTATION else f"sha256:{sha256(data)}"


def differences(wanted: Mapping[str, Json], found: Mapping[str, Json]) -> tuple[str, ...]:
    """Return where an object of the cluster is not the wanted one; nothing when it is.

    Only what decides is compared: identity, our labels and annotation, and all of the spec. What
    the server adds to the metadata (``uid``, ``managedFields``) and the status are its own.
    """
    return tuple(_differences("", _deciding(wanted), _deciding(found)))


def to_yaml(manifests: Iterable[Mapping[str, Json]]) -> str:
    """Return the manifests as a YAML stream with sorted keys: same manifests, same bytes.

    Texts that some reader could take for something else (``y``, ``1e3``, ``12:30``) are quoted.
    """
    return "".join(
        yaml.dump(manifest, Dumper=_Dumper, sort_keys=True, explicit_start=True, width=2**31 - 1)
        for manifest in manifests
    )


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper; it quotes more, and never uses anchors."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 -- PyYAML's signature
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else "'")


_Dumper.add_representer(str, _text)


def _deciding(manifest: Mapping[str, Json]) -> dict[str, Json]:
    """Return the parts of a manifest that decide what is enforced, and on what."""
    metadata = manifest.get("metadata")
    meta = metadata if isinstance(metadata, Mapping) else {}
    annotations = meta.get("annotations")
    return {
        **{key: value for key, value in manifest.items() if key not in {"metadata", "status"}},
        "metadata": {
            "name": meta.get("name"),
            "namespace": meta.get("namespace"),
            "labels": meta.get("labels"),
            "canonical": annotations.get(CANONICAL) if isinstance(annotations, Mapping) else None,
        },
    }


def _differences(path: str, a: Json, b: Json) -> Iterable[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}):
            at = f"{path}.{key}" if path else key
            if key not in a or key not in b:
                yield at
            else:
                yield from _differences(at, a[key], b[key])
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _differences(f"{path}[{index}]", one, other)
    elif a != b:
        yield path
