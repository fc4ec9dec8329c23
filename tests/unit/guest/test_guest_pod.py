"""The guest in a pod runs and probes: one order in, one short report out, the log beside it."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Any

import pytest
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
from gateway.model import TaskGraph

DAY = {"date": "2026-01-02"}


def result(bench: PodBench, graph: TaskGraph, family: str) -> tuple[RunMessage, Said]:
    """Run a task that needs nothing; return what it said."""
    key = key_of(graph, family)
    known, families = known_for(graph, key)
    said = bench.run(graph, key, known, families)
    return parse_run(said.message, graph, known, families), said


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
