"""Step 6 over HTTP: who is refused, what is consumed, and what voids an approval."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from gateway_bed import ROOT, Served, serve

from gateway.commands.client import ClientError


async def code(call: Any) -> str:
    """Return the code of a refused call."""
    with pytest.raises(ClientError) as caught:
        await call
    return str(caught.value.problem["code"])


async def waiting(served: Served, jobs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Launch by an agent for ada what policy sends to people; return its path and the answer."""
    async with served.client("ada", "copilot") as agent:
        view = await agent.post("/v1/launches", jobs)
    assert view["state"] == "awaiting_approval"
    body = {"verdict": "approve", "plan_digest": view["plan"]["plan_digest"]}
    return f"/v1/launches/{view['id']}", body


async def test_requester_and_agents_are_refused_and_logged(
    served: Served, jobs: dict[str, Any]
) -> None:
    """Ada asked through her agent: neither she nor any agent approves, and the log has each try."""
    path, body = await waiting(served, jobs)
    async with served.client("ada") as ada, served.client("chloe", "copilot") as agent:
        assert await code(ada.post(f"{path}/approvals", body)) == "approver_not_independent"
        assert await code(agent.post(f"{path}/approvals", body)) == "approver_not_human"
    entries = await served.gateway.parts.log.newest(2)
    assert {entry.value["event"] for entry in entries} == {"approval.refused"}


async def test_act_claim_cannot_approve(served: Served, jobs: dict[str, Any]) -> None:
    """A token that names an actor is a chain's, not a human's."""
    path, body = await waiting(served, jobs)
    async with served.client("chloe", act="copilot") as chain:
        assert await code(chain.post(f"{path}/approvals", body)) == "approver_not_human"


async def test_old_sign_in_cannot_approve(served: Served, jobs: dict[str, Any]) -> None:
    """A session from yesterday does not agree to anything."""
    path, body = await waiting(served, jobs)
    async with served.client("chloe", auth_time=1_000_000_000) as stale:
        assert await code(stale.post(f"{path}/approvals", body)) == "login_not_recent"


async def test_another_person_approves_once(served: Served, jobs: dict[str, Any]) -> None:
    """An approval is used once; the second answer finds the request finished."""
    path, body = await waiting(served, jobs)
    async with served.client("chloe") as chloe, served.client("dora") as dora:
        listed = (await chloe.get("/v1/approvals"))["approvals"]
        assert [item["plan_digest"] for item in listed] == [body["plan_digest"]]
        after = await chloe.post(f"{path}/approvals", body)
        assert after["state"] in {"queued", "binding", "running"}
        assert await code(dora.post(f"{path}/approvals", body)) == "approval_finished"
        async for event in dora.events(after["id"]):
            last = event
    assert last.data["state"] == "succeeded", last.data


async def test_another_digest_is_stale(served: Served, jobs: dict[str, Any]) -> None:
    """Whoever read another plan has not approved this one."""
    path, body = await waiting(served, jobs)
    async with served.client("chloe") as chloe:
        other = {**body, "plan_digest": "0" * 64}
        assert await code(chloe.post(f"{path}/approvals", other)) == "plan_digest_stale"


async def test_rejection_ends_it(served: Served, jobs: dict[str, Any]) -> None:
    """A rejected launch is final and names who rejected it."""
    path, body = await waiting(served, jobs)
    async with served.client("chloe") as chloe:
        comment = {"verdict": "reject", "comment": "not today"}
        after = await chloe.post(f"{path}/approvals", {**body, **comment})
    assert after["state"] == "rejected"
    assert "not today" in after["outcome"]


async def test_second_account_of_the_requester_is_the_same_person(
    served: Served, jobs: dict[str, Any]
) -> None:
    """Chloe asks as chloe and approves as chloe-admin: refused."""
    async with served.client("chloe", groups=("analysts",)) as chloe:
        view = await chloe.post("/v1/launches", jobs)
    body = {"verdict": "approve", "plan_digest": view["plan"]["plan_digest"]}
    async with served.client("chloe-admin", groups=("data-stewards",)) as admin:
        path = f"/v1/launches/{view['id']}/approvals"
        assert await code(admin.post(path, body)) == "approver_not_independent"


async def test_policy_that_changed_voids_the_approval(
    changed: Any, jobs: dict[str, Any], tmp_path: Path
) -> None:
    """The decision is made again when the approval is used: a new denial wins."""
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    settings = changed(policy={"directory": policies, "reload_seconds": 0.1})
    async with serve(settings) as served:
        path, body = await waiting(served, jobs)
        before = await _revision(served)
        persons = policies / "data" / "pipelines.yaml"
        text = persons.read_text()
        persons.write_text(text.replace("agents_allowed: true", "agents_allowed: false"))
        while await _revision(served) == before:
            await _pause()
        async with served.client("chloe") as chloe:
            assert await code(chloe.post(f"{path}/approvals", body)) == "approval_void"
            after = await chloe.get(path)
    assert after["state"] == "rejected"
    assert "denies" in after["outcome"]


async def _revision(served: Served) -> str:
    async with served.gateway.parts.policy.lease() as policy:
        return policy.snapshot.version.revision


async def _pause() -> None:
    import asyncio

    await asyncio.sleep(0.1)


async def test_a_need_that_went_away_keeps_nobody_waiting(
    served: Served, jobs: dict[str, Any]
) -> None:
    """Two launches of one code wait; approving the first answers one need of the second for good.

    The second still waits for its own approval, and one approval is then enough.
    """
    first, body = await waiting(served, jobs)
    other = {**jobs, "parameters": {**jobs["parameters"], "year": 2008}}
    second, later = await waiting(served, other)
    async with served.client("chloe") as chloe:
        await chloe.post(f"{first}/approvals", body)
        assert (await chloe.get(second))["state"] == "awaiting_approval"
        after = await chloe.post(f"{second}/approvals", later)
        assert after["state"] in {"queued", "binding", "running"}
        async for event in chloe.events(after["id"]):
            last = event
    assert last.data["state"] == "succeeded", last.data


async def test_a_narrowed_group_counts_at_once(
    changed: Any, jobs: dict[str, Any], tmp_path: Path
) -> None:
    """Who may agree is asked of today's policy, not of the one at the time of the decision."""
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    settings = changed(policy={"directory": policies, "reload_seconds": 0.1})
    async with serve(settings) as served:
        async with served.client("ben") as ben:
            view = await ben.post("/v1/launches", jobs)
        before = await _revision(served)
        limits = policies / "data" / "limits.yaml"
        limits.write_text(limits.read_text().replace("[data-stewards]", "[security-reviewers]"))
        while await _revision(served) == before:
            await _pause()
        path = f"/v1/launches/{view['id']}/approvals"
        body = {"verdict": "approve", "plan_digest": view["plan"]["plan_digest"]}
        async with served.client("ada") as ada, served.client("dora") as dora:
            assert await code(ada.post(path, body)) == "approver_not_in_group"
            assert (await dora.post(path, body))["state"] != "awaiting_approval"
