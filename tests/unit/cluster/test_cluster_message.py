"""What pods say is untrusted: bounded, parsed strictly, and one error when it makes no sense."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from gateway.cluster.message import (
    MAX_INFLATED,
    MAX_OUTPUT_BYTES,
    MAX_TEXT,
    PROBE_MOST,
    MessageError,
    RunMessage,
    parse_canary,
    parse_graph,
    parse_probe,
    parse_run,
)
from gateway.errors import Rejected
from gateway.graph.yields import admit_yield
from gateway.guest import pod_report
from gateway.model import LUIGI_ID, TaskGraph, TaskNode

GRAPH = TaskGraph(
    root="top",
    nodes={
        "raw": TaskNode("raw", "pipe", "Raw", "Raw_1", "external", {"n": "hmac-sha256:00"}),
        "part": TaskNode("part", "pipe", "Part", "", "possible", {"*": "3"}, ("bucket",)),
        "top": TaskNode("top", "pipe", "Top", "Top_1", "task", {}, deps=("part", "raw")),
    },
    code_digest="c" * 64,
    digest="d" * 64,
    sealed={"raw": {"n": "7"}},
)
PART = {"f": 0, "t": "Part_1", "p": {"n": "1"}, "x": ["n"], "d": []}


def run(text: str | None) -> RunMessage:
    """Parse a report of Top's pod."""
    return parse_run(text, GRAPH, ["raw"], ["part"])


def result(**changes: Any) -> str:
    """Return a good report, changed."""
    good = {"status": "DONE", "explanation": "", "outputs": ["/workspace/a"], "yields": None}
    return json.dumps({"v": 1, "result": {**good, **changes}})


def yielded(*nodes: Any, roots: Any = None) -> str:
    """Return a report that yields; by default every node."""
    listed = list(range(len(nodes))) if roots is None else roots
    yields = {"roots": listed, "nodes": list(nodes)}
    return result(status="PENDING", outputs=[], yields=yields)


def deflated(data: bytes) -> str:
    """Return bytes as a long report has them."""
    return "z:" + base64.b64encode(zlib.compress(data, 9)).decode()


def refused(text: str | None) -> str:
    """Return why a report is none."""
    with pytest.raises(MessageError) as caught:
        run(text)
    return str(caught.value)


def test_a_result_plain_or_deflated() -> None:
    """Both forms say the same."""
    expected = RunMessage("DONE", "", ("/workspace/a",))
    assert run(result()) == expected
    assert run(deflated(result().encode())) == expected
    assert run(result(outputs_cut=True)).outputs_cut


def test_a_yield_becomes_whole_records() -> None:
    """Approved tasks with their clear values and needs, possible ones, new ones of a family."""
    said = run(yielded(0, {**PART, "d": [0, 2], "priority": 3}, {"f": 0}, roots=[1]))
    assert said.yields is not None
    new, raw, part = said.yields["nodes"]
    assert said.yields["roots"] == [0]
    assert (new["family"], new["module"], new["egress"]) == ("Part", "pipe", ["bucket"])
    assert new["parameters"] == {"n": {"value": "1", "private": True}}
    assert (new["deps"], new["priority"], new["kind"]) == ([1, 2], 3, "task")
    assert raw["parameters"] == {"n": {"value": "7", "private": True}}
    assert (raw["task_id"], raw["kind"]) == ("Raw_1", "external")
    assert (part["kind"], part["parameters"], part["task_id"]) == ("possible", {}, "")


def test_a_yield_names_masked_tasks_as_luigi_does() -> None:
    """The record of an approved one has the id that is sealed, and only real parameters."""
    graph = replace(GRAPH, sealed={"raw": {"n": "7", LUIGI_ID: "Raw_7_0123456789"}})
    said = parse_run(yielded(0), graph, ["raw"], ["part"])
    assert said.yields is not None
    (raw,) = said.yields["nodes"]
    assert raw["task_id"] == "Raw_7_0123456789"
    assert raw["parameters"] == {"n": {"value": "7", "private": True}}


