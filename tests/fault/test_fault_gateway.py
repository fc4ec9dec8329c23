"""Invariant 8 on the whole product: ``kill -9`` at bad moments, then start again.

The gateway is a process of its own here, as users run it.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from gateway_bed import ROOT

from gateway.commands.client import ClientError, GatewayClient
from gateway.decisionlog import verifier
from gateway.identity.development import DevIssuer


class Process:
    """One life of ``sluice serve``."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, state: Path) -> None:
        self.process = process
        self.url = url
        self.state = state

    def client(self, subject: str = "ada") -> GatewayClient:
        """Return a client of this gateway."""
        token = DevIssuer.open(self.state / "keys").issue(subject=subject)
        return GatewayClient(self.url, token)

    async def kill(self) -> None:
        """Kill it as the kernel would."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def serving(state: Path) -> AsyncIterator[Process]:
    """Run ``sluice serve`` on a free port until the block ends."""
    environment = {
        "PATH": os.environ["PATH"],
        "SLUICE_STATE_DIR": str(state),
        "SLUICE_HTTP__PORT": "0",
        "SLUICE_IDENTITY__DEVELOPMENT_ISSUER": "true",
        "SLUICE_LOG_FORMAT": "json",
    }
    with (state.parent / "gateway.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "gateway", "serve"),
            cwd=ROOT,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    found = re.search(r"http://\S+", line)
    assert found, (line, (state.parent / "gateway.log").read_text()[-2000:])
    try:
        yield Process(process, found.group(), state)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 30)


def entries(state: Path) -> list[tuple[str, str]]:
    """Return event and entry bytes of the log, in order."""
    with closing(sqlite3.connect(state / "sluice.db")) as connection:
        rows = connection.execute("SELECT event, bytes FROM entries ORDER BY seq")
        return [(event, bytes(text).decode()) for event, text in rows]


def verified(state: Path) -> bool:
    """Verify the log from its file and the public key."""
    return verifier.verify(state / "sluice.db", (state / "keys" / "log.vkey").read_text()).ok


async def until(client: Any, launch_id: str, name: str) -> None:
    """Wait for the first event of a name."""
    async for event in client.events(launch_id):
        if event.name == name:
            return
    raise AssertionError(f"no {name}")


@pytest.mark.parametrize("moment", ["run.started", "task.started", "task.finished"])
async def test_killed_gateway_goes_on_where_the_log_stands(
    tmp_path: Path, weather: dict[str, Any], moment: str
) -> None:
    """A run survives the gateway's death: one outcome, nothing twice at once, nothing unlogged."""
    state = tmp_path / "state"
    async with serving(state) as first, first.client() as client:
        view = await client.post("/v1/launches", weather)
        await until(client, view["id"], moment)
        await first.kill()
    async with serving(state) as second, second.client() as client:
        async for event in client.events(view["id"]):
            end = event
        assert end.data["state"] == "succeeded", end.data
    names = [event for event, _ in entries(state)]
    assert names.count("run.finished") == 1
    assert "run.recovered" in names or names.count("run.started") == 1
    running: set[str] = set()
    for event, text in entries(state):
        task = re.search(r'"task":"([0-9a-f]{64})"', text)
        if event == "run.recovered":
            running.clear()  # nothing of the killed run is alive: the executor proved it
        elif event == "task.started":
            assert task is not None
            assert task.group(1) not in running
            running.add(task.group(1))
        elif event == "task.finished" and task is not None:
            running.discard(task.group(1))
    assert verified(state)


async def test_graceful_stop_keeps_the_run_for_the_next_start(
    tmp_path: Path, weather: dict[str, Any]
) -> None:
    """SIGTERM ends the processes, not the launch."""
    state = tmp_path / "state"
    async with serving(state) as first, first.client() as client:
        view = await client.post("/v1/launches", weather)
        await until(client, view["id"], "task.started")
    assert first.process.returncode == 0
    async with serving(state) as second, second.client() as client:
        async for event in client.events(view["id"]):
            end = event
        assert end.data["state"] == "succeeded", end.data
    assert verified(state)


