"""Step 7, when a run has its place: ask a newer policy, then put the plan's profiles in force.

The profiles are compiled anew from today's destinations and today's Services, and have to be those
that were decided: what people approved is what is bound, or nothing runs.
"""

from __future__ import annotations

from pathlib import Path

from gateway.decisionlog.log import Entry
from gateway.errors import IntegrityViolation
from gateway.lifecycle.decision import judge_launch
from gateway.lifecycle.moves import move
from gateway.lifecycle.parts import Parts
from gateway.lifecycle.podplan import planned_pod
from gateway.lifecycle.reach import reach_of
from gateway.lifecycle.warrant import Warrant
from gateway.model import LaunchRequest
from gateway.network.binder import BindOrder
from gateway.policy.data import Pipeline
from gateway.policy.decide import LoadedPolicy
from gateway.states import LaunchState
from gateway.store.launches import LaunchRecord


class ProfileBinding:
    """Binds what a warrant allows."""

    def __init__(self, parts: Parts) -> None:
        """``parts`` gives policy, binder and log."""
        self._parts = parts

    async def bind(self, record: LaunchRecord, warrant: Warrant, workspace: Path) -> None:
        """Return when all profiles of the plan are in force. Raises ``GatewayError`` otherwise."""
        parts, plan = self._parts, warrant.plan
        async with parts.policy.lease() as policy:
            pipeline = catalogued(policy, plan["pipeline"])
            if policy.snapshot.version.revision != plan["policy_revision"]:
                await self._decide_again(policy, record, warrant)
            reach = await reach_of(parts.binder, policy, warrant.graph)
        if reach.names != plan["reach"]:
            raise IntegrityViolation(
                "profiles_changed",
                "a destination's address changed after the decision; launch again",
                step="bind",
            )
        if planned_pod(pipeline, parts.settings.cluster) != plan["pod"]:
            raise IntegrityViolation(
                "pod_changed",
                "the image or what its pods may have changed after the decision; launch again",
                step="bind",
            )
        if record.state is LaunchState.QUEUED:
            await move(
                parts, record.id, LaunchState.BINDING, "launch.binding",
                {"profiles": plan["profiles"]}, workspace=str(workspace),
            )  # fmt: skip
        wanted = tuple(reach.profiles.values())
        bound = await parts.binder.bind(
            BindOrder(record.id, warrant.principal.key, wanted, warrant.receipt)
        )
        if bound.enforcement != "none":  # an entry that stands before the first pod
            body = {"profiles": list(bound.profiles), "enforcement": bound.enforcement}
            await parts.log.append(Entry("network.bound", body, launch_id=record.id))

    async def _decide_again(
        self, policy: LoadedPolicy, record: LaunchRecord, warrant: Warrant
    ) -> None:
        """Ask the newer policy: it may only narrow. Raises when it no longer agrees."""
        request = LaunchRequest(
            warrant.plan["pipeline"], warrant.plan["parameters"], record.reason, record.surface
        )
        judged = await judge_launch(
            self._parts, policy, record.id, warrant.principal, request, warrant.graph,
            expires_at=warrant.plan["expires_at"],
        )  # fmt: skip
        missing = {need.rule for need in judged.decision.needs} - warrant.covered
        if judged.decision.verdict == "deny" or missing:
            raise IntegrityViolation(
                "decision_void",
                "policy changed before the start and no longer allows this launch",
                step="decide",
            )


def catalogued(policy: LoadedPolicy, name: str) -> Pipeline:
    """Return the catalogue's entry. Raises when security took the pipeline out meanwhile."""
    pipeline = policy.snapshot.data.pipelines.get(name)
    if pipeline is None:
        raise IntegrityViolation("pipeline_gone", f"{name} left the catalogue", step="decide")
    return pipeline