def test_an_unapproved_task_becomes_a_record_of_its_name() -> None:
    """It is refused, whatever it is called: a name alone is no approved task."""
    said = run(yielded({"u": ["pipe", "Stranger", ["web"]]}))
    assert said.yields is not None
    (record,) = said.yields["nodes"]
    assert (record["family"], record["egress"]) == ("Stranger", ["web"])
    top = run(yielded({"u": ["pipe", "Top", []]}))
    with pytest.raises(Rejected, match="Top is neither in the graph nor in may_yield"):
        admit_yield(GRAPH, "raw", top.yields or {}, frozenset(), installation_key=b"k" * 32)


@pytest.mark.parametrize(
    "text",
    [
        yielded(),
        yielded(0, roots=[]),
        yielded(0, roots=[1]),
        yielded(0, roots=0),
        yielded(1),
        yielded(-1),
        yielded(True),
        yielded(0.0),
        yielded(None),
        yielded("raw"),
        yielded({}),
        yielded({"f": 1}),
        yielded({"f": "part"}),
        yielded({"u": ["pipe", "X"]}),
        yielded({"u": "abc"}),
        yielded({**PART, "f": 9}),
        yielded({**PART, "deps": []}),
        yielded({**PART, "x": "n"}),
        yielded({**PART, "x": [1, 2]}),
        yielded({**PART, "p": 3}),
        yielded({**PART, "p": ["n"]}),
        yielded({**PART, "d": [1]}),
        yielded({name: PART[name] for name in "ftp"}),
        result(status="PENDING"),
        result(yields={"roots": [0], "nodes": [0]}),
        result(status="PENDING", yields=[0]),
        result(status="PENDING", yields={"roots": [0], "nodes": [0], "more": 1}),
    ],
)
def test_yields_of_another_form_are_refused(text: str) -> None:
    """A task that was not given, an index out of range, a field too many or of another type."""
    assert "yield" in refused(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "ended without a result"),
        ("", "ended without a result"),
        ("hello", "not JSON"),
        ("[" * 4000, "not JSON"),
        ("[]", "no known version"),
        ('{"v": true}', "no known version"),
        ('{"v": 2, "result": {}}', "no known version"),
        ('{"v": 1}', "not of a run"),
        ('{"v": 1, "complete": "", "unclear": {}}', "not of a run"),
        ('{"v": 1, "error": {"code": 1}}', "error has another form"),
        ('{"v": 1, "error": {"code": 1, "message": "", "where": ""}}', "a text that is none"),
        (result(extra=1), "other fields"),
        (result(outputs_cut=1), "other fields"),
        (result(status="OK"), "no known status"),
        (result(status=["DONE"]), "no known status"),
        (result(outputs="a"), "outputs"),
        (result(outputs=[1]), "a text that is none"),
        (result(explanation=None), "a text that is none"),
        (result(explanation="x" * 4096), "longer than 4096"),
        ("z:", "does not unpack"),
        ("z:????", "cannot be unpacked"),
        (deflated(b" " * (MAX_INFLATED + 1)), "does not unpack"),
        (deflated(result().encode())[:-8], "unpack"),
        ("z:" + base64.b64encode(zlib.compress(b"{}") + b"more").decode(), "does not unpack"),
    ],
)
def test_reports_of_another_form_are_refused(text: str | None, reason: str) -> None:
    """Each with a sentence that says what it is."""
    assert reason in refused(text)


def test_long_texts_are_cut_and_broken_ones_mended() -> None:
    """Whatever a pod says can be stored."""
    outputs = ["é" * (MAX_TEXT + 9)] * 12
    said = run(deflated(result(explanation="\ud800", outputs=outputs).encode()))
    assert said.explanation == "?"
    assert said.outputs_cut
    assert sum(len(path.encode()) for path in said.outputs) <= MAX_OUTPUT_BYTES
    assert said.outputs[0].startswith("...")


def test_probes_answer_each_question() -> None:
    """True, false, and why not; a bit without a text is an answer too."""
    said = {"v": 1, "complete": "9", "unclear": {"1": "no table"}, "unclear_all": "6"}
    answers = parse_probe(json.dumps(said), 4)
    assert answers[:2] == [True, "no table"]
    assert "no room" in str(answers[2])
    assert answers[3] is True
    assert parse_probe('{"v": 1, "complete": "", "unclear": {}}', 2) == [False, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"complete": "4"},
        {"complete": "0" * 99},
        {"complete": "G"},
        {"complete": 1},
        {"unclear": []},
        {"unclear": {"2": "x"}},
        {"unclear": {"01": "x"}},
        {"unclear": {"0": "x"}},
        {"unclear": {"1": 1}},
        {"unclear_all": "1"},
        {"unclear_all": None},
        {"more": 1},
    ],
)
def test_probes_of_another_form_are_refused(changes: dict[str, Any]) -> None:
    """No answer to what was not asked, and none in two ways."""
    good = {"v": 1, "complete": "1", "unclear": {}}
    assert parse_probe(json.dumps(good), 2) == [True, False]
    with pytest.raises(MessageError):
        parse_probe(json.dumps({**good, **changes}), 2)


