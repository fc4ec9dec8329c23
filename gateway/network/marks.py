"""What Sluice writes on objects of a cluster: names, labels, annotations (design, "Contract")."""

from __future__ import annotations

from collections.abc import Mapping

PROFILE_LABEL = "sluice/profile"
CANONICAL = "sluice/profile-canonical"
MANAGED: Mapping[str, str] = {"app.kubernetes.io/managed-by": "sluice"}
BASELINE = "sluice-baseline"


def policy_name(profile_name: str) -> str:
    """Return the name of the policy object of a profile."""
    return f"sluice-{profile_name}"
