"""``serve``: attempts forked from a warm guest, in a real sandbox."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from guest_bench import Warm, copy_of, node_of, resolve, serving

from gateway.sandbox.guest import GUEST

DAY = {"date": "2026-01-02"}
HOSTILE = """
import ctypes, os, signal, subprocess, sys, time
import luigi

class Sleeper(luigi.Task):
    def run(self):
        ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import os, time; os.setsid(); time.sleep(60)"])
        self.set_status_message("asleep")
        time.sleep(60)

class Crasher(luigi.Task):
    def run(self):
        ctypes.string_at(0)

class Leaver(luigi.Task):
    def run(self):
        os._exit(7)

class Spy(luigi.Task):
    def run(self):
        said = []
        for number in range(3, 64):
            try:
                os.fstat(number)
                said.append(f"fd{number}:{os.readlink(f'/proc/self/fd/{number}').split(':')[0]}")
            except OSError:
                pass
        for action in (lambda: os.kill(1, 9), lambda: open("/proc/1/mem", "rb+"),
                       lambda: open("/proc/1/environ").read()):
            try:
                action()
                said.append("could")
            except OSError:
                said.append("refused")
        raise RuntimeError(" ".join(said))

class Drifter(luigi.Task):
    def requires(self):
        return External(here=os.path.exists("marker"))

class External(luigi.ExternalTask):
    here = luigi.BoolParameter()

class Odd(luigi.Task):
    def run(self):
        yield ["not a task"]

class Failing(luigi.Task):
    token = luigi.Parameter(default="t0ken")
    def complete(self):
        raise ValueError("no database")
    def run(self):
        raise ValueError("on purpose")
"""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[tuple[Warm, dict[str, Any], Path]]:
    """Return a warm guest of the shop, its graph, and its workspace."""
    tree, workspace = copy_of("shop", tmp_path), tmp_path / "workspace"
    graph, _ = await resolve(tree, "shop", "Report", {**DAY, "note": "x"})
    async with serving(tree, "shop", workspace) as warm:
        ready = await warm.hear()
        assert ready == {"event": "ready", "layers": {"nested_namespaces": True}}
        yield warm, graph, workspace


@pytest.fixture
async def hostile(tmp_path: Path) -> AsyncIterator[Warm]:
    """Return a warm guest of tasks that misbehave."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "hostile.py").write_text(HOSTILE)
    async with serving(tree, "hostile", tmp_path / "workspace") as warm:
        assert (await warm.hear())["event"] == "ready"
        yield warm


def bare(family: str, task_id: str, **more: Any) -> dict[str, Any]:
    """Return a task without parameters or dependencies."""
    plain = {"parameters": {}, "deps": [], "task_id": task_id}
    return {"module": "hostile", "family": family, **plain, **more}


def bare_id(family: str) -> str:
    """Return Luigi's id of a task without parameters."""
    return f"{family}__99914b932b"


async def test_serve_runs_one_task_and_tells_how_it_went(
    shop: tuple[Warm, dict[str, Any], Path],
) -> None:
    """Progress, messages and address on the way; outputs and status last; prints in the log."""
    warm, graph, workspace = shop
    done = await warm.run("a", node_of(graph, "Clean"))
    assert done.event["code"] == 0
    assert done.lines == [
        {"progress": 40},
        {"message": "half way"},
        {"tracking_url": "https://example.org/job/1"},
    ]
    assert done.result == {
        "status": "DONE",
        "explanation": "",
        "outputs": ["clean-2026-01-02.txt"],
        "yields": None,
    }
    assert "cleaning with 5 letters" in done.log
    assert (workspace / "clean-2026-01-02.txt").read_text() == "t0ken"


async def test_serve_log_names_tasks_without_their_parameters(
    shop: tuple[Warm, dict[str, Any], Path],
) -> None:
    """Luigi's log lines spell out every parameter; a private one must not reach a log."""
    warm, graph, _ = shop
    done = await warm.run("a", node_of(graph, "Clean"))
    assert "Clean" in done.log
    assert "t0ken" not in done.log


async def test_serve_dynamic_dependencies_come_back_with_private_values(
    shop: tuple[Warm, dict[str, Any], Path],
) -> None:
    """A yield is PENDING with whole records; run again when they are complete, it is DONE."""
    warm, graph, workspace = shop
    split = node_of(graph, "Split")
    pending = await warm.run("a", split)
    assert pending.result["status"] == "PENDING"
    yields = pending.result["yields"]
    assert yields["roots"] == [0, 1]
    assert [item["parameters"]["n"]["value"] for item in yields["nodes"]] == ["0", "1"]
    assert yields["nodes"][0]["parameters"]["key"] == {"value": "sesame", "private": True}
    for number in (0, 1):
        part = node_of({"nodes": [yields["nodes"][number]]}, "Part")
        assert (await warm.run(f"part{number}", part)).result["status"] == "DONE"
    assert (workspace / "part-1.txt").read_text() == "1:sesame"
    assert (await warm.run("b", split)).result["status"] == "DONE"


