"""The HTTP API on a whole gateway: what users and attackers get back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from gateway_bed import Served, serve

from gateway.commands.client import ClientError, Event


async def refused(call: Any) -> dict[str, Any]:
    """Return the problem document of a refused call."""
    with pytest.raises(ClientError) as caught:
        await call
    return dict(caught.value.problem)


async def raw(served: Served, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
    """Send what no well-behaved client would; return status and JSON."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, served.gateway.url + path, **more) as response,
    ):
        return response.status, json.loads(await response.text())


async def to_the_end(client: Any, launch_id: str) -> list[Event]:
    """Follow a launch and return all its events."""
    return [event async for event in client.events(launch_id)]


async def test_no_token_no_answer(served: Served, weather: dict[str, Any]) -> None:
    """Without a token, or with a bad one, nothing but 401 and a problem that names step 1."""
    for headers in (
        {},
        {"Authorization": "Basic x"},
        {"Authorization": "Bearer x"},
        {"Authorization": f"Bearer {served.token('ada')}x"},
    ):
        status, problem = await raw(served, "POST", "/v1/launches", json=weather, headers=headers)
        assert status == 401
        assert problem["step"] == "authenticate"
    assert served.gateway.parts.log.size == await _size_without_launches(served)


async def _size_without_launches(served: Served) -> int:
    entries = await served.gateway.parts.log.entries(0, 100)
    assert not [entry for entry in entries if entry.value["launch_id"]]
    return len(entries)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", None),
        (b'{"pipeline": "a", "pipeline": "b"}', None),
        (b"[]", None),
        (b'{"pipeline": "../etc"}', "pipeline"),
        (b'{"pipeline": "a", "extra": 1}', "extra"),
        (b'{"pipeline": "a", "parameters": {"x": 1.5}}', "parameters.x"),
        (b'{"pipeline": "a", "parameters": {"a b": "1"}}', "parameters.a b.[key]"),
        (b'{"pipeline": "a", "reason": null}', "reason"),
        (b'{"pipeline": "a", "parameters": ' + b'{"x":' * 2000 + b"1" + b"}" * 2000 + b"}", None),
        (b"\xff\xfe", None),
    ],
)
async def test_bad_bodies_name_their_field(served: Served, body: bytes, field: str | None) -> None:
    """A body that does not fit is 400 with the field, and reaches no step behind the second."""
    status, problem = await raw(
        served,
        "POST",
        "/v1/launches",
        data=body,
        headers={
            "Authorization": f"Bearer {served.token('ada')}",
            "Content-Type": "application/json",
        },
    )
    assert status == 400
    assert problem["code"] in {"body_invalid", "request_invalid"}
    if field:
        assert problem["field"] == field


async def test_large_bodies_are_refused(served: Served) -> None:
    """A body beyond the bound is 413 and never parsed."""
    async with served.client("ada") as client:
        problem = await refused(client.post("/v1/plans", {"pipeline": "x" * 300_000}))
    assert problem["status"] == 413


async def test_unknown_routes_are_problems_too(served: Served) -> None:
    """Every answer has one shape: a program never has to parse HTML."""
    for method, path, status in (("GET", "/nowhere", 404), ("DELETE", "/v1/launches", 405)):
        found, problem = await raw(served, method, path)
        assert (found, problem["status"]) == (status, status)


async def test_allowed_launch_runs_and_names_its_outputs(
    served: Served, weather: dict[str, Any]
) -> None:
    """202 with the decision, then events in log order, then an end that names files that exist."""
    async with served.client("ada", "copilot") as agent:
        view = await agent.post("/v1/launches", weather)
        assert view["decision"]["verdict"] == "allow"
        assert "no network policy" in view["warning"]
        events = await to_the_end(agent, view["id"])
        detail = await agent.get(f"/v1/launches/{view['id']}")
    ids = [int(event.id) for event in events if event.id]
    assert ids == sorted(set(ids))
    names = [event.name for event in events]
    assert names[0] == "launch.received"
    assert names.index("decision.allow") < names.index("run.started") < names.index("task.started")
    assert names[-1] == "end"
    assert detail["state"] == "succeeded", detail["outcome"]
    assert detail["outputs"]
    for path in detail["outputs"]:
        assert await asyncio.to_thread(_size, path) > 0
    assert {task["state"] for task in detail["tasks"] if task["kind"] != "possible"} == {"done"}


