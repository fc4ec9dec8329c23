"""The lines between gateway and driver: what is written is read back, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import IntegrityViolation
from gateway.runs.protocol import (
    Exited,
    Finished,
    Kill,
    Message,
    Plan,
    PlanNode,
    PlanSettings,
    Settled,
    Start,
    decode,
    encode,
)

NODE = PlanNode(
    key="k",
    kind="task",
    deps=("a", "b"),
    complete=None,
    priority=-3,
    resources={"database": 2},
    retry_count=None,
    worker_timeout=60,
    disabled=False,
    attempts=1,
)
MESSAGES: list[Message] = [
    Plan("k", (NODE,), PlanSettings(4, 2, 1.5, 0)),
    Exited("k", 1, "PENDING", ("n",), (NODE,)),
    Exited("k", 2, "DONE"),
    Start("k", 1),
    Kill("k", 1),
    Settled("k"),
    Finished("SUCCESS", {"k": "DONE"}),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_round_trip(message: Message) -> None:
    """Every message survives its line; a line is one line."""
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


def _start(**changes: Any) -> bytes:
    return json.dumps({"v": 1, "type": "start", "node": "k", "attempt": 1, **changes}).encode()


def test_the_line_that_the_next_tests_spoil() -> None:
    """The line from which the refused ones differ in one thing is itself fine."""
    assert decode(_start()) == Start("k", 1)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        _start(v=2),
        _start(type="plan"),
        _start(type="begin"),
        _start(type=None),
        _start(more=1),
        _start(node=1),
        _start(attempt="1"),
        _start(attempt=True),
        _start(attempt=1.0),
        _start(attempt=None),
        json.dumps({"v": 1, "type": "start", "node": "k"}).encode(),
        encode(Exited("k", 1, "DONE")).replace(b"DONE", b"RUNNING"),
        encode(MESSAGES[0]).replace(b'"database":2', b'"database":"2"'),
        encode(MESSAGES[0]).replace(b'["a","b"]', b'"ab"'),
        encode(MESSAGES[0]).replace(b'["a","b"]', b"[1]"),
        encode(MESSAGES[0]).replace(b'"kind":"task"', b'"kind":"shell"'),
        encode(MESSAGES[0]).replace(b'"complete":null', b'"complete":"yes"'),
    ],
)
def test_refused(line: bytes) -> None:
    """Another version, an unknown message, a missing, extra or mistyped field: all refused."""
    with pytest.raises(IntegrityViolation) as caught:
        decode(line)
    assert caught.value.code == "driver_protocol"
