"""What holds in the tasks' namespace before there is any profile, and whatever profiles say.

The baseline denies all in both directions, so that a pod whose profile is missing, late or deleted
reaches nothing: a race costs availability and leaks nothing. Its denials of the clouds' metadata
addresses win over every allow, of other people's policies too (``egressDeny``, Cilium).
"""

from __future__ import annotations

from gateway.canonical import Json
from gateway.cluster.marks import CUT, PROFILE_LABEL
from gateway.network.addresses import METADATA
from gateway.network.cilium import Manifest
from gateway.network.marks import BASELINE, CUT_POLICY, MANAGED
from gateway.network.sites import Site
from gateway.network.validate import check_policy

INIT_DENY_EXPLANATION = (
    "As long as Cilium does not know a pod's labels (the API server is away, say), the pod is "
    "`reserved:init` and no policy of a namespace selects it. This clusterwide policy denies such "
    "endpoints everything. It touches every pod of the cluster that Cilium manages, not ours "
    "alone: apply it when the cluster's administrators agree."
)
ENFORCE_ALWAYS_EXPLANATION = (
    "`policyEnforcementMode: always` (Cilium's Helm value; `enable-policy: always` in its "
    "ConfigMap) denies every pod of the cluster what no policy allows it, system pods included. "
    "With it, a namespace whose policies are all gone denies too. It is a setting of Cilium and "
    "no policy: everything in the cluster needs its policies before it is switched on."
)


def baseline(namespace: str) -> tuple[Manifest, ...]:
    """Return the policies that a namespace of tasks has from its installation on: two.

    An administrator installs them (``deploy/``), and the gateway only compares them. Raises
    ``Misconfigured`` when ``namespace`` is not the name of one.
    """
    return deny_all(namespace), cut_deny(namespace)


def deny_all(namespace: str) -> Manifest:
    """Return the policy that denies every pod everything, and metadata addresses above all."""
    denied: list[Json] = [{"cidr": address} for address in METADATA]
    return _fixed(
        BASELINE,
        namespace,
        {
            "endpointSelector": {},
            "ingress": [{}],
            "egress": [{}],
            "egressDeny": [{"toCIDRSet": denied}],
        },
    )


def cut_deny(namespace: str) -> Manifest:
    """Return the policy of pods whose network was taken away (``sluice cut``).

    Without a profile's label the baseline holds them already, as long as nobody allows anything to
    all pods of the namespace; an explicit denial wins over that too.
    """
    return _fixed(
        CUT_POLICY,
        namespace,
        {
            "endpointSelector": {"matchLabels": {PROFILE_LABEL: CUT}},
            "ingress": [{}],
            "egress": [{}],
            "ingressDeny": [{"fromEntities": ["all"]}],
            "egressDeny": [{"toEntities": ["all"]}],
        },
    )


def _fixed(name: str, namespace: str, spec: dict[str, Json]) -> Manifest:
    manifest: Manifest = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {
            "name": name,
            "namespace": Site(namespace).namespace,
            "labels": dict(MANAGED),
        },
        "spec": spec,
    }
    check_policy(manifest)
    return manifest


def init_deny() -> Manifest:
    """Return the clusterwide policy of ``INIT_DENY_EXPLANATION``."""
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": "sluice-init-deny", "labels": dict(MANAGED)},
        "spec": {
            "description": "Deny endpoints that have no identity yet.",
            "endpointSelector": {"matchLabels": {"reserved:init": ""}},
            "ingress": [{}],
            "egress": [{}],
        },
    }