def _size(path: str) -> int:
    with open(path, "rb") as file:  # noqa: PTH123 -- a text from the API
        return len(file.read())


async def test_event_stream_resumes_after_the_last_seen(
    served: Served, weather: dict[str, Any]
) -> None:
    """Last-Event-ID gives exactly what came after it: nothing twice, nothing lost."""
    async with served.client("ada") as client:
        view = await client.post("/v1/launches", weather)
        events = [e for e in await to_the_end(client, view["id"]) if e.id]
        middle = events[len(events) // 2].id
        again = [e async for e in client._stream(view["id"], middle) if e.id]
    assert [e.id for e in again] == [e.id for e in events[len(events) // 2 + 1 :]]


async def test_denial_names_rule_task_and_remedy(served: Served, open_data: Any) -> None:
    """A denial is 403 problem+json that an agent can act on."""
    body = {"pipeline": "partner-export", "parameters": {"source": open_data.url}}
    async with served.client("ada", "copilot") as agent:
        problem = await refused(agent.post("/v1/launches", body))
        decision = await agent.get(f"/v1/decisions/{problem['decision_id']}")
    assert problem["status"] == 403
    assert problem["code"] == "policy_denied"
    assert problem["step"] == "decide"
    found = {item["rule"]: item for item in problem["violations"]}
    assert found["destination_not_allowed"]["task_name"] == "SendToPartner"
    assert found["destination_not_allowed"]["remediation"]
    assert decision["entry"]["body"]["result"]["verdict"] == "deny"


async def test_unknown_pipeline_is_denied_with_the_nearest_name(served: Served) -> None:
    """A misspelt pipeline is a denial in the log, and says what was probably meant."""
    async with served.client("ada") as client:
        problem = await refused(client.post("/v1/launches", {"pipeline": "city-wether"}))
    violation = problem["violations"][0]
    assert violation["rule"] == "pipeline_unknown"
    assert "city-weather" in violation["remediation"]


async def test_unknown_parameter_is_unresolvable_with_the_nearest_name(served: Served) -> None:
    """A misspelt parameter is denied by rule graph_unresolvable, at step resolve."""
    body = {"pipeline": "city-weather", "parameters": {"monhts": 3}}
    async with served.client("ada") as client:
        problem = await refused(client.post("/v1/launches", body))
    assert problem["step"] == "resolve"
    assert problem["violations"][0]["rule"] == "graph_unresolvable"
    assert "months" in problem["detail"]


async def test_same_key_same_launch(served: Served, weather: dict[str, Any]) -> None:
    """A retry, and a concurrent duplicate, get the launch that the first request made."""
    async with served.client("ada") as client:
        key = {"Idempotency-Key": "k-1"}
        views = await asyncio.gather(
            *(client.post("/v1/launches", weather, **key) for _ in range(5))
        )
        other = {**weather, "reason": "another"}
        problem = await refused(client.post("/v1/launches", other, **key))
        listed = (await client.get("/v1/launches"))["launches"]
    assert len({view["id"] for view in views}) == 1
    assert len(listed) == 1
    assert problem["code"] == "idempotency_key_reused"
    assert problem["status"] == 409


async def test_keys_are_scoped_by_requester(served: Served, weather: dict[str, Any]) -> None:
    """Another principal's equal key is another key: nobody is handed a foreign launch."""
    key = {"Idempotency-Key": "k-1"}
    async with (
        served.client("ada") as ada,
        served.client("ben") as ben,
        served.client("ada", "copilot") as agent,
    ):
        one = await ada.post("/v1/launches", weather, **key)
        two = await ben.post("/v1/launches", weather, **key)
        three = await agent.post("/v1/launches", weather, **key)
    assert len({one["id"], two["id"], three["id"]}) == 3


async def test_plan_answers_like_a_launch_and_runs_nothing(
    served: Served, weather: dict[str, Any]
) -> None:
    """A dry run shows decision, plan and tasks, is in the log, and makes no launch."""
    async with served.client("ada") as client:
        answer = await client.post("/v1/plans", weather)
        listed = (await client.get("/v1/launches"))["launches"]
    assert answer["decision"]["verdict"] == "allow"
    assert len(answer["plan"]["plan_digest"]) == 64
    assert {"FetchDataset", "CityWeatherReport"} <= {task["family"] for task in answer["tasks"]}
    assert listed == []
    newest = (await served.gateway.parts.log.newest(1))[0]
    assert newest.value["event"] == "plan.decided"


async def test_masked_parameters_never_come_back(served: Served, open_data: Any) -> None:
    """A value off the allow-list is in no answer, no event and no log entry."""
    secret = "c0ffee-c0ffee-c0ffee"
    parameters = {"source": open_data.url, "months": 1, "api_key": secret}
    body = {"pipeline": "city-weather", "parameters": parameters}
    async with served.client("ada") as client:
        view = await client.post("/v1/launches", body)
        events = await to_the_end(client, view["id"])
        detail = await client.get(f"/v1/launches/{view['id']}")
    assert secret not in json.dumps(view) + json.dumps(detail) + str(events)
    state = served.settings.state_dir
    for path in [p for p in state.rglob("*") if p.is_file() and "code" not in p.parts]:
        assert secret.encode() not in await asyncio.to_thread(path.read_bytes), path


async def test_foreign_launches_do_not_exist(served: Served, weather: dict[str, Any]) -> None:
    """Who may not see a launch is told that there is none, by every route."""
    async with served.client("ada") as ada, served.client("ben") as ben:
        view = await ada.post("/v1/launches", weather)
        path = f"/v1/launches/{view['id']}"
        for call in (
            ben.get(path),
            ben.post(f"{path}/cancel"),
            ben.text(f"{path}/tasks/{'0' * 64}/log"),
            ben.get(f"/v1/decisions/{view['decision']['id']}"),
        ):
            assert (await refused(call))["status"] == 404
        assert (await ben.get("/v1/launches"))["launches"] == []


async def test_cancel_stops_a_run(served: Served, weather: dict[str, Any]) -> None:
    """A requester stops their own launch; it ends cancelled and says by whom."""
    async with served.client("ada") as client:
        view = await client.post("/v1/launches", weather)
        await client.post(f"/v1/launches/{view['id']}/cancel")
        events = await to_the_end(client, view["id"])
    assert events[-1].data["state"] == "cancelled"


async def test_reviewers_read_the_log_and_others_do_not(
    served: Served, weather: dict[str, Any]
) -> None:
    """Entries are for reviewers; checkpoints and proofs are for everybody with a token."""
    async with served.client("chloe") as reviewer, served.client("ben") as ben:
        await ben.post("/v1/plans", weather)
        page = await reviewer.get("/v1/log/entries", limit="500")
        assert page["size"] >= len(page["entries"]) > 0
        assert (await refused(ben.get("/v1/log/entries")))["code"] == "reviewers_only"
        proof = await ben.get("/v1/log/proof/inclusion", seq="0", size=str(page["size"]))
        assert len(proof["root"]) == 64
    async with served.client("chloe", "copilot") as agent:
        assert (await refused(agent.get("/v1/log/entries")))["code"] == "reviewers_only"


async def test_operating_routes(served: Served) -> None:
    """Alive, ready with its layers, and measured, without a token."""
    assert (await raw(served, "GET", "/healthz"))[1] == {"status": "ok"}
    status, ready = await raw(served, "GET", "/readyz")
    assert status == 200
    assert ready["checks"] == {"store": "ok", "checkpoint_signer": "ok", "policy": "ok"}
    assert ready["layers"]["landlock"] in {True, False}
    async with (
        aiohttp.ClientSession() as session,
        session.get(served.gateway.url + "/metrics") as response,
    ):
        assert "sluice_log_entries" in await response.text()


async def test_rate_is_limited_per_principal(changed: Any, weather: dict[str, Any]) -> None:
    """One busy requester is told when to come back; another is not kept out."""
    async with (
        serve(changed(admit={"launches_per_minute": 1})) as served,
        served.client("ada") as ada,
        served.client("ben") as ben,
    ):
        await ada.post("/v1/plans", weather)
        problem = await refused(ada.post("/v1/plans", weather))
        await ben.post("/v1/plans", weather)
    assert problem["status"] == 429
    assert problem["retryable"]
