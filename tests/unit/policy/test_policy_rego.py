"""The engine when things go wrong: it is late, it dies, it grows, its caller leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from policy_kit import files, module, settings

from gateway.errors import Misconfigured, Rejected, Retryable
from gateway.policy.engine import Question
from gateway.policy.findings import PolicyInvalid
from gateway.policy.rego import RegoEngine
from gateway.policy.snapshot import snapshot_of

# What a task denies is told by its family: each of these goes wrong in its own way.
UNRULY = module(
    "task",
    r"""
deny contains {"rule": "ordinary"} if input.task.family == "deny"

deny contains {"rule": "slow"} if {
	input.task.family == "slow"
	regex.match(`^(a+)+$`, input.task.module)
}

deny contains {"rule": "large"} if {
	input.task.family == "large"
	count(numbers.range(1, input.task.limit)) > 3
}

deny contains {"rule": "error"} if {
	input.task.family == "error"
	to_number(input.task.module) > 3
}

deny contains {"rule": "conflict"} if {
	input.task.family == "conflict"
	choice == 1
}

choice := 1 if input.task.limit > 0

choice := 2 if input.task.limit > 1
""",
)


def ask(family: str, text: str = "", limit: int = 1) -> list[Question]:
    """Return one question about one task."""
    part = {"task": {"family": family, "module": text, "limit": limit}}
    return [Question("task", {"principal": {"kind": "human"}}, (part,))]


SLOW = ask("slow", "a" * 30 + "!")


@asynccontextmanager
async def engine(**changes: object) -> AsyncIterator[RegoEngine]:
    """Run an engine over the unruly policy."""
    snapshot = await asyncio.to_thread(snapshot_of, files(task__rego=UNRULY))
    found = await RegoEngine.start(snapshot, settings(**changes))
    try:
        yield found
    finally:
        await found.close()


def pid(found: RegoEngine) -> int:
    """Return the worker's process id: the tests here are about that process."""
    assert found._worker is not None
    return found._worker.pid


async def denied(found: RegoEngine, questions: list[Question]) -> list[str]:
    """Return the rules that denied the only task."""
    ((answer,),) = await found.evaluate(questions)
    return [item["rule"] for item in answer.deny]


async def test_policy_rego_answers() -> None:
    """A rule that holds is in the answer, and one that does not is not."""
    async with engine() as found:
        assert await denied(found, ask("deny")) == ["ordinary"]
        assert await denied(found, ask("fine")) == []


async def test_policy_rego_kills_what_does_not_end() -> None:
    """At the deadline the worker is killed, nothing is allowed, and the next question works."""
    async with engine(deadline_seconds=1.5) as found:
        before = pid(found)
        started = time.monotonic()
        with pytest.raises(Retryable) as caught:
            await found.evaluate(SLOW)
        assert caught.value.code == "policy_timeout"
        assert caught.value.step == "decide"
        assert time.monotonic() - started < 30
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)
        assert await denied(found, ask("deny")) == ["ordinary"]
        assert pid(found) != before


async def test_policy_rego_bounds_memory() -> None:
    """A worker that outgrows its memory ends, and the error says so to operators."""
    async with engine(memory_mb=150) as found:
        with pytest.raises(Retryable) as caught:
            await found.evaluate(ask("large", limit=3_000_000))
        assert caught.value.code == "policy_unavailable"
        assert "memory" in caught.value.diagnostics
        assert await denied(found, ask("deny")) == ["ordinary"]


async def test_policy_rego_survives_a_killed_worker() -> None:
    """A worker that dies between two questions, or during one, is replaced."""
    async with engine() as found:
        os.kill(pid(found), signal.SIGKILL)
        with pytest.raises(Retryable) as caught:
            await found.evaluate(ask("deny"))
        assert caught.value.code == "policy_unavailable"
        assert await denied(found, ask("deny")) == ["ordinary"]
        slow = asyncio.create_task(found.evaluate(SLOW))
        await asyncio.sleep(0.2)
        os.kill(pid(found), signal.SIGKILL)
        with pytest.raises(Retryable):
            await slow
        assert await denied(found, ask("deny")) == ["ordinary"]


