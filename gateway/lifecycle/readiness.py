"""Whether requests can be served now, and what is in force: the answer of ``/readyz``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.decisionlog.signer import CheckpointSigner
from gateway.lifecycle.parts import Parts


class Readiness:
    """Asks each part for its state, at the moment of the question."""

    def __init__(self, parts: Parts, signer: CheckpointSigner, layers: Mapping[str, bool]) -> None:
        """``layers`` are the sandbox layers that this machine really has."""
        self._parts = parts
        self._signer = signer
        self._layers = layers

    def report(self) -> Mapping[str, Any]:
        """Return the readiness document. A missing sandbox layer is shown, and does not unready."""
        healthy, why = self._signer.healthy
        checks = {
            "checkpoint_signer": "ok" if healthy else why,
            "store": self._parts.database.problem or "ok",
            "policy": self._parts.policy.problem or "ok",
        }
        serving = {name: text for name, text in checks.items() if name != "policy"}
        return {
            "ready": all(text == "ok" for text in serving.values()),
            "checks": checks,
            "layers": dict(self._layers),
            "environment": self._parts.settings.environment,
            "enforcement": self._parts.binder.enforcement,
            "policy_revision": self._parts.policy.revision,
            "log_size": self._parts.log.size,
        }
