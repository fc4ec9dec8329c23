"""Sees that the cluster keeps no code that no launch needs: again and again, from start to stop.

What may still be needed is read from the store, where the launches of a gateway that was stopped
stand too. A sweep that failed changes nothing but when the next one finds the same.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import structlog

from gateway.cluster.collector import PayloadCollector
from gateway.lifecycle.sweeping import sweeping
from gateway.settings import Settings
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.database import Database

_log = structlog.get_logger()
_ALIVE = tuple(state for state in LaunchState if not state.final)


class Collecting:
    """Collects as often as policies are compared."""

    def __init__(self, database: Database, settings: Settings, collector: PayloadCollector) -> None:
        """``database`` holds the launches."""
        self._database = database
        self._settings = settings
        self._collector = collector

    async def run(self) -> None:
        """Sweep until cancelled."""
        await sweeping(self.sweep, self._settings.cluster.audit_seconds, "collecting")

    async def sweep(self) -> list[str]:
        """Collect once, and return what went. Raises ``GatewayError``."""
        if collected := await self._collector.collect(self._needed):
            _log.info("payloads_collected", config_maps=collected)
        return collected

    async def _needed(self) -> set[Path]:
        """Return the kept code trees of all launches that were decided and have not ended.

        One that is still being resolved has asked for what its pod mounts a moment ago.
        """
        found = await self._database.read(partial(launches.in_states, states=_ALIVE))
        code = self._settings.code_dir
        return {code / record.plan["code_digest"] for record in found if record.plan}
