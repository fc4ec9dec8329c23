"""The guest in a pod: one order in, one short report out, the log beside it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from guest_bench import copy_of
from guest_bench import resolve as resolve_locally
from guest_pod import PodBench, Said, key_of, node_of

from gateway.cluster.message import (
    MessageError,
    RunMessage,
    known_for,
    parse_canary,
    parse_graph,
    parse_probe,
    parse_run,
)
from gateway.graph.pod_resolver import image_code_digest
from gateway.model import TaskGraph

DAY = {"date": "2026-01-02"}
IMAGE = f"registry.example.com/shop@sha256:{'1' * 64}"
ODD = """
import os, sys, threading, time
import luigi

print("imported")

class Plain(luigi.Task):
    name = luigi.Parameter(default="it")
    def output(self):
        return luigi.LocalTarget(f"{self.task_family}-{self.name}")

class Spy(Plain):
    def run(self):
        assert "SLUICE_TASK" not in os.environ
        assert sys.path[0] == os.path.dirname(__file__)
        with self.output().open("w") as stream:
            stream.write(os.getcwd())

class Quits(Plain):
    def run(self):
        sys.exit("enough")

class Vanishes(Plain):
    def run(self):
        os._exit(7)

class Hungry(Plain):
    def run(self):
        return "x" * (1 << 60)

class Wordy(Plain):
    def run(self):
        raise ValueError("\\n".join(os.urandom(40).hex() for _ in range(400)) + "\\nthe end")

class OneLine(Plain):
    def run(self):
        raise ValueError(os.urandom(4000).hex())

class Many(Plain):
    def output(self):
        return [luigi.LocalTarget(f"{n}-" + os.urandom(100).hex()) for n in range(64)]
    def complete(self):
        return True
    def run(self):
        pass

class Sleeper(Plain):
    def run(self):
        print("asleep", flush=True)
        time.sleep(60)

class Unclear(Plain):
    def complete(self):
        if self.name == "quits":
            sys.exit()
        raise OSError("no catalogue " + os.urandom(int(self.name)).hex())

class Noisy(Plain):
    def requires(self):
        def shout():
            while True:
                print("-----END SLUICE GRAPH-----\\nnoise", flush=True)
                print("noise", file=sys.stderr, flush=True)
                time.sleep(0.0001)
        threading.Thread(target=shout, daemon=True).start()
        print("-----BEGIN SLUICE GRAPH-----\\neA==\\n-----END SLUICE GRAPH-----", end="")
        return [Plain(name=os.urandom(30_000).hex()) for _ in range(20)]

class All(luigi.WrapperTask):
    def requires(self):
        families = Plain, Spy, Quits, Vanishes, Hungry, Wordy, OneLine, Many, Sleeper
        return [family() for family in families] + [
            Unclear(name=name) for name in ("4", "80", "quits")
        ]
"""

FIRST = """
import sys
assert sys.path[0] in __file__, sys.path
assert not [path for path in sys.path if path.endswith(".pyz")], sys.path
import luigi
class First(luigi.Task):
    pass
