"""The collaborators that the stages share: made by ``app.py``, named here by their seams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gateway.decisionlog.log import DecisionLog
from gateway.graph.pod_resolver import PodResolver
from gateway.graph.resolver import SandboxResolver
from gateway.identity.verifier import TokenVerifier
from gateway.keys import KeyRing
from gateway.lifecycle.hub import EventHub
from gateway.network.binder import NetworkBinder
from gateway.policy.reload import PolicyWatcher
from gateway.settings import Settings
from gateway.store.database import Database


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a stage may need; it takes what it names and no more."""

    settings: Settings
    keys: KeyRing
    database: Database
    log: DecisionLog
    verifier: TokenVerifier
    policy: PolicyWatcher
    resolver: SandboxResolver
    pod_resolver: PodResolver | None  # of pipelines that live in images; None without a cluster
    binder: NetworkBinder
    hub: EventHub
    clock: Callable[[], datetime]
    public_key: Callable[[], str]  # verifies the log's checkpoints

    def workspace(self, pipeline: str, launch_id: str, *, keep: bool) -> Path:
        """Return the folder that a run writes into: kept by pipeline, or private to the launch.

        On a cluster it is a path in a volume claim, or nowhere that outlives a pod.
        """
        if self.settings.cluster.enabled:
            claim = self.settings.cluster.workspace_claim
            kind = f"pipelines/{pipeline}" if keep else f"runs/{launch_id}"
            return Path("volume", claim or "none", kind)
        state = self.settings.state_dir.resolve()
        return state / "workspaces" / pipeline if keep else self.scratch(launch_id) / "workspace"

    def scratch(self, launch_id: str) -> Path:
        """Return the private folder of a launch: task logs, its lock, its workspace."""
        return self.settings.state_dir.resolve() / "runs" / launch_id
