"""Cutting on a whole gateway, tasks as local processes: rights, order, and a log that is down."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cutting_kit import Silence, cuts, ended, events, running, silence, until
from gateway_bed import Served, serve

from gateway.commands.client import ClientError
from gateway.settings import Settings

ISSUER = "https://dev.sluice.local"
SOON = 30  # seconds; the machine may be busy


@pytest.fixture
async def quiet() -> AsyncIterator[Silence]:
    """A server that never answers."""
    async with silence() as found:
        yield found


async def code(call: Any) -> str:
    """Return the code of a refused call."""
    with pytest.raises(ClientError) as caught:
        await call
    return str(caught.value.problem["code"])


async def cut(served: Served, subject: str, *client: str, **what: str) -> dict[str, Any]:
    """Cut as somebody."""
    async with served.client(subject, *client) as somebody:
        said: dict[str, Any] = await somebody.post("/v1/stops", {"kind": "cut", **what})
        return said


@contextmanager
def broken_log(settings: Settings) -> Iterator[None]:
    """Let nobody write to the database while this is open, as a hanging disk would."""
    with closing(sqlite3.connect(settings.database, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def journal(settings: Settings) -> list[dict[str, Any]]:
    """Return the journal's lines."""
    path = settings.state_dir / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def logged(served: Served, launch_id: str) -> dict[str, Any]:
    """Wait until the log has the launch's cut, and return its only entry."""
    async with asyncio.timeout(SOON):
        while True:
            if found := await cuts(served, launch_id):
                (body,) = found
                return body
            await asyncio.sleep(0.1)


async def test_whoever_may_cancel_a_launch_may_cut_it(served: Served, quiet: Silence) -> None:
    """Strangers see no launch, agents and requesters cut no others', and the requester cuts hers.

    The entry says who, why, how many and how long, and stands before what stops the launch.
    """
    launch = await running(served, quiet)
    mine, wide = {"launch_id": launch}, {"principal": f"{ISSUER}#ada"}
    assert await code(cut(served, "ben", **mine)) == "launch_not_found"
    for who in (("ada",), ("ada", "copilot"), ("ben",), ("chloe", "copilot")):
        assert await code(cut(served, *who, **wide)) == "reviewers_only"
        assert await code(cut(served, *who, pipeline="city-weather")) == "reviewers_only"
    assert quiet.open

    said = await cut(served, "ada", **mine, reason="it reads too much")
    (item,) = said["launches"]
    assert (item["launch_id"], item["tasks"], item["logged"]) == (launch, 0, True)
    assert "cannot take the network away" in item["note"]
    assert (await ended(served, launch))["state"] == "cancelled"
    assert not quiet.open
    names = [event for event, _ in await events(served, launch)]
    assert names.index("launch.cut") + 1 == names.index("launch.cancelling")
    (body,) = await cuts(served, launch)
    assert body.items() >= {
        "by": f"{ISSUER}#ada", "reason": "it reads too much", "tasks": 0, "left": 0,
        "journaled": False, "launch_id": launch,
    }.items()  # fmt: skip
    assert 0 <= body["milliseconds"] <= 1000 * said["seconds"] + 1

    again = await cut(served, "ada", **mine)
    assert again["launches"][0]["state"] == "cancelled"
    assert len(await cuts(served, launch)) == 1
    assert await code(cut(served, "chloe", launch_id=launch[::-1])) == "request_invalid"
    zero = f"{0:08x}-0000-0000-0000-{0:012x}"
    assert await code(cut(served, "chloe", launch_id=zero)) == "launch_not_found"