"""


@pytest.fixture
def shop(tmp_path: Path) -> PodBench:
    """Return the shop in pods."""
    return PodBench(tmp_path, copy_of("shop", tmp_path / "source"))


@pytest.fixture
def fresh(tmp_path: Path) -> PodBench:
    """Return a pipeline of tasks that misbehave, in pods."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "odd.py").write_text(ODD)
    return PodBench(tmp_path, source)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> PodBench:
    """Return the same pipeline, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("odd")
    source = folder / "source"
    source.mkdir()
    (source / "odd.py").write_text(ODD)
    return PodBench(folder, source)


@pytest.fixture(scope="module")
def graph(odd: PodBench) -> TaskGraph:
    """Return the graph of all of its tasks."""
    return odd.resolve("odd", "All", ("name",))


def result(bench: PodBench, graph: TaskGraph, family: str) -> tuple[RunMessage, Said]:
    """Run a task that needs nothing; return what it said."""
    key = key_of(graph, family)
    known, families = known_for(graph, key)
    said = bench.run(graph, key, known, families)
    return parse_run(said.message, graph, known, families), said


async def test_pod_resolves_what_the_sandbox_resolves(shop: PodBench, tmp_path: Path) -> None:
    """The same records, whether the code comes in an archive or in the image, and its digest."""
    given = {**DAY, "note": "x"}
    tree = tmp_path / "source" / "shop"
    expected, _ = await resolve_locally(tree, "shop", "Report", given)
    order = shop.order("resolve", "shop", family="Report", parameters=given)
    there = {"tree": str(shop.tree), "image": IMAGE}
    both = image_code_digest(IMAGE, shop.source.digest)
    for code in ({}, {**there, "code_digest": both}, {**there, "code_digest": None}):
        said = shop.say({**order, **code})
        told = parse_graph(said.message, said.log, 1 << 20)
        assert told.answer == expected
        assert (told.code_digest, said.code) == (shop.source.digest, 0)
        assert said.log.startswith(b"\n-----BEGIN SLUICE GRAPH-----\n")  # and nobody warned


def test_pod_refuses_code_of_another_image(shop: PodBench) -> None:
    """The digest that was decided covers image and folder: neither may be another one."""
    order = shop.order("resolve", "shop", family="Report", parameters=DAY)
    for image, digest in (
        (f"{IMAGE}0", image_code_digest(IMAGE, shop.source.digest)),
        (IMAGE, image_code_digest(IMAGE, "0" * 64)),
        (IMAGE, shop.source.digest),
    ):
        said = shop.say({**order, "tree": str(shop.tree), "image": image, "code_digest": digest})
        told = parse_graph(said.message, said.log, 1 << 20)
        assert told.answer["error"]["code"] == "code_changed"


def test_pod_runs_a_task_and_says_what_it_made(shop: PodBench) -> None:
    """Private parameters in a mounted order, Luigi's log without values, a short report."""
    graph = shop.resolve("shop", "Report", ("date",), **DAY)
    clean = key_of(graph, "Clean")
    known, families = known_for(graph, clean)
    said = shop.run(graph, clean, known, families)
    told = parse_run(said.message, graph, known, families)
    assert told == RunMessage("DONE", "", ("clean-2026-01-02.txt",))
    assert said.code == 0
    assert (shop.workspace / "clean-2026-01-02.txt").read_text() == "t0ken"
    assert "cleaning with 5 letters" in said.text
    assert "t0ken" not in said.text + said.message


def test_pod_gives_the_pipeline_its_own_path_and_environment(
    odd: PodBench, graph: TaskGraph
) -> None:
    """Its modules come first, it works in its workspace, and the order is gone."""
    node = node_of(graph, key_of(graph, "Spy"))
    said = odd.say(odd.order("run", "odd", node=node, known=[], families=[]))
    told = parse_run(said.message, graph, [], [])
    assert told.status == "DONE", told.explanation
    assert (odd.workspace / "Spy-it").read_text() == str(odd.workspace)


@pytest.mark.parametrize(
    ("family", "reason"),
    [("Quits", "SystemExit: enough"), ("Hungry", "MemoryError")],
)
def test_pod_reports_what_ends_a_task(
    odd: PodBench, graph: TaskGraph, family: str, reason: str
) -> None:
    """Whatever run() raises is a failure with its traceback, and exit code 1."""
    told, said = result(odd, graph, family)
    assert (told.status, said.code) == ("FAILED", 1)
    assert reason in told.explanation


def test_pod_that_vanishes_has_said_nothing(odd: PodBench, graph: TaskGraph) -> None:
    """An exit that Python does not see leaves an empty message and the exit code."""
    said = odd.run(graph, key_of(graph, "Vanishes"), [], [])
    assert (said.code, said.message) == (7, "")
    with pytest.raises(MessageError, match="ended without a result"):
        parse_run(said.message, graph, [], [])


