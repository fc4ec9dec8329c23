"""Rego in a worker process: the embedded policy engine.

The worker holds the compiled rules of one snapshot. It is killed at the deadline, and when it dies
or outgrows its memory a new one is started for the next question. Questions take turns: one worker
uses one core.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.canonical import Json, encode
from gateway.errors import GatewayError, Misconfigured, Retryable
from gateway.policy.compiler import COMPILE_SECONDS, DENY, compiled, input_shapes
from gateway.policy.distinct import Places, distinct
from gateway.policy.engine import Answer, Question
from gateway.policy.findings import refuse
from gateway.policy.plan import Plan
from gateway.policy.process import (
    WorkerGone,
    WorkerProcess,
    build_message,
    entrypoint,
)
from gateway.policy.reads import paths_read
from gateway.policy.snapshot import Snapshot
from gateway.policy.strict import PACKAGES, Sources, check_policy, entry_points
from gateway.settings import PolicySettings


class RegoEngine:
    """A ``PolicyEngine`` over one worker process. Made by ``start``, which checks the policy."""

    def __init__(
        self,
        snapshot: Snapshot,
        settings: PolicySettings,
        plan: Plan,
        worker: WorkerProcess,
    ) -> None:
        """Use ``start``."""
        self._snapshot = snapshot
        self._settings = settings
        self._rules = entry_points(plan)
        self._read = {package: paths_read(plan, self._of(package)) for package in PACKAGES}
        self._worker: WorkerProcess | None = worker
        self._turn = asyncio.Lock()
        self._talks: set[asyncio.Task[list[list[Answer]]]] = set()
        self._closed = False

    @classmethod
    async def start(cls, snapshot: Snapshot, settings: PolicySettings) -> RegoEngine:
        """Compile and check a snapshot. Raises ``PolicyInvalid`` with what is refused."""
        worker = await _worker(settings)
        try:
            plan = await compiled(worker, snapshot.modules, dict(snapshot.documents), DENY)
            sources = Sources(snapshot.modules)
            findings = await asyncio.to_thread(
                check_policy, plan, sources, input_shapes(), snapshot.shape
            )
            refuse(findings)
            await _build(worker, snapshot, entry_points(plan))
        except BaseException:
            await worker.kill()
            raise
        return cls(snapshot, settings, plan, worker)

    async def evaluate(self, questions: Sequence[Question]) -> list[list[Answer]]:
        """Answer every question, or raise: see ``PolicyEngine``."""
        talk = asyncio.create_task(self._evaluate(questions))
        self._talks.add(talk)
        talk.add_done_callback(self._finished)
        # A caller who goes away must not leave the worker in the middle of an answer.
        return await asyncio.shield(talk)

    async def close(self) -> None:
        """Let running questions end, then end the worker."""
        self._closed = True
        try:
            if self._talks:
                await asyncio.wait(self._talks)
        finally:
            await self._drop()

    async def _evaluate(self, questions: Sequence[Question]) -> list[list[Answer]]:
        body, places = await asyncio.to_thread(self._asked, questions)
        try:
            async with asyncio.timeout(self._settings.deadline_seconds), self._turn:
                try:
                    worker = await self._running()
                    answer = await worker.talk(body)
                except BaseException:
                    await asyncio.shield(self._drop())
                    raise
        except TimeoutError as error:
            raise Retryable(
                "policy_timeout",
                "policy took too long to answer, so nothing is allowed; try again",
                step="decide",
                diagnostics=f"no answer within {self._settings.deadline_seconds:g} s",
            ) from error
        except WorkerGone as error:
            raise _unavailable(str(error)) from error
        if not answer["ok"]:
            raise _faulty(answer["error"])
        return await asyncio.to_thread(self._answers, questions, places, answer["answers"])

    async def _running(self) -> WorkerProcess:
        if self._closed:
            raise _unavailable("the engine is closed")
        if self._worker is None:
            self._worker = await _worker(self._settings)
            await _build(self._worker, self._snapshot, self._rules)
        return self._worker

    async def _drop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.kill()

    def _asked(self, questions: Sequence[Question]) -> tuple[bytes, Places]:
        left, places = distinct(questions, self._read)
        asked: list[Json] = [
            {
                "entrypoints": [entrypoint(rule) for rule in self._of(question.package)],
                "shared": question.shared,
                "parts": list(question.parts),
            }
            for question in left
        ]
        return encode({"op": "ask", "questions": asked}), places

    def _of(self, package: str) -> list[str]:
        return [rule for rule in self._rules if rule.split(".")[2] == package]

    def _answers(
        self,
        questions: Sequence[Question],
        places: Places,
        raw: Any,  # noqa: ANN401 -- JSON
    ) -> list[list[Answer]]:
        try:
            return [
                [self._answer(question.package, raw[at][part]) for at, part in found]
                for question, found in zip(questions, places, strict=True)
            ]
        except (KeyError, TypeError, IndexError) as error:
            raise _unavailable(f"an answer of another form: {error!r}") from error

    def _answer(self, package: str, item: Mapping[str, Any]) -> Answer:
        found: dict[str, list[Any]] = {"deny": [], "needs_approval": []}
        for rule in self._of(package):
            value = item[entrypoint(rule)]
            if not isinstance(value, list):
                raise _faulty(f"{rule} is {json.dumps(value)[:100]} and not a set")
            found[rule.rpartition(".")[2]] = value
        return Answer(found["deny"], found["needs_approval"])

    def _finished(self, talk: asyncio.Task[list[list[Answer]]]) -> None:
        self._talks.discard(talk)
        if not talk.cancelled():
            talk.exception()  # whoever asked may have gone: then nobody else looks at it


async def _worker(settings: PolicySettings) -> WorkerProcess:
    try:
        return await WorkerProcess.start(settings.memory_mb)
    except OSError as error:
        raise _unavailable(f"the policy worker cannot be started: {error}") from error


async def _build(worker: WorkerProcess, snapshot: Snapshot, rules: Sequence[str]) -> None:
    """Compile without checking: only what ``start`` has checked."""
    body = build_message(snapshot.modules, dict(snapshot.documents), rules)
    try:
        async with asyncio.timeout(COMPILE_SECONDS):
            answer = await worker.talk(body)
    except (WorkerGone, TimeoutError) as error:
        raise _unavailable(str(error) or "compiling took too long") from error
    if not answer["ok"]:
        raise _faulty(answer["error"])


def _unavailable(detail: str) -> GatewayError:
    return Retryable(
        "policy_unavailable",
        "policy cannot be asked at the moment, so nothing is allowed; try again",
        step="decide",
        diagnostics=detail,
    )


def _faulty(detail: str) -> GatewayError:
    return Misconfigured(
        "policy_error",
        "the policy has an error and gives no answer, so nothing is allowed; "
        "tell whoever keeps the policy",
        step="decide",
        diagnostics=detail,
    )