@pytest.mark.parametrize(("family", "limit"), [("error", 1), ("conflict", 2)])
async def test_policy_rego_an_error_in_a_rule_is_no_answer(family: str, limit: int) -> None:
    """A builtin that fails and rules that contradict each other are errors, never *undefined*."""
    async with engine() as found:
        with pytest.raises(Misconfigured) as caught:
            await found.evaluate(ask(family, "not a number", limit))
        assert caught.value.code == "policy_error"
        assert await denied(found, ask("deny")) == ["ordinary"]


async def test_policy_rego_one_bad_question_spoils_all() -> None:
    """Questions are answered together or not at all."""
    async with engine() as found:
        with pytest.raises(Misconfigured):
            await found.evaluate([*ask("fine"), *ask("error", "x")])


async def test_policy_rego_a_caller_who_leaves_disturbs_nobody() -> None:
    """A cancelled question neither shifts the answers of the next, nor costs a worker."""
    async with engine() as found:
        before = pid(found)
        for wait in (0, 0.01, 0.1):
            left = asyncio.create_task(found.evaluate(ask("slow", "a" * 22 + "!")))
            await asyncio.sleep(wait)
            left.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
            assert await denied(found, ask("deny")) == ["ordinary"]
        assert pid(found) == before


async def test_policy_rego_answers_many_at_once() -> None:
    """Concurrent questions get each their own answer."""
    async with engine() as found:
        families = ["deny", "fine"] * 10
        answers = await asyncio.gather(*(denied(found, ask(family)) for family in families))
        assert answers == [["ordinary"], []] * 10


async def test_policy_rego_waiting_for_a_slow_one_counts() -> None:
    """The deadline covers the wait for a turn: nobody waits for ever behind somebody else."""
    async with engine(deadline_seconds=1) as found:
        first = asyncio.create_task(found.evaluate(SLOW))
        await asyncio.sleep(0.1)
        results = await asyncio.gather(first, found.evaluate(SLOW), return_exceptions=True)
        assert [getattr(result, "code", "") for result in results] == ["policy_timeout"] * 2


async def test_policy_rego_close_ends_the_worker() -> None:
    """A closed engine leaves no process, and refuses."""
    async with engine() as found:
        before = pid(found)
        await found.close()
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)
        with pytest.raises(Retryable):
            await found.evaluate(ask("deny"))


async def test_policy_rego_worker_has_no_environment_and_prints_nowhere() -> None:
    """What the gateway holds in its environment never reaches the process that runs policy."""
    async with engine() as found:
        process = f"/proc/{pid(found)}"
        with open(f"{process}/environ", "rb") as environ:  # noqa: ASYNC230, PTH123 -- procfs
            assert environ.read() == b""
        assert {os.readlink(f"{process}/fd/{n}") for n in (0, 1, 2)} == {os.devnull}  # noqa: PTH115 -- procfs


async def test_policy_rego_worker_goes_with_its_parent() -> None:
    """A worker whose gateway is gone ends, even in the middle of a rule that never does."""
    script = (
        "import asyncio, os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_policy_rego import SLOW, engine, pid\n"
        "async def main():\n"
        "    async with engine(deadline_seconds=60) as found:\n"
        "        task = asyncio.create_task(found.evaluate(SLOW))\n"
        "        await asyncio.sleep(0.3)\n"
        "        print(pid(found), flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(Path(__file__).parent), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    worker = int(output)
    await _until(lambda: not _alive(worker))


@pytest.mark.parametrize(
    "value", [1.5, 2**60, "\ud800"], ids=["float", "large integer", "lone surrogate"]
)
async def test_policy_rego_refuses_input_without_a_canonical_form(value: object) -> None:
    """What the engine could misread is never asked."""
    async with engine() as found:
        question = Question("task", {"principal": {"kind": value}})  # type: ignore[dict-item]
        with pytest.raises(Rejected) as caught:
            await found.evaluate([question])
        assert caught.value.code == "not_canonical"
        assert await denied(found, ask("deny")) == ["ordinary"]


async def test_policy_rego_refuses_a_policy_that_fails_its_checks() -> None:
    """No engine exists for a policy that was refused, and no process is left of the attempt."""
    bad = files(task__rego=module("task", 'deny contains {"rule": "x"} if typo\n'))
    with pytest.raises(PolicyInvalid, match=r"task\.rego:5: uses a name that nothing"):
        await RegoEngine.start(snapshot_of(bad), settings())


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- nothing tells of another process's end
            await asyncio.sleep(0.02)


def _alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as stat:  # noqa: PTH123 -- procfs
            return stat.read().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
