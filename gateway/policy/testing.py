"""The policy's own tests: every rule ``test_*`` of every ``*_test.rego`` has to be true.

They run in a worker of their own, compiled together with what they test, and never decide anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.canonical import encode
from gateway.policy.compiler import DENY, compiled
from gateway.policy.findings import refuse
from gateway.policy.lexer import TEST_SUFFIX
from gateway.policy.plan import Function, Plan
from gateway.policy.process import WorkerGone, WorkerProcess, build_message, entrypoint
from gateway.policy.snapshot import Snapshot, load_snapshot
from gateway.policy.strict import Sources, check_tests
from gateway.settings import PolicySettings


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test: where it stands, whether it is true, and how long it took."""

    __test__ = False  # pytest collects by name

    name: str  # sluice.task.test_...
    file: str
    line: int
    passed: bool
    seconds: float
    detail: str = ""  # why not, where it is more than "not true"


@dataclass(frozen=True, slots=True)
class TestReport:
    """All tests of a policy, by file and line."""

    __test__ = False

    results: tuple[TestResult, ...]

    @property
    def failed(self) -> tuple[TestResult, ...]:
        """Those that are not true."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def passed(self) -> bool:
        """Whether every test is true."""
        return not self.failed


async def run_tests(directory: Path, settings: PolicySettings | None = None) -> TestReport:
    """Run the tests of a folder. Raises ``PolicyInvalid`` when there is nothing to run them on."""
    snapshot = await asyncio.to_thread(load_snapshot, directory)
    return await run_snapshot_tests(snapshot, settings or PolicySettings.model_validate({}))


async def run_snapshot_tests(snapshot: Snapshot, settings: PolicySettings) -> TestReport:
    """Run the tests of a snapshot."""
    if not snapshot.tests:
        return TestReport(())
    async with _worker(settings) as worker:
        documents = dict(snapshot.documents)
        policy = await compiled(worker, snapshot.modules, documents, DENY)
        plan = await compiled(worker, snapshot.sources, documents, DENY)
        sources = Sources(snapshot.sources)
        refuse(await asyncio.to_thread(check_tests, plan, policy, sources))
    tests = _tests(plan)
    results: list[TestResult] = []
    while len(results) < len(tests):  # a test that ends the worker fails; the others still run
        async with _worker(settings) as worker:
            left = tests[len(results) :]
            body = build_message(snapshot.sources, documents, [test.name for test in left])
            await worker.talk(body)
            results += [result async for result in _results(worker, left, settings)]
    return TestReport(tuple(results))


async def _results(
    worker: WorkerProcess, tests: list[Function], settings: PolicySettings
) -> AsyncIterator[TestResult]:
    """Run tests one by one, up to and with the first that ends the worker."""
    for test in tests:
        started = time.perf_counter()
        detail = ""
        passed = False
        question: dict[str, Any] = {
            "entrypoints": [entrypoint(test.name)],
            "shared": {},
            "parts": [{}],
        }
        try:
            async with asyncio.timeout(settings.deadline_seconds):
                answer = await worker.talk(encode({"op": "ask", "questions": [question]}))
        except (WorkerGone, TimeoutError) as error:
            detail = f": {str(error) or 'took too long'}"
            answer = None
        if answer and answer["ok"]:
            passed = answer["answers"][0][0][entrypoint(test.name)] is True
        elif answer:
            detail = f": {answer['error'][:200]}"
        name, seconds = test.name.removeprefix("data."), time.perf_counter() - started
        yield TestResult(name, *test.place, passed, seconds, detail)
        if answer is None:
            return


def _tests(plan: Plan) -> list[Function]:
    found = [
        function
        for name, function in plan.functions.items()
        if name.rpartition(".")[2].startswith("test_")
        and function.place[0].endswith(TEST_SUFFIX)
        and len(function.params) == 2  # noqa: PLR2004 -- input and data: a rule, not a function
    ]
    return sorted(found, key=lambda function: function.place)


@asynccontextmanager
async def _worker(settings: PolicySettings) -> AsyncIterator[WorkerProcess]:
    worker = await WorkerProcess.start(settings.memory_mb)
    try:
        yield worker
    finally:
        await worker.kill()