async def test_waiting_approval_survives_a_crash(tmp_path: Path, jobs: dict[str, Any]) -> None:
    """What waits for people waits on, for the same plan digest."""
    state = tmp_path / "state"
    async with serving(state) as first:
        async with first.client() as client:
            view = await client.post("/v1/launches", jobs)
            assert view["state"] == "awaiting_approval"
        await first.kill()
    async with serving(state) as second, second.client("chloe") as chloe:
        listed = (await chloe.get("/v1/approvals"))["approvals"]
        assert [item["plan_digest"] for item in listed] == [view["plan"]["plan_digest"]]
        body = {"verdict": "approve", "plan_digest": view["plan"]["plan_digest"]}
        await chloe.post(f"/v1/launches/{view['id']}/approvals", body)
        async for event in chloe.events(view["id"]):
            end = event
        assert end.data["state"] == "succeeded", end.data


async def test_a_launch_that_ended_does_not_run_again(
    tmp_path: Path, weather: dict[str, Any]
) -> None:
    """A row that was set back cannot make a decision, or an approval, count twice."""
    state = tmp_path / "state"
    async with serving(state) as first:
        async with first.client() as client:
            view = await client.post("/v1/launches", weather)
            await until(client, view["id"], "end")
        await first.kill()
    with closing(sqlite3.connect(state / "sluice.db")) as connection:
        connection.execute("UPDATE launches SET state = 'queued'")
        connection.commit()
    async with serving(state) as second, second.client() as client:
        async for event in client.events(view["id"]):
            end = event
    assert end.data["state"] == "cancelled"
    assert [event for event, _ in entries(state)].count("run.started") == 1


async def test_forged_rows_run_nothing(tmp_path: Path, jobs: dict[str, Any]) -> None:
    """Invariant 1: who can write the database but not MACs cannot run what waits for people."""
    state = tmp_path / "state"
    async with serving(state) as first:
        async with first.client() as client:
            view = await client.post("/v1/launches", jobs)
        await first.kill()
    with closing(sqlite3.connect(state / "sluice.db")) as connection:
        connection.execute("UPDATE launches SET state = 'queued' WHERE id = ?", (view["id"],))
        connection.execute("UPDATE approvals SET state = 'used'")
        connection.commit()
    async with serving(state) as second, second.client() as client:
        async for event in client.events(view["id"]):
            end = event
        detail = await client.get(f"/v1/launches/{view['id']}")
    assert end.data["state"] == "cancelled"
    assert "approval" in detail["outcome"]
    assert "task.started" not in [event for event, _ in entries(state)]


@pytest.mark.parametrize("row", ["principal", "needs"])
async def test_forged_rows_approve_nothing(tmp_path: Path, jobs: dict[str, Any], row: str) -> None:
    """Who asked, and who may agree, is the log's word: changed rows open no way to approve."""
    state = tmp_path / "state"
    async with serving(state) as first:
        async with first.client() as client:
            view = await client.post("/v1/launches", jobs)
        await first.kill()
    with closing(sqlite3.connect(state / "sluice.db")) as connection:
        if row == "principal":
            sql = "UPDATE launches SET record = replace(record, '#ada', '#ben')"
            connection.execute(sql)
            connection.execute(sql.replace("#ada", '"ada"').replace("#ben", '"ben"'))
        else:
            connection.execute(
                "UPDATE approvals SET needs = replace(needs, 'data-stewards', 'analysts')"
            )
        connection.commit()
    body = {"verdict": "approve", "plan_digest": view["plan"]["plan_digest"]}
    who = "ada" if row == "principal" else "ben"
    async with serving(state) as second, second.client(who) as approver:
        with pytest.raises(ClientError) as caught:
            await approver.post(f"/v1/launches/{view['id']}/approvals", body)
    expected = {"principal": "approver_not_independent", "needs": "approver_not_in_group"}
    assert caught.value.problem["code"] == expected[row]


async def test_changed_code_is_never_imported(tmp_path: Path, jobs: dict[str, Any]) -> None:
    """Invariant 3: bytes that differ from what was decided end the run before they are imported."""
    state = tmp_path / "state"
    async with (
        serving(state) as gateway,
        gateway.client() as client,
        gateway.client("chloe") as chloe,
    ):
        view = await client.post("/v1/launches", jobs)
        kept = state / "code" / view["plan"]["code_digest"] / "jobs_report.py"
        kept.chmod(0o644)
        kept.write_text("raise SystemExit('imported')\n" + kept.read_text())
        body = {"verdict": "approve", "plan_digest": view["plan"]["plan_digest"]}
        await chloe.post(f"/v1/launches/{view['id']}/approvals", body)
        async for event in client.events(view["id"]):
            end = event
    assert end.data["state"] in {"failed", "cancelled"}
    assert "digest" in end.data["outcome"] or "code" in end.data["outcome"], end.data
    assert "task.started" not in [event for event, _ in entries(state)]
