"""What became of the policy folder: an entry in the log for each revision, accepted or refused."""

from __future__ import annotations

import structlog

from gateway.canonical import Json
from gateway.decisionlog.log import DecisionLog, Entry
from gateway.policy.decide import LoadedPolicy
from gateway.policy.findings import Finding

_log = structlog.get_logger()
_SHOWN = 20


class PolicyNotices:
    """Told by the policy watcher; remembers the newest answer for ``/readyz`` and metrics."""

    def __init__(self, log: DecisionLog) -> None:
        """``refusal`` is empty while the files in the folder are the policy in force."""
        self._log = log
        self.revision = ""
        self.refusal = ""

    async def loaded(self, policy: LoadedPolicy) -> None:
        """Log a revision before it is used. Raises, and then it is not used."""
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
