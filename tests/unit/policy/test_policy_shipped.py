"""The policy that ships: what it says about the pipelines in ``examples/``, in so many words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from policy_kit import HISTORY, ISSUER, NOW, SHIPPED, graph, member, node, principal

from gateway.model import Decision, LaunchRequest, Principal, TaskGraph
from gateway.policy.decide import LoadedPolicy
from gateway.policy.loading import load_policy
from gateway.policy.testing import run_tests

ADA = principal(member("ada"))
AGENT = principal(member("ada"), member("copilot", "agent"))
EVE = principal(member("eve"))

WEATHER = graph([node("FetchDataset", egress=("open-data",), carries=("public",)), node("Page")])
EXPORT = graph(
    [
        node("FetchAirports", egress=("open-data",), carries=("public",)),
        node("SendToPartner", egress=("partner-api",), carries=("public",)),
    ]
)
DIGEST = graph(
    [
        node("LoadCustomers", egress=("crm",), carries=("personal", "public")),
        node("WeeklyNumbers", carries=("personal", "public")),
        node("PublishDigest", egress=("public-web",), carries=("personal", "public")),
    ]
)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def policy() -> AsyncIterator[LoadedPolicy]:
    """Load the shipped policy as the gateway does."""
    loaded = await load_policy(SHIPPED)
    yield loaded
    await loaded.close()


async def decide(
    policy: LoadedPolicy, who: Principal, pipeline: str, tasks: TaskGraph, **history: object
) -> Decision:
    """Decide about a launch where nothing enforces network policy."""
    return await policy.decide(
        who,
        LaunchRequest(pipeline, {}),
        tasks,
        parameters={},
        history={**HISTORY, **history},  # type: ignore[dict-item]
        now=NOW,
        enforcement="none",
    )


def approved(tasks: TaskGraph) -> dict[str, object]:
    """Return a history in which people have approved this code."""
    return {"approved_code_digests": [tasks.code_digest]}


async def test_policy_shipped_passes_its_own_tests() -> None:
    """Every rule that ships is tested beside itself, both ways."""
    report = await run_tests(SHIPPED)
    assert report.passed, report.failed
    assert {result.file for result in report.results} == {
        "admit_test.rego",
        "launch_test.rego",
        "task_test.rego",
    }


async def test_policy_shipped_public_data_for_people_and_their_agents(
    policy: LoadedPolicy,
) -> None:
    """A report over open data, approved before, is allowed outright; for ada's agent too."""
    for who in (ADA, AGENT):
        found = await decide(policy, who, "city-weather", WEATHER, **approved(WEATHER))
        assert found.verdict == "allow", found


async def test_policy_shipped_a_standing_approval_is_for_one_code(policy: LoadedPolicy) -> None:
    """The standing approval covers exactly the listed digest; other code waits for stewards."""
    standing = policy.snapshot.data.pipelines["city-weather"].standing_approval
    assert standing is not None
    same = replace(WEATHER, code_digest=standing.code_digest)
    assert (await decide(policy, ADA, "city-weather", same)).verdict == "allow"
    other = await decide(policy, ADA, "city-weather", WEATHER)
    assert other.verdict == "needs_approval"
    assert [(need.rule, need.groups) for need in other.needs] == [
        ("content_never_approved", ("data-stewards",))
    ]


async def test_policy_shipped_a_high_tier_waits_for_people(policy: LoadedPolicy) -> None:
    """The jobs report waits for a data steward each time, whoever asks."""
    found = await decide(policy, AGENT, "jobs-report", WEATHER, **approved(WEATHER))
    assert found.verdict == "needs_approval"
    (need,) = found.needs
    assert (need.rule, need.groups) == ("tier_needs_people", ("data-stewards",))
    assert need.message == "each launch of jobs-report waits for people, because it is of tier high"


async def test_policy_shipped_a_destination_beyond_the_pipeline(policy: LoadedPolicy) -> None:
    """The export may read open data; sending to the partner is denied, with the way out."""
    found = await decide(policy, ADA, "partner-export", EXPORT, **approved(EXPORT))
    (violation,) = found.violations
    assert violation.rule == "destination_not_allowed"
    assert violation.task_name == "SendToPartner"
    assert violation.message == (
        "SendToPartner wants to reach partner-api, which partner-export may not"
    )
    assert "policies/data/pipelines.yaml" in violation.remediation


async def test_policy_shipped_only_the_path_is_denied(policy: LoadedPolicy) -> None:
    """Both destinations of the digest are allowed; personal data from one to the other is not."""
    found = await decide(policy, ADA, "customer-digest", DIGEST, **approved(DIGEST))
    (violation,) = found.violations
    assert violation.rule == "class_not_accepted"
    assert (
        violation.message == "PublishDigest carries personal data, which public-web does not accept"
    )
    assert violation.values == {"class": "personal", "destination": "public-web"}


async def test_policy_shipped_strangers_and_agents(policy: LoadedPolicy) -> None:
    """Who is in no launching group is refused; so is an agent for whom nobody answers."""
    history = dict(HISTORY)
    for who, pipeline, rules in (
        (EVE, "city-weather", ["launcher_not_in_group"]),
        (
            principal(member("ada"), member("stray", "agent")),
            "city-weather",
            ["agent_owner_unknown"],
        ),
        (ADA, "city-weahter", ["pipeline_unknown"]),
        (ADA, "city-weather", []),
    ):
        found = await policy.admit(
            who, LaunchRequest(pipeline, {}), history=history, now=NOW, enforcement="none"
        )
        assert [violation.rule for violation in found.violations] == rules


async def test_policy_shipped_names_the_pipeline_that_was_meant(policy: LoadedPolicy) -> None:
    """A mistyped pipeline comes with the nearest name, at both questions."""
    found = await decide(policy, ADA, "city-weahter", WEATHER)
    assert found.verdict == "deny"
    assert found.violations[0].remediation.startswith("did you mean city-weather? ")


async def test_policy_shipped_decides_as_it_admits(policy: LoadedPolicy) -> None:
    """What admission denies, a decision about the graph denies as well."""
    found = await decide(policy, EVE, "city-weather", WEATHER, **approved(WEATHER))
    assert [violation.rule for violation in found.violations] == ["launcher_not_in_group"]
    assert found.violations[0].member == f"{ISSUER}#eve"


async def test_policy_shipped_keeps_the_loop_free(policy: LoadedPolicy) -> None:
    """A decision over a thousand different tasks leaves the event loop to others."""
    tasks = graph(node(f"T{n}", egress=("open-data",), carries=(f"class{n}",)) for n in range(1000))
    turns = 0
    deciding = asyncio.create_task(decide(policy, ADA, "city-weather", tasks))
    while not deciding.done():
        await asyncio.sleep(0.001)
        turns += 1
    found = await deciding
    assert found.verdict == "deny"
    assert turns > 5  # a decision made on the loop itself would leave one or two
