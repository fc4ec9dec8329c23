"""What an attempt says is untrusted: bounded, parsed strictly, and told in words when it is bad."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.runs.executor import Outcome, Progress
from gateway.runs.report import (
    MAX_EXPLANATION,
    MAX_LINE,
    MAX_OUTPUT_BYTES,
    MAX_TEXT,
    End,
    Limit,
    Report,
)

LIMIT = Limit(cpu_seconds=60, memory_mb=512)
WELL = End(code=0)


def result(**changes: Any) -> dict[str, Any]:
    """Return a good result line, changed."""
    good = {"status": "DONE", "explanation": "", "outputs": ["/workspace/a"], "yields": None}
    return {"result": {**good, **changes}}


def said(*lines: Any, end: End = WELL) -> tuple[Outcome, list[Progress]]:
    """Return what becomes of some lines, given as values or as raw bytes."""
    heard: list[Progress] = []
    report = Report(heard.append)
    for line in lines:
        report.feed(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
    return report.outcome(end, LIMIT), heard


def test_done() -> None:
    """A good result with a good end is the outcome."""
    assert said(result())[0] == Outcome("DONE", "", ("/workspace/a",))


def test_failed() -> None:
    """A failure keeps its own explanation, also when the process then ends badly."""
    outcome, _ = said(result(status="FAILED", explanation="no table"), end=End(code=1))
    assert outcome == Outcome("FAILED", "no table", ("/workspace/a",))


def test_yields() -> None:
    """A yield is handed on raw: who knows the graph decides about it."""
    yields = {"roots": [0], "nodes": [{"family": "Part"}]}
    outcome, _ = said(result(status="PENDING", yields=yields))
    assert (outcome.status, outcome.yields) == ("PENDING", yields)


def test_progress() -> None:
    """Progress is passed on as it comes, in whatever pieces the bytes arrive."""
    data = b"".join(
        json.dumps(line).encode() + b"\n"
        for line in ({"progress": 150}, {"message": "half"}, {"tracking_url": "https://x.test/1"})
    )
    _, heard = said(*(data[i : i + 1] for i in range(len(data))), result())
    assert heard == [
        Progress(percent=100),
        Progress(message="half"),
        Progress(tracking_url="https://x.test/1"),
    ]


def test_tracking_url_that_is_no_address() -> None:
    """A tracking URL with another scheme is dropped: people click on it."""
    outcome, heard = said({"tracking_url": "javascript:alert(1)"}, result())
    assert outcome.status == "DONE"
    assert heard == []


@pytest.mark.parametrize(
    "lines",
    [
        [b"garbage\n"],
        [b"\xff\xfe\n"],
        [b"[" * 100_000 + b"\n"],
        [b"{}\n"],
        [{"progress": True}],
        [{"progress": "50"}],
        [{"progress": 1, "result": {}}],
        [{"unknown": 1}],
        [result(), {"progress": 1}],
        [result(), result()],
        [{"result": None}],
        [{"result": {"status": "DONE"}}],
        [result(more=1)],
        [result(status="RUNNING")],
        [result(status=[])],
        [result(explanation=None)],
        [result(outputs="/workspace")],
        [result(outputs=[1])],
        [result(outputs=["x"] * 1001)],
        [result(status="PENDING")],
        [result(yields={"roots": [0], "nodes": [{}]})],
        [result(status="PENDING", yields={"roots": [], "nodes": [{}]})],
        [result(status="PENDING", yields={"roots": 1, "nodes": [{}]})],
        [result(status="PENDING", yields=[])],
        [{"complete": [True]}],
        [b'{"result": '],
        [],
    ],
)
def test_nonsense(lines: list[Any]) -> None:
    """Whatever is not of the protocol is a failed attempt with a reason, never an exception."""
    outcome, _ = said(*lines)
    assert outcome.status == "FAILED"
    assert outcome.explanation


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.binary()
        | JSON
        | st.fixed_dictionaries({"result": JSON})
        | st.fixed_dictionaries(
            {}, optional={"status": JSON, "explanation": JSON, "outputs": JSON, "yields": JSON}
        ).map(lambda changes: result(**changes))
    )
)
def test_anything(lines: list[Any]) -> None:
    """Whatever an attempt says, an outcome comes of it, whose texts can be stored."""
    outcome, _ = said(*lines)
    assert outcome.status in ("DONE", "FAILED", "PENDING")
    outcome.explanation.encode()
    "".join(outcome.outputs).encode()


def test_endless_line() -> None:
    """A line that does not end is given up, and its bytes are not kept."""
    report = Report(lambda _: None)
    for _ in range(MAX_LINE // 65_536 + 2):
        report.feed(b"x" * 65_536)
    assert report._rest == b""
    assert report.outcome(WELL, LIMIT) == Outcome("FAILED", "it reported more than 2 MB")


def test_long_texts_are_cut() -> None:
    """Of a long explanation the end is kept, where a traceback says what happened."""
    outcome, heard = said(
        {"message": "m" * 5_000}, result(status="FAILED", explanation="x" * 50_000 + "the end")
    )
    assert len(outcome.explanation) == MAX_EXPLANATION + 3
    assert outcome.explanation.endswith("the end")
    assert len(heard[0].message or "") == MAX_TEXT + 3


def test_lone_surrogates() -> None:
    """A text that is no Unicode is made one: the log could not hold it."""
    outcome, _ = said(result(explanation="a\ud800b"))
    assert outcome.explanation == "a?b"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (End(signal=signal.SIGXCPU), "more than 60 s of CPU time"),
        (End(signal=signal.SIGKILL), "beyond 512 MB of memory or 60 s of CPU time"),
        (End(signal=signal.SIGSEGV), "signal 11 (SIGSEGV)"),
        (End(signal=99), "signal 99"),
        (End(code=3), "exit code 3"),
        (End(code=0), "without a result"),
        (End(lost="the pipeline's process ended"), "the pipeline's process ended"),
    ],
)
def test_a_bad_end_in_words(end: End, words: str) -> None:
    """A process that says nothing and ends badly is explained in words."""
    outcome, _ = said(end=end)
    assert outcome.status == "FAILED"
    assert words in outcome.explanation


def test_done_but_killed() -> None:
    """A task that says it is done and then does not end well has failed."""
    outcome, _ = said(result(), end=End(signal=signal.SIGSEGV))
    assert outcome.status == "FAILED"


def test_memory_error() -> None:
    """Python's own word for the memory limit is completed with the limit."""
    outcome, _ = said(result(status="FAILED", explanation="Traceback ...\nMemoryError\n"))
    assert outcome.explanation.endswith("(the limit is 512 MB)")


def test_answers() -> None:
    """A probe answers for each task, with a text where complete() raised."""
    report = Report(lambda _: None)
    report.feed(b'{"complete": [true, false, "no network"]}\n')
    assert report.answers(3, WELL, LIMIT) == [True, False, "no network"]


@pytest.mark.parametrize(
    "line", [b'{"complete": [true]}', b'{"complete": 1}', b'{"complete": [1, 2]}']
)
def test_bad_answers(line: bytes) -> None:
    """Answers that do not fit the questions are no answers: the tasks are unknown, not complete."""
    report = Report(lambda _: None)
    report.feed(line + b"\n")
    assert all(isinstance(answer, str) for answer in report.answers(2, WELL, LIMIT))


def test_outputs_fit_into_an_entry() -> None:
    """A task that names a great deal is cut, so that its end can be logged and not run again."""
    outcome, _ = said(result(outputs=["/workspace/" + "\u4e2d" * 600] * 60))
    assert 0 < len(outcome.outputs) < 60
    assert sum(len(path.encode()) for path in outcome.outputs) <= MAX_OUTPUT_BYTES