async def test_serve_probe_asks_each_task_for_itself(
    shop: tuple[Warm, dict[str, Any], Path], hostile: Warm
) -> None:
    """``complete()`` of each, in one process; an exception is that task's answer alone."""
    warm, graph, workspace = shop
    (workspace / "raw-2026-01-02.csv").write_text("")
    nodes = [node_of(graph, family) for family in ("Raw", "Clean")]
    said = await warm.begin("probe", "p", {"nodes": nodes})
    assert (await warm.hear())["code"] == 0
    assert await said.lines() == [{"complete": [True, False]}]
    failing = bare("Failing", "Failing_t0ken_0", parameters={"token": "t0ken"})
    said = await hostile.begin("probe", "p", {"nodes": [failing]})
    await hostile.hear()
    ((answer,),) = [line["complete"] for line in await said.lines()]
    assert "changed since approval" in answer  # the task id above is wrong on purpose


async def test_serve_refuses_what_is_not_exactly_what_was_approved(
    shop: tuple[Warm, dict[str, Any], Path],
) -> None:
    """Another id, other dependencies, or a parameter left out: FAILED, and nothing runs."""
    warm, graph, workspace = shop
    clean = node_of(graph, "Clean")
    changes = (
        {"task_id": "Clean_2026_01_02_0000000000"},
        {"deps": []},
        {"parameters": DAY},
        {"family": "Claen"},
    )
    for number, change in enumerate(changes):
        done = await warm.run(f"a{number}", {**clean, **change})
        assert done.result["status"] == "FAILED"
        assert done.result["explanation"]
    assert not list(workspace.iterdir())


async def test_serve_finds_drift_between_approval_and_run(hostile: Warm, tmp_path: Path) -> None:
    """A task that requires something else now than when it was approved does not run."""
    (tmp_path / "workspace" / "marker").write_text("")
    approved = [f"External_False_{'a' * 10}"]
    done = await hostile.run("a", bare("Drifter", bare_id("Drifter"), deps=approved))
    assert "requires other tasks than were approved" in done.result["explanation"]


async def test_serve_kill_ends_an_attempt_and_all_that_it_started(hostile: Warm) -> None:
    """Deaf to signals, with a child in a session of its own, without a death signal."""
    said = await hostile.begin("run", "a", {"node": bare("Sleeper", bare_id("Sleeper"))})
    await asyncio.sleep(0.3)
    hostile.kill("nobody")
    hostile.kill("a")
    hostile.kill("a")
    assert await hostile.hear() == {"event": "exited", "attempt": "a", "code": None, "signal": 9}
    assert await said.lines() == [{"message": "asleep"}]
    await asyncio.wait_for(said.log.collect(), 5)  # ends: no process holds it any more


async def test_serve_survives_attempts_that_end_badly(hostile: Warm) -> None:
    """A crash, an exit, an exception and a yield of nonsense each end that attempt alone."""
    crash = await hostile.run("a", bare("Crasher", bare_id("Crasher")))
    assert (crash.event["signal"], crash.result) == (11, {})
    left = await hostile.run("b", bare("Leaver", bare_id("Leaver")))
    assert (left.event["code"], left.result) == (7, {})
    odd = await hostile.run("c", bare("Odd", bare_id("Odd")))
    assert odd.result["status"] == "FAILED"
    spy = await hostile.run("d", bare("Spy", bare_id("Spy")))
    assert spy.result["status"] == "FAILED"


async def test_serve_attempt_reaches_neither_the_warm_process_nor_its_socket(hostile: Warm) -> None:
    """Of all descriptors an attempt finds its report; process 1 is itself, and not the warm one."""
    spy = await hostile.run("a", bare("Spy", bare_id("Spy")))
    said = spy.result["explanation"].strip().splitlines()[-1]
    descriptors = [word for word in said.split() if word.startswith("fd")]
    assert [word.split(":")[1] for word in descriptors] == ["pipe"]
    assert said.split()[-2:] == ["refused", "refused"]


async def test_serve_says_why_it_cannot_start(tmp_path: Path) -> None:
    """An import that fails is an event with a sentence, then the end of the socket."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "broken.py").write_text("raise SystemExit('no licence')")
    async with serving(tree, "broken", tmp_path / "workspace") as warm:
        event = await warm.hear()
    assert event["event"] == "failed"
    assert event["code"] == "import_failed"
    assert "SystemExit: no licence (broken.py:1" in event["reason"]


def test_serve_guest_folder_imports_nothing_of_the_gateway() -> None:
    """It is mounted alone, in pods too."""
    for path in GUEST.glob("*.py"):
        assert "import gateway" not in path.read_text()
        assert "from gateway" not in path.read_text()
    assert os.access(GUEST / "pinned.cfg", os.R_OK)
