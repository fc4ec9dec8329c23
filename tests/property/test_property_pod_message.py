"""Whatever a pod says: an answer within bounds, or the one error."""

from __future__ import annotations

import base64
import json
import zlib
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cluster.message import (
    MessageError,
    parse_canary,
    parse_graph,
    parse_probe,
    parse_run,
)
from gateway.errors import Rejected
from gateway.graph.yields import admit_yield
from gateway.guest import pod_report
from gateway.model import MayYield, TaskGraph, TaskNode

GRAPH = TaskGraph(
    root="top",
    nodes={
        "raw": TaskNode("raw", "pipe", "Raw", "Raw_1", "external", {"n": "hmac-sha256:00"}),
        "part": TaskNode("part", "pipe", "Part", "", "possible", {"*": "3"}, ("bucket",)),
        "top": TaskNode(
            "top",
            "pipe",
            "Top",
            "Top_1",
            "task",
            {},
            deps=("part", "raw"),
            may_yield=(MayYield("Part", 3),),
        ),
    },
    code_digest="c" * 64,
    digest="d" * 64,
    sealed={"raw": {"n": "7"}},
)
WORDS = (
    "v result error status explanation outputs yields outputs_cut roots nodes f t p x d u kind"
    " priority resources may_yield complete unclear unclear_all graph bytes sha256 code_digest"
    " canary code message where DONE FAILED PENDING possible reached 0 1 Part"
)
TEXT = st.sampled_from(WORDS.split()) | st.text(max_size=5)
SCALAR = st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | TEXT
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=6),
    max_leaves=12,
)
FORM = st.fixed_dictionaries(
    {"f": SCALAR, "t": SCALAR, "p": VALUE, "x": VALUE, "d": VALUE},
    optional={"kind": SCALAR, "priority": VALUE, "may_yield": VALUE, "resources": VALUE},
)
YIELDS = st.fixed_dictionaries(
    {
        "roots": VALUE | st.lists(st.integers(0, 2), max_size=3),
        "nodes": VALUE | st.lists(FORM | st.integers(0, 1) | VALUE, max_size=3),
    }
)
RESULT = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["DONE", "FAILED", "PENDING"]) | VALUE,
        "explanation": VALUE,
        "outputs": VALUE,
        "yields": YIELDS | VALUE,
    },
    optional={"outputs_cut": VALUE},
)
PROBE = st.fixed_dictionaries(
    {"complete": VALUE, "unclear": VALUE}, optional={"unclear_all": VALUE}
)
BODY = (
    VALUE
    | st.fixed_dictionaries({"result": RESULT})
    | PROBE
    | st.fixed_dictionaries({"error": VALUE})
    | st.fixed_dictionaries({"canary": VALUE})
    | st.fixed_dictionaries({"graph": VALUE, "code_digest": VALUE})
)


@st.composite
def messages(draw: st.DrawFn) -> str:
    """Draw a report: nonsense, nearly right, plain or deflated."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.text(max_size=60))
    body = draw(BODY)
    text = json.dumps({"v": 1, **body} if isinstance(body, dict) else body)
    if draw(st.booleans()):
        return text
    return "z:" + base64.b64encode(zlib.compress(text.encode())).decode()


@settings(max_examples=300, deadline=None)
@given(messages())
def test_a_run_is_understood_or_refused(text: str) -> None:
    """A result within bounds, whose yield the gateway can judge; else the one error."""
    with suppress(MessageError):
        said = parse_run(text, GRAPH, ["raw"], ["part"])
        said.explanation.encode()
        assert (said.status == "PENDING") == (said.yields is not None)
        if said.yields is not None:
            with suppress(Rejected):
                admit_yield(GRAPH, "top", said.yields, frozenset(), installation_key=b"k" * 32)


@settings(max_examples=200, deadline=None)
@given(messages(), st.integers(0, 9), st.binary(max_size=40))
def test_probes_graphs_and_canaries_are_understood_or_refused(
    text: str, count: int, log: bytes
) -> None:
    """As many answers as questions, a graph or none, a word or the one error."""
    with suppress(MessageError):
        assert len(parse_probe(text, count)) == count
    with suppress(MessageError):
        parse_graph(text, log, 99)
    with suppress(MessageError):
        parse_graph(text, pod_report.frame(log), 99)
    with suppress(MessageError):
        parse_canary(text)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans() | st.text(max_size=400), max_size=60))
def test_every_probe_survives_the_report(answers: list[bool | str]) -> None:
    """What was known stays as it was; a text may be replaced, and stays a text."""
    message = pod_report.probe_message(answers)
    assert len(message) <= pod_report.LIMIT
    for before, after in zip(answers, parse_probe(message.decode(), len(answers)), strict=True):
        assert isinstance(after, str) if isinstance(before, str) else after is before


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["DONE", "FAILED"]),
    st.text(max_size=3_000),
    st.lists(st.text(max_size=300), max_size=30),
)
def test_every_result_survives_the_report(
    status: str, explanation: str, outputs: list[str]
) -> None:
    """The status always; of outputs the first ones, and whether there were more."""
    given_: dict[str, Any] = {
        "status": status,
        "explanation": explanation,
        "outputs": outputs,
        "yields": None,
    }
    message = pod_report.run_message(given_)
    assert len(message) <= pod_report.LIMIT
    said = parse_run(message.decode(), GRAPH, [], [])
    assert said.status == status
    assert said.outputs_cut == (len(said.outputs) < len(outputs))
    mended = [path.encode("utf-8", "replace").decode() for path in outputs]
    assert list(said.outputs) == mended[: len(said.outputs)]
