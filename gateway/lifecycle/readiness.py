"""Whether requests can be served now, and what is in force: the answer of ``/readyz``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from gateway.decisionlog.signer import CheckpointSigner
from gateway.errors import GatewayError
from gateway.lifecycle.notices import PolicyNotices
from gateway.lifecycle.parts import Parts

_SHOWN = frozenset({"strangers"})  # an alarm, and no reason not to serve
_FRESH = 1.0  # seconds for which the store's answer is believed


class Readiness:
    """Asks each part for its state, at the moment of the question."""

    def __init__(
        self,
        parts: Parts,
        signer: CheckpointSigner,
        notices: PolicyNotices,
        layers: Mapping[str, bool],
        watchers: Mapping[str, Callable[[], str]],
    ) -> None:
        """``layers`` are the sandbox layers that this machine really has.

        ``watchers`` say what is wrong with a cluster, each in a sentence that is empty for nothing.
        """
        self._watchers = watchers
        self._parts = parts
        self._signer = signer
        self._notices = notices
        self._layers = layers
        self._store_checked = -_FRESH
        self._store_problem = ""

    async def report(self) -> Mapping[str, Any]:
        """Return the readiness document.

        A refused policy revision and a missing sandbox layer are shown and do not unready: the
        former policy is in force, and production does not start without its layers.
        """
        signing, why = self._signer.healthy
        failing = {
            "store": await self._store(),
            "checkpoint_signer": "" if signing else why,
            **{name: wrong() for name, wrong in self._watchers.items() if name not in _SHOWN},
        }
        shown = {**failing, "policy": self._notices.refusal}
        shown.update({name: self._watchers[name]() for name in _SHOWN & self._watchers.keys()})
        return {
            "ready": not any(failing.values()),
            "checks": {name: text or "ok" for name, text in shown.items()},
            "layers": dict(self._layers),
            "environment": self._parts.settings.environment,
            "enforcement": self._parts.binder.enforcement,
            "policy_revision": self._notices.revision,
            "log_size": self._parts.log.size,
        }

    async def _store(self) -> str:
        """Commit an empty transaction: a broken disk shows. Anybody may ask, so not each time."""
        if time.monotonic() - self._store_checked >= _FRESH:
            self._store_checked = time.monotonic()
            try:
                await self._parts.database.write(lambda connection: connection.execute("SELECT 1"))
                self._store_problem = ""
            except GatewayError as error:
                self._store_problem = error.public_message
        return self._store_problem
