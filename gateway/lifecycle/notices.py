"""What became of the policy folder: an entry in the log for each revision, accepted or refused."""

from __future__ import annotations

import structlog

from gateway.canonical import Json
from gateway.decisionlog.log import DecisionLog, Entry
from gateway.errors import GatewayError
from gateway.network.destinations import parse_destination, problems
from gateway.network.profiles import compiled
from gateway.network.sites import EMBEDDED, Site
from gateway.policy.decide import LoadedPolicy
from gateway.policy.findings import Finding, refuse
from gateway.policy.overlap import overlapping
from gateway.policy.snapshot import Snapshot

_log = structlog.get_logger()
_SHOWN = 20


def network_findings(snapshot: Snapshot, site: Site = EMBEDDED) -> tuple[Finding, ...]:
    """Return the destinations that could not be enforced: wrong, or wider than they look.

    Some are so at one ``site`` alone: a name inside that cluster, a range that holds its DNS.
    """
    data = snapshot.data
    catalogue = {name: item.to_json() for name, item in data.destinations.items()}
    found = {problem.name: problem for problem in problems(catalogue)}
    wrong = [
        data.finding("destinations", (problem.name, *problem.path), str(problem))
        for problem in found.values()
    ]
    for name, entry in sorted(catalogue.items()):
        try:
            if name not in found:
                compiled([parse_destination(name, entry)], site)
        except GatewayError as error:
            field = (error.field or "").partition(".")[2]
            path = (name, field) if field else (name,)
            wrong.append(data.finding("destinations", path, error.public_message))
    return tuple(wrong)


class PolicyNotices:
    """Told by the policy watcher; remembers the newest answer for ``/readyz`` and metrics."""

    def __init__(self, log: DecisionLog, site: Site = EMBEDDED) -> None:
        """``refusal`` is empty while the files in the folder are the policy in force.

        ``site`` is where destinations will be enforced.
        """
        self._log = log
        self._site = site
        self.revision = ""
        self.refusal = ""

    async def loaded(self, policy: LoadedPolicy) -> None:
        """Log a revision before it is used. Raises, and then it is not used.

        What no network policy could be made of is found here: ``PolicyInvalid``.
        """
        refuse(network_findings(policy.snapshot, self._site))
        version = policy.snapshot.version
        shared: list[Json] = [list(pair) for pair in overlapping(policy.snapshot.data.destinations)]
        await self._log.append(Entry("policy.loaded", {**version.to_json(), "overlaps": shared}))
        self.revision, self.refusal = version.revision, ""
        _log.info("policy_loaded", revision=version.revision)

    async def refused(self, findings: tuple[Finding, ...]) -> None:
        """Log that a revision was refused and the old one stays."""
        shown: list[Json] = [str(finding) for finding in findings[:_SHOWN]]
        self.refusal = f"the files in the policy folder are refused: {shown[0]}"
        _log.error("policy_refused", findings=shown)
        await self._log.append(Entry("policy.refused", {"findings": shown}))
