"""What Sluice writes on policies of a cluster; for its pods see ``gateway.cluster.marks``."""

from __future__ import annotations

from collections.abc import Mapping

CANONICAL = "sluice/profile-canonical"
MANAGED: Mapping[str, str] = {"app.kubernetes.io/managed-by": "sluice"}
BASELINE = "sluice-baseline"
CUT_POLICY = "sluice-cut"
FIXED = (BASELINE, CUT_POLICY)  # an administrator installs them


def policy_name(profile_name: str) -> str:
    """Return the name of the policy object of a profile."""
    return f"sluice-{profile_name}"


def profile_of(policy: str) -> str:
    """Return the name of the profile that a policy of this name would have."""
    return policy.removeprefix("sluice-")
