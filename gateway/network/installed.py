"""The policies that an administrator installed, as they are in the cluster: compared, never made.

One that may be repaired by whoever binds profiles would be no baseline.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.cluster.client import Object
from gateway.errors import Misconfigured
from gateway.network.baseline import baseline
from gateway.network.cilium import called
from gateway.network.policy_objects import faults, verdict

INSTALL = "kubectl apply -k deploy/cluster"


class Installed:
    """What has to be in one namespace before anything is allowed in it."""

    def __init__(self, namespace: str) -> None:
        """Raise ``Misconfigured`` when ``namespace`` is not the name of one."""
        self._namespace = namespace
        self._wanted = {called(manifest): manifest for manifest in baseline(namespace)}

    def broken(self, there: Mapping[str, Object]) -> tuple[str, ...]:
        """Return a sentence for each policy that is not as it was installed.

        ``there`` are the namespace's policies by name.
        """
        found = []
        for name, manifest in self._wanted.items():
            if name not in there:
                found.append(f"{name} is missing")
            elif where := faults(manifest, there[name]):
                found.append(f"{name} differs in {', '.join(where)}")
            elif (condition := verdict(there[name])) and condition.get("status") == "False":
                reason = condition.get("message") or "without a reason"
                found.append(f"Cilium refuses {name}: {reason}")
        return tuple(found)

    def check(self, there: Mapping[str, Object], *, require_valid: bool) -> bool:
        """Return whether Cilium says of policies here whether they are valid.

        It does where it says so of these, which have been there long enough. Raises
        ``Misconfigured`` (``baseline_missing``), and with ``require_valid`` (``validity_unknown``).
        """
        if wrong := self.broken(there):
            raise Misconfigured(
                "baseline_missing",
                f"in namespace {self._namespace} {'; '.join(wrong)}: what is not allowed would "
                f"not be denied; install it: {INSTALL}",
                step="bind",
            )
        told = any(verdict(there[name]) is not None for name in self._wanted)
        if require_valid and not told:
            raise Misconfigured(
                "validity_unknown",
                "Cilium does not say whether policies are valid, and cluster.require_valid asks "
                "for it; see that the Cilium operator runs, or switch the setting off",
                step="bind",
            )
        return told