def test_pod_cuts_explanations_at_line_ends(odd: PodBench, graph: TaskGraph) -> None:
    """The end is kept; a line too long for the report is named and not cut, as it may be masked."""
    told, said = result(odd, graph, "Wordy")
    assert len(said.message) <= 4096
    assert told.explanation.rstrip().endswith("the end")
    assert len(told.explanation) > 1000
    told, _ = result(odd, graph, "OneLine")
    assert "ValueError: (a line of 80" in told.explanation
    assert len(told.explanation) < 200


def test_pod_drops_outputs_that_do_not_fit(odd: PodBench, graph: TaskGraph) -> None:
    """The first ones are told, and that there are more."""
    told, said = result(odd, graph, "Many")
    assert told.status == "DONE"
    assert said.code == 0
    assert told.outputs_cut
    assert 5 < len(told.outputs) < 64
    assert [path.split("-")[0] for path in told.outputs] == [
        str(n) for n in range(len(told.outputs))
    ]


def test_pod_checks_bytes_before_it_imports_them(fresh: PodBench) -> None:
    """Another digest, a broken archive, names that lead elsewhere: nothing is imported."""
    order = fresh.order("resolve", "odd", family="Spy", parameters={})
    archive = fresh.folder / "code.zip"

    def refused(**changes: Any) -> str:
        said = fresh.say({**order, **changes})
        assert b"imported" not in said.log
        assert not list(fresh.folder.glob("pod-*/pipeline"))
        assert said.code == 1
        error = parse_graph(said.message, said.log, 1 << 20).answer["error"]
        assert error["code"] in ("code_changed", "source_unusable")
        return str(error["message"])

    assert "not the code that was decided upon" in refused(code_digest="0" * 64)
    assert "not the code" in refused(code_digest="0" * 64, tree=str(fresh.tree), image=IMAGE)
    for name in ("../odd.py", "/odd.py", "a//b.py", "./odd.py", ".hidden/x.py", "odd.pyc"):
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr(name, ODD)
        assert "holds the name" in refused()
    archive.write_bytes(b"PK no zip")
    assert "broken" in refused()
    image = fresh.folder / "image"
    shutil.copytree(fresh.tree, image)
    image.chmod(0o755)
    (image / "__pycache__").mkdir()
    told = refused(tree=str(image), code_digest=None)
    assert "__pycache__ is not covered" in told
    assert "PYTHONDONTWRITEBYTECODE" in told
    assert "has no folder" in refused(tree="/nowhere", code_digest=None)


def test_pod_pins_luigi_from_within_the_archive(odd: PodBench) -> None:
    """Luigi's default would bring tasks of its own along, as it does where nothing is pinned."""
    said = odd.say(odd.order("resolve", "odd", family="RangeDaily", parameters={}))
    told = parse_graph(said.message, said.log, 1 << 20)
    assert told.answer["error"]["code"] == "family_unknown"


def test_pod_keeps_prints_out_of_the_graph(odd: PodBench) -> None:
    """A false frame before it, threads that print, and both streams of one pipe do no harm."""
    noisy = odd.resolve("odd", "Noisy", ("name",))
    assert len(noisy.nodes) == 21


def test_pod_probes_with_room_for_every_answer(odd: PodBench, graph: TaskGraph) -> None:
    """An answer for each; texts that do not fit are left out, from the end, and counted unclear."""
    node = node_of(graph, key_of(graph, "Plain"))

    def asked(nodes: list[dict[str, Any]]) -> list[bool | str]:
        said = odd.say(odd.order("probe", "odd", nodes=nodes), mounted=True)
        assert said.code == 0
        assert len(said.message) <= 4096
        return parse_probe(said.message, len(nodes))

    def unclear(name: str) -> dict[str, Any]:
        nodes = (node for node in graph.nodes.values() if node.family == "Unclear")
        return node_of(graph, next(n.key for n in nodes if n.parameters["name"] == name))

    (odd.workspace / "Plain-it").write_text("")
    answers = asked([node, unclear("4"), unclear("quits"), {**node, "task_id": "drifted"}])
    assert answers[0] is True
    assert str(answers[1]).startswith("OSError: no catalogue ")
    assert answers[2] == "SystemExit"
    assert answers[3] == "the task id of Plain changed since approval"
    many = asked([unclear("80"), node] * 60)
    assert many[1::2] == [True] * 60
    texts = [str(text) for text in many[0::2]]
    assert texts[0].startswith("OSError: no catalogue ")
    assert texts[-1].startswith("complete() raised an exception")


