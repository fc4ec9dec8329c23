"""One loaded policy, and the two questions that the gateway puts to it.

``admit`` before anything of the pipeline has been executed; ``decide`` about the whole graph. Both
ask for every member of the chain. ``decide`` asks ``sluice.admit`` again, so that its word stands
alone when it is repeated later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.canonical import Json
from gateway.model import Decision, LaunchRequest, Principal, TaskGraph, Violation
from gateway.policy.engine import Answer, PolicyEngine, Question
from gateway.policy.findings import nearest
from gateway.policy.inputs import (
    Input,
    admit_questions,
    graph_questions,
    policy_input,
    shown_parameters,
)
from gateway.policy.sentences import render
from gateway.policy.snapshot import Snapshot
from gateway.policy.verdict import Said, decision, denial


@dataclass(frozen=True, eq=False)
class LoadedPolicy:
    """A snapshot and the engine that evaluates it."""

    snapshot: Snapshot
    engine: PolicyEngine

    async def admit(
        self,
        principal: Principal,
        request: LaunchRequest,
        *,
        history: Mapping[str, Json],
        now: str,
        enforcement: str,
    ) -> Decision:
        """Ask whether this principal may ask for this pipeline at all.

        ``request.parameters`` may be in clear: policy sees those that the catalogue shows. Raises
        ``Retryable`` or ``Misconfigured`` when there is no answer; then nothing is allowed.
        """
        data = self.snapshot.data
        pipeline = data.pipelines.get(request.pipeline)
        if pipeline is None:
            return self._unknown(request.pipeline)
        facts = policy_input(
            data,
            principal,
            request,
            parameters=shown_parameters(pipeline, request.parameters),
            history=history,
            now=now,
            enforcement=enforcement,
        )
        return await self._ask(facts, request.pipeline, None)

    async def decide(
        self,
        principal: Principal,
        request: LaunchRequest,
        graph: TaskGraph,
        *,
        parameters: Mapping[str, str],
        history: Mapping[str, Json],
        now: str,
        enforcement: str,
    ) -> Decision:
        """Ask about everything that would run. ``parameters`` are in masked form.

        Raises ``Retryable`` or ``Misconfigured`` when there is no answer; then nothing is allowed.
        """
        if request.pipeline not in self.snapshot.data.pipelines:
            return self._unknown(request.pipeline)
        facts = policy_input(
            self.snapshot.data,
            principal,
            request,
            parameters=parameters,
            history=history,
            now=now,
            enforcement=enforcement,
            graph=graph,
        )
        return await self._ask(facts, request.pipeline, graph)

    async def close(self) -> None:
        """Give back the engine."""
        await self.engine.close()

    async def _ask(self, facts: Input, pipeline: str, graph: TaskGraph | None) -> Decision:
        questions = await asyncio.to_thread(self._questions, facts, graph)
        answers = await self.engine.evaluate(questions)
        said = _said(questions, answers, graph)
        snapshot = self.snapshot
        return await asyncio.to_thread(
            decision, snapshot.version, snapshot.data, pipeline, list(said)
        )

    def _questions(self, facts: Input, graph: TaskGraph | None) -> list[Question]:
        questions = admit_questions(facts)
        if graph is not None:
            questions += graph_questions(self.snapshot.data, facts, graph)
        return questions

    def _unknown(self, name: str) -> Decision:
        values: dict[str, Json] = {"pipeline": name}
        close = nearest(name, self.snapshot.data.pipelines)
        message, remediation = render("pipeline_unknown", values, nearest=close)
        violation = Violation("pipeline_unknown", message, remediation, values=values)
        return denial(self.snapshot.version, violation)


def _said(
    questions: Sequence[Question], answers: Sequence[Sequence[Answer]], graph: TaskGraph | None
) -> Iterator[Said]:
    nodes = list(graph.nodes.values()) if graph else []
    for question, parts in zip(questions, answers, strict=True):
        principal = question.shared["principal"]
        member = str(principal["account"]) if isinstance(principal, dict) else ""
        about = nodes if question.package == "task" else [None]
        for node, answer in zip(about, parts, strict=True):
            yield Said(member, node, answer)
