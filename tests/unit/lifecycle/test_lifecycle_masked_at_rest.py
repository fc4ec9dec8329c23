"""A masked parameter on a whole gateway: nowhere at rest in clear, while a run lasts and after.

Every file below the state directory is read byte by byte, the database and its write-ahead log too,
and each cell of each table besides, since SQLite may break a long one across pages.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway_bed import ROOT, Served, serve

from gateway.graph.code import read_tree
from gateway.settings import Settings
from tests.fixtures.luigi_ids import luigi_id

TOKEN = "c0ffee-c0ffee-c0ffee"
PIPELINE = """
import time
from pathlib import Path
import luigi

class Kept(luigi.Task):
    a_token = luigi.Parameter()
    def output(self):
        return luigi.LocalTarget(f"{self.task_family}.txt")
    def run(self):
        with self.output().open("w") as stream:
            stream.write(str(len(self.a_token)))

class Fetch(Kept):
    def run(self):
        Path("held").touch()
        while not Path("go").exists():
            time.sleep(0.05)
        super().run()

class Piece(Kept):
    n = luigi.IntParameter()
    def output(self):
        return luigi.LocalTarget(f"piece-{self.n}.txt")

class Vault(Kept):
    may_yield = ((Piece, 2),)
    def requires(self):
        return Fetch(a_token=self.a_token)
    def run(self):
        yield [Piece(a_token=self.a_token, n=n) for n in range(2)]
        super().run()
"""
IDS = [
    luigi_id("Vault", a_token=TOKEN),
    luigi_id("Fetch", a_token=TOKEN),
    *(luigi_id("Piece", a_token=TOKEN, n=str(n)) for n in range(2)),
]
GIVEN_AWAY = (  # the value, what Luigi spells of it, and by what a weak one could be guessed
    TOKEN[:10].encode(),
    TOKEN[:10].replace("-", "_").encode(),
    *(name.rpartition("_")[2].encode() for name in IDS),
)


@pytest.fixture
def vault(changed: Any, tmp_path: Path) -> Settings:
    """Return settings of a gateway whose catalogue has the pipeline above."""
    source = tmp_path / "tree"
    source.mkdir()
    (source / "vault.py").write_text(PIPELINE)
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    path = policies / "data" / "pipelines.yaml"
    rows = yaml.safe_load(path.read_text())
    rows["vault"] = {
        "title": "Vault",
        "description": "Keeps a token to itself.",
        "source": "tree",
        "module": "vault",
        "task": "Vault",
        "owner": "analysts",
        "tier": "low",
        "launchers": ["analysts"],
        "parameters": {"a_token": {"description": "what nobody sees", "shown": False}},
        "standing_approval": {
            "code_digest": read_tree(source).digest,
            "until": "2099-01-01",
            "by": "chloe",
            "reason": "a test's own",
        },
    }
    path.write_text(yaml.safe_dump(rows))
    found: Settings = changed(
        policy={"directory": policies},
        pipelines_dir=tmp_path,
        runs={"retry_delay_seconds": 0.1},
    )
    return found


def at_rest(state: Path) -> Iterator[tuple[str, bytes]]:
    """Yield everything that is stored, with the name of where."""
    for path in state.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
    with closing(sqlite3.connect(f"file:{state / 'sluice.db'}?mode=ro", uri=True)) as connection:
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        for (table,) in names.fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - our schema
                for cell in row:
                    yield table, cell if isinstance(cell, bytes) else str(cell).encode()


def given_away(state: Path) -> list[tuple[str, bytes]]:
    """Return where something stands that nobody may read, and what."""
    return [(where, word) for where, data in at_rest(state) for word in GIVEN_AWAY if word in data]


async def launched(served: Served, state: Path) -> tuple[str, Path]:
    """Launch the pipeline; return its id and its workspace, once its first task is held there."""
    async with served.client("ada") as ada:
        body = {"pipeline": "vault", "parameters": {"a_token": TOKEN}, "reason": "test"}
        view = await ada.post("/v1/launches", body)
        assert view["decision"]["verdict"] == "allow", view
        for _ in range(1200):
            if held := list(state.rglob("held")):
                return view["id"], held[0].parent
            await asyncio.sleep(0.05)
        raise AssertionError(await ada.get(f"/v1/launches/{view['id']}"))


async def ended(served: Served, launch_id: str) -> str:
    """Follow a launch to its end; return all that it said, which must be good."""
    async with served.client("ada") as ada:
        events = [event async for event in ada.events(launch_id)]
        detail = await ada.get(f"/v1/launches/{launch_id}")
    assert detail["state"] == "succeeded", detail["outcome"]
    return str(events) + json.dumps(detail)


async def test_masked_values_are_nowhere_at_rest(
    vault: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither while a task with the value runs, nor when all has ended, nor after we stopped."""
    state = vault.state_dir
    async with serve(vault) as served:
        launch_id, workspace = await launched(served, state)
        assert await asyncio.to_thread(given_away, state) == []
        (workspace / "go").touch()
        said = await ended(served, launch_id)
        entries = await served.gateway.parts.log.entries(0, 500)
        assert await asyncio.to_thread(given_away, state) == []
    assert await asyncio.to_thread(given_away, state) == []
    values = [entry.value for entry in entries]
    yielded = [node for value in values for node in value["body"].get("nodes", ())]
    assert sorted(node["parameters"]["n"][:12] for node in yielded) == ["hmac-sha256:"] * 2
    told = said + json.dumps(values) + "".join(capfd.readouterr())
    assert not [word for word in GIVEN_AWAY if word.decode() in told]
    with closing(sqlite3.connect(state / "sluice.db")) as connection:
        assert connection.execute("SELECT count(*) FROM sealed").fetchone() == (0,)


async def test_masked_values_survive_a_restart_sealed(vault: Settings) -> None:
    """The next gateway opens the seal: the tasks get their values, and Luigi's ids still agree."""
    state = vault.state_dir
    async with serve(vault) as first:
        launch_id, workspace = await launched(first, state)
    assert given_away(state) == []
    (workspace / "go").touch()
    async with serve(vault) as second:
        await ended(second, launch_id)
    assert {path.name for path in workspace.glob("*.txt")} == {
        *("Fetch.txt", "Vault.txt", "piece-0.txt", "piece-1.txt")
    }
    assert given_away(state) == []