async def test_an_account_is_cut_wherever_it_acts(
    served: Served, quiet: Silence, jobs: dict[str, Any]
) -> None:
    """A reviewer cuts all that an agent has a part in: what runs, and what waits for people.

    What others launched goes on.
    """
    launch = await running(served, quiet, "ada", "copilot")
    async with served.client("ada", "copilot") as agent, served.client("ben") as ben:
        waiting = (await agent.post("/v1/launches", jobs))["id"]
        other = (await ben.post("/v1/launches", jobs))["id"]
        said = await cut(served, "chloe", principal=f"{ISSUER}#copilot")
        assert {item["launch_id"] for item in said["launches"]} == {launch, waiting}
        assert (await ended(served, launch))["state"] == "cancelled"
        states = [
            (await agent.get(f"/v1/launches/{waiting}"))["state"],
            (await ben.get(f"/v1/launches/{other}"))["state"],
        ]
        assert states == ["cancelled", "awaiting_approval"]
        said = await cut(served, "chloe", pipeline="jobs-report")
        assert [item["launch_id"] for item in said["launches"]] == [other]
        assert (await cut(served, "chloe", pipeline="jobs-report"))["launches"] == []
        metrics = await ben.text("/metrics")
    assert "sluice_cut_seconds_count 3.0" in metrics


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "cut"},
        {"kind": "cut", "pipeline": "a", "principal": "b"},
        {"kind": "stop", "pipeline": "a"},
        {"kind": "cut", "pipeline": "../a"},
        {"kind": "cut", "principal": ""},
    ],
)
def test_a_cut_names_one_thing(body: dict[str, str]) -> None:
    """Launch, account or pipeline: exactly one, and in its form."""
    from pydantic import ValidationError

    from gateway.surfaces.http.models import StopBody

    with pytest.raises(ValidationError):
        StopBody.model_validate(body)


async def test_a_log_that_is_down_holds_up_no_cut(served: Served, quiet: Silence) -> None:
    """What runs ends though nothing can be written; the log gets the cut once it can, and once."""
    launch = await running(served, quiet)
    with broken_log(served.settings):
        said = await cut(served, "ada", launch_id=launch)
        assert said["launches"][0]["logged"] is False
        await until(lambda: not quiet.open)
        assert [line["event"] for line in journal(served.settings)] == ["cut.ordered", "cut.done"]
    body = await logged(served, launch)
    assert body["journaled"] is True
    assert (await ended(served, launch))["state"] == "cancelled"
    assert [line["event"] for line in journal(served.settings)][-1] == "cut.logged"
    await asyncio.sleep(2.5)  # one more look at what is open
    assert len(await cuts(served, launch)) == 1


async def test_a_store_that_is_gone_holds_up_no_cut(settings: Settings, quiet: Silence) -> None:
    """A reviewer cuts by id though not a row can be read; the next gateway logs it, and once.

    It does not take the launch up again, whatever the rows say.
    """
    async with serve(settings) as served:
        launch = await running(served, quiet)
        await served.gateway.parts.database.close()
        said = await cut(served, "chloe", launch_id=launch, reason="a bad day")
        (item,) = said["launches"]
        assert (item["state"], item["logged"]) == ("unknown", False)
        await until(lambda: not quiet.open)
    quiet.asked.clear()
    async with serve(settings) as served:
        assert (await ended(served, launch))["state"] == "cancelled"
        body = await logged(served, launch)
        assert (body["reason"], body["journaled"]) == ("a bad day", True)
    assert not quiet.asked.is_set()


async def test_a_crash_behind_the_order_or_the_entry(settings: Settings, quiet: Silence) -> None:
    """Ordered and not done: the next gateway cuts. Logged and not noted: once is enough."""
    async with serve(settings) as served:
        launch = await running(served, quiet)
        by = {
            "subject": {"account": f"{ISSUER}#ada", "issuer": ISSUER, "subject": "ada",
                        "kind": "human", "groups": []},
            "kind": "human", "client_id": None, "actors": [],
        }  # fmt: skip
    order = {
        "event": "cut.ordered", "id": "order-1", "at": "2026-11-22T00:00:00.000Z", "by": by,
        "kind": "launch_id", "name": launch, "reason": "", "launches": [launch],
    }  # fmt: skip
    path = settings.state_dir / "journal.jsonl"
    path.write_text(json.dumps(order) + "\n" + '{"event":"cut.do')
    quiet.asked.clear()
    for _ in range(2):
        async with serve(settings) as served:
            body = await logged(served, launch)
            assert (body["order"], body["journaled"]) == ("order-1", True)
            assert (await ended(served, launch))["state"] == "cancelled"
        lines = path.read_text().splitlines()
        path.write_text("\n".join(line for line in lines if "cut.logged" not in line) + "\n")
    assert not quiet.asked.is_set()


async def test_a_journal_that_cannot_be_written_holds_up_no_cut(
    served: Served, quiet: Silence
) -> None:
    """The journal is for a log that is down; without it a cut is logged as ever."""
    Path(served.settings.state_dir / "journal.jsonl").mkdir()
    launch = await running(served, quiet)
    assert (await cut(served, "ada", launch_id=launch))["launches"][0]["logged"] is True
    assert (await ended(served, launch))["state"] == "cancelled"
