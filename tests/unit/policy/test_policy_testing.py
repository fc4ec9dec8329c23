"""The policy's own tests: found, run, and never able to lie about what they tested."""

from __future__ import annotations

from pathlib import Path

import pytest
from policy_kit import files, module, settings, write

from gateway.policy.findings import PolicyInvalid
from gateway.policy.loading import check, load_policy
from gateway.policy.testing import run_tests

RULES = module(
    "task",
    """\
deny contains {"rule": "far", "n": n} if {
	n := input.task.limit
	n > 5
}
""",
)


def folder(tmp_path: Path, tests: str) -> Path:
    """Write the sample policy, with tests of package sluice.task beside it."""
    return write(tmp_path, files(task__rego=RULES, task_test__rego=module("task", tests)))


async def test_policy_testing_reports_each_test(tmp_path: Path) -> None:
    """Each ``test_`` rule has its name, its place, its result and its time."""
    tests = """\
test_far if count(deny) == 1 with input.task as {"limit": 6}

test_near if deny == set() with input.task as {"limit": 5}

test_wrong if deny == set() with input.task as {"limit": 6}

test_false := false

test_error if count(input.task.limit) == 1 with input.task.limit as 5

helper := 1

test_function(x) if x == 1
"""
    report = await run_tests(folder(tmp_path, tests))
    assert [(r.name, r.file, r.line, r.passed) for r in report.results] == [
        ("sluice.task.test_far", "task_test.rego", 5, True),
        ("sluice.task.test_near", "task_test.rego", 7, True),
        ("sluice.task.test_wrong", "task_test.rego", 9, False),
        ("sluice.task.test_false", "task_test.rego", 11, False),
        ("sluice.task.test_error", "task_test.rego", 13, False),
    ]
    assert not report.passed
    assert len(report.failed) == 3
    assert all(result.seconds > 0 for result in report.results)
    assert report.results[4].detail


async def test_policy_testing_goes_on_after_a_test_that_ends_the_worker(tmp_path: Path) -> None:
    """A test that never ends fails at the deadline, and those after it still run."""
    tests = """\
test_a if true

test_b if regex.match(`^(a+)+$`, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!")

test_c if true
"""
    report = await run_tests(folder(tmp_path, tests), settings(deadline_seconds=1))
    assert [result.passed for result in report.results] == [True, False, True]
    assert report.results[1].detail == ": took too long"


@pytest.mark.parametrize(
    ("tests", "place", "reason"),
    [
        (
            'given := {"limit": 5}\n\ntest_a if deny == set() with input.task as given\n',
            "task_test.rego:7",
            "the compiler drops a `with` whose value is a rule",
        ),
        (
            "given := 5\n\ntest_a if {\n\tdeny with data.x as 1\n\t\twith input.task as given\n}\n",
            "task_test.rego:9",
            "the compiler drops a `with` whose value is a rule",
        ),
        (
            "test_a if deny == set() with input.task as data.limits\n",
            "task_test.rego:5",
            "this compiler takes no reference here",
        ),
        (
            'test_a if deny == set() with input as {"task": {"limit": 5}}\n',
            "task_test.rego:5",
            "this compiler replaces fields only",
        ),
        (
            'deny contains {"rule": "x"} if false\n\ntest_a if true\n',
            "task_test.rego:5",
            "what is tested has to be what decides",
        ),
        (
            "test_a if count([1]) == 2 with count as 2\n",
            "task_test.rego:5",
            "`with` may replace fields of input and data",
        ),
        ("test_a if typo\n", "task_test.rego:5", "uses a name that nothing defines"),
        ("test_a if {\n", "task_test.rego:5", "does not compile"),
    ],
    ids=["rule", "lines", "data", "input", "more rules", "function", "typo", "syntax"],
)
async def test_policy_testing_refuses_tests_that_would_lie(
    tests: str, place: str, reason: str, tmp_path: Path
) -> None:
    """A test that the compiler would quietly make about something else is refused."""
    found = [str(finding) for finding in await check(folder(tmp_path, tests))]
    assert any(item.startswith(f"{place}: ") and reason in item for item in found), found


async def test_policy_testing_a_failing_test_keeps_a_policy_out(tmp_path: Path) -> None:
    """What fails its own tests is not loaded, and says which."""
    place = folder(tmp_path, "test_a if count(deny) == 1 with input.task.limit as 1\n")
    with pytest.raises(PolicyInvalid) as caught:
        await load_policy(place)
    assert [str(finding) for finding in caught.value.findings] == [
        "task_test.rego:5: sluice.task.test_a fails"
    ]


async def test_policy_testing_tests_do_not_decide(tmp_path: Path) -> None:
    """Test modules enter no digest and no decision."""
    plain = await load_policy(write(tmp_path / "a", files()))
    tested = await load_policy(
        write(tmp_path / "b", files(task_test__rego=module("task", "test_a if true\n")))
    )
    try:
        assert plain.snapshot.version == tested.snapshot.version
        assert "task_test.rego" not in tested.snapshot.modules
    finally:
        await plain.close()
        await tested.close()


async def test_policy_testing_check_finds_nothing_in_a_good_policy(tmp_path: Path) -> None:
    """A good policy has no findings; a folder that is none has one."""
    assert await check(write(tmp_path, files())) == ()
    assert "is not a folder" in str((await check(tmp_path / "missing"))[0])