def test_as_many_tasks_as_are_probed_at_once_always_fit() -> None:
    """Whatever the answers are: the worst is a long text of its own for every second task."""
    texts = [hashlib.sha256(bytes([n % 256])).hexdigest() * 3 for n in range(PROBE_MOST)]
    answers: list[bool | str] = [
        text if int(text[:2], 16) % 2 else bool(int(text[2], 16) % 2) for text in texts
    ]
    message = pod_report.probe_message(answers).decode()
    assert len(message) <= 4096
    parsed = parse_probe(message, PROBE_MOST)
    for before, after in zip(answers, parsed, strict=True):
        assert isinstance(after, str) if isinstance(before, str) else after == before


GOOD = {"root": 0, "nodes": [{"family": "Top"}]}


def graph_said(data: bytes, **changes: Any) -> str:
    """Return the report of a graph of these bytes."""
    graph = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **changes}
    return json.dumps({"v": 1, "graph": graph, "code_digest": "c" * 64})


def test_graphs_come_through_the_log() -> None:
    """Between the last two marks, however long, whatever was printed before."""
    value = {"root": 0, "nodes": [hashlib.sha256(bytes([n])).hexdigest() for n in range(256)] * 9}
    data = json.dumps(value).encode()
    frame = pod_report.frame(data)
    assert max(map(len, frame.splitlines())) <= 16_000
    log = b"noise" + pod_report.frame(b"{}") + b"more noise" + frame
    told = parse_graph(graph_said(data), log, len(data))
    assert (told.answer, told.code_digest) == (value, "c" * 64)


@pytest.mark.parametrize(
    ("log", "changes", "limit", "reason"),
    [
        (b"", {}, 1 << 20, "holds no graph"),
        (pod_report.frame(b"{}")[:-9], {}, 1 << 20, "not the whole"),
        (pod_report.frame(b"{}"), {}, 1 << 20, "not the graph that it reported"),
        (pod_report.frame(b" " * 99), {}, 1 << 20, "does not unpack"),
        (pod_report.frame(json.dumps(GOOD).encode()), {}, 9, "more than 0 MB"),
        (pod_report.frame(json.dumps(GOOD).encode()), {"bytes": -1}, 9, "how large"),
        (pod_report.frame(json.dumps(GOOD).encode()), {"bytes": True}, 9, "how large"),
        (pod_report.frame(json.dumps(GOOD).encode()), {"sha256": 1}, 99, "not the graph"),
        (pod_report.frame(json.dumps(GOOD).encode()), {"more": 1}, 99, "how large"),
    ],
)
def test_graphs_that_are_not_as_promised_are_refused(
    log: bytes, changes: dict[str, Any], limit: int, reason: str
) -> None:
    """Cut, exchanged, longer than they say or may be."""
    with pytest.raises(MessageError, match=reason):
        parse_graph(graph_said(json.dumps(GOOD).encode(), **changes), log, limit)


def test_a_graph_of_another_form_is_none() -> None:
    """What the bytes are must be an answer of the guest."""
    for data in (b"[]", b'{"error": {}}', b"[" * 9999, b"\xff"):
        with pytest.raises(MessageError):
            parse_graph(graph_said(data), pod_report.frame(data), 1 << 20)


def test_canaries_are_reached_or_not() -> None:
    """Nothing else is an answer."""
    assert parse_canary('{"v":1,"canary":"reached"}')
    assert not parse_canary('{"v":1,"canary":"unreachable"}')
    error = '{"v":1,"error":{"code":"x","message":"no host","where":""}}'
    for text in (None, '{"v":1,"canary":"perhaps"}', '{"v":1,"canary":[]}', error):
        with pytest.raises(MessageError):
            parse_canary(text)