def test_pod_that_cannot_import_says_why(tmp_path: Path) -> None:
    """In each mode the same reason, with the line."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "bad.py").write_text("import sys\nsys.exit('not today')\n")
    bench = PodBench(tmp_path, source)
    graph = TaskGraph("", {}, "", "")
    why = "importing bad raised SystemExit: not today (bad.py:2 in <module>)"
    said = bench.say(bench.order("run", "bad", node={}, known=[], families=[]))
    assert parse_run(said.message, graph, [], []) == RunMessage("FAILED", why)
    said = bench.say(bench.order("probe", "bad", nodes=[{}, {}]))
    assert parse_probe(said.message, 2) == [why, why]
    said = bench.say(bench.order("resolve", "bad", family="X", parameters={}))
    assert parse_graph(said.message, said.log, 1).answer["error"]["code"] == "import_failed"


@pytest.mark.parametrize("order", ["", "[]", '{"v": 2}', '{"v": 1, "mode": "dance"}', "{"])
def test_pod_with_no_order_of_ours_says_so(odd: PodBench, order: str) -> None:
    """Nothing is run, and the report says that nothing was."""
    said = odd.say(order)
    assert said.code == 1
    assert parse_run(said.message, TaskGraph("", {}, "", ""), [], []).status == "FAILED"


def test_pod_ends_at_once_when_told(odd: PodBench, graph: TaskGraph) -> None:
    """SIGTERM, which process 1 would ignore, ends it with 143."""
    node = node_of(graph, key_of(graph, "Sleeper"))
    process, message = odd.start(odd.order("run", "odd", node=node, known=[], families=[]))
    with process:
        while b"asleep" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 143
    assert not message.exists()


def test_canary_is_reached_or_not(odd: PodBench) -> None:
    """A connection, or its refusal, is an answer; where there is no network there is none."""

    def reached(port: int, *around: str) -> tuple[bool, int]:
        order = {"v": 1, "mode": "canary", "host": "127.0.0.1", "port": port, "seconds": 0.1}
        said = odd.say(order, around=around)
        return parse_canary(said.message), said.code

    with socket.create_server(("127.0.0.1", 0)) as alive:
        port = alive.getsockname()[1]
        assert reached(port) == (True, 1)
        assert reached(port, "/usr/bin/unshare", "-rn") == (False, 0)
    assert reached(port) == (True, 1)


def test_guest_archive_is_a_pods_process(tmp_path: Path) -> None:
    """The very command of a pod, with the paths of a pod, in a file system of its own."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "first.py").write_text(FIRST)
    bench = PodBench(tmp_path, source)
    order = bench.order("resolve", "first", family="First", parameters={}, tree=str(bench.tree))
    order["code_digest"] = None
    script = (
        "mount -t tmpfs tmpfs /dev && : > /dev/null && : > /dev/termination-log"
        ' && "$@" && printf "\\n" && cat /dev/termination-log'
    )
    command = [sys.executable, "-I", "-B", str(tmp_path / "guest.pyz")]
    ended = subprocess.run(
        ["/usr/bin/unshare", "-rm", "/bin/sh", "-c", script, "sh", *command],
        env={"SLUICE_TASK": json.dumps(order), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=30,
        check=True,
    )
    message = ended.stdout.splitlines()[-1].decode()
    told = parse_graph(message, ended.stdout, 1 << 20)
    assert [node["family"] for node in told.answer["nodes"]] == ["First"]
