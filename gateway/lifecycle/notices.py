"""What became of the policy folder: an entry in the log for each revision, accepted or refused."""

from __future__ import annotations

import structlog

from gateway.canonical import Json
from gateway.decisionlog.log import DecisionLog, Entry
from gateway.network.destinations import problems
from gateway.policy.decide import LoadedPolicy
from gateway.policy.findings import Finding, refuse
from gateway.policy.snapshot import Snapshot

_log = structlog.get_logger()
_SHOWN = 20
_DESTINATIONS = "data/destinations.yaml"


def network_findings(snapshot: Snapshot) -> tuple[Finding, ...]:
    """Return the destinations that could not be enforced: wrong, or wider than they look."""
    catalogue = {name: item.to_json() for name, item in snapshot.data.destinations.items()}
    return tuple(
        Finding(_DESTINATIONS, 0, f"{problem.name}.{problem.field}: {problem.reason}")
        for problem in problems(catalogue)
    )


class PolicyNotices:
    """Told by the policy watcher; remembers the newest answer for ``/readyz`` and metrics."""

    def __init__(self, log: DecisionLog) -> None:
        """``refusal`` is empty while the files in the folder are the policy in force."""
        self._log = log
        self.revision = ""
        self.refusal = ""

    async def loaded(self, policy: LoadedPolicy) -> None:
        """Log a revision before it is used. Raises, and then it is not used.

        What no network policy could be made of is found here: ``PolicyInvalid``.
        """
        refuse(network_findings(policy.snapshot))
        version = policy.snapshot.version
        await self._log.append(Entry("policy.loaded", version.to_json()))
        self.revision, self.refusal = version.revision, ""
        _log.info("policy_loaded", revision=version.revision)

    async def refused(self, findings: tuple[Finding, ...]) -> None:
        """Log that a revision was refused and the old one stays."""
        shown: list[Json] = [str(finding) for finding in findings[:_SHOWN]]
        self.refusal = f"the files in the policy folder are refused: {shown[0]}"
        _log.error("policy_refused", findings=shown)
        await self._log.append(Entry("policy.refused", {"findings": shown}))
