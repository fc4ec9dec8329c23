"""Make what a pod says fit where it says it: 4,096 bytes, and none of them for granted.

Texts are cut at line ends and never inside a line: the gateway takes masked values out of them,
and could not recognise half a value.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .pod_seal import GRAPH, sealed

LIMIT = 4_096  # bytes; Kubernetes keeps no more of a termination message
BEGIN = b"-----BEGIN SLUICE GRAPH-----"
END = b"-----END SLUICE GRAPH-----"

_MOST_PLAIN = 2 * 1024 * 1024  # the gateway inflates no more
_LINE = 8_000  # of the frame; a container runtime splits a line at 16 KiB
_ENOUGH = (3_000, 1_500, 700, 250)  # characters of a text, in that order; the last always fits
_UNCLEAR = 200
_ERROR_NAME = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Warning|Exit)(?=: )")


def pack(message: Mapping[str, Any], limit: int = LIMIT) -> bytes | None:
    """Return a message as ASCII JSON, or that deflated behind ``z:``; None when it does not fit."""
    plain = _json(message)
    if len(plain) <= limit:
        return plain
    small = b"z:" + base64.b64encode(zlib.compress(plain, 9))
    return small if len(small) <= limit and len(plain) <= _MOST_PLAIN else None


def run_message(result: Mapping[str, Any], limit: int = LIMIT) -> bytes:
    """Return the report of a ``run``: its explanation cut first, then its outputs.

    A yield is told whole or not at all: one that does not fit makes the task fail.
    """
    for shorter in _shorter(result, limit):
        if (data := pack({"v": 1, "result": shorter}, limit)) is not None:
            return data
    message = "the result of the task does not fit a pod's report"
    return error_message("result_too_large", message, limit=limit)


def probe_message(answers: Sequence[bool | str], limit: int = LIMIT) -> bytes:
    """Return the report of a ``probe``; texts are left out, from the end, where they do not fit."""
    unclear = {index: text for index, text in enumerate(answers) if isinstance(text, str)}
    message: dict[str, Any] = {
        "v": 1,
        "complete": _bitmap(index for index, answer in enumerate(answers) if answer is True),
        "unclear": {str(index): tail(text, _UNCLEAR) for index, text in unclear.items()},
    }
    told = len(unclear)
    while (data := pack(message, limit)) is None and told:
        told = told * 3 // 4
        message["unclear"] = dict(list(message["unclear"].items())[:told])
        message["unclear_all"] = _bitmap(iter(unclear))
    if data is not None:
        return data
    why = f"no pod can answer for {len(answers)} tasks"
    return error_message("result_too_large", why, limit=limit)


def error_message(code: str, message: str, where: str = "", *, limit: int = LIMIT) -> bytes:
    """Return the report of work that could not be begun, or has no answer."""
    for most in _ENOUGH:
        told = {"code": code, "message": tail(message, most), "where": tail(where, _UNCLEAR)}
        if (data := pack({"v": 1, "error": told}, limit)) is not None:
            return data
    return _json({"v": 1, "error": {"code": code, "message": "", "where": ""}})


def frame(data: bytes, key: bytes | None = None) -> bytes:
    """Return bytes as lines of text between two marks, on lines of their own."""
    small = zlib.compress(data, 6)
    text = base64.b64encode(small if key is None else sealed(small, key, GRAPH))
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return b"\n".join([b"", BEGIN, *lines, END, b""])


def tail(text: str, most: int) -> str:
    """Return the last whole lines of ``text`` within ``most`` characters."""
    if len(text) <= most:
        return text
    kept = text[-most:].partition("\n")[2]
    if kept.strip():
        return kept
    last = text.rstrip().rpartition("\n")[2]
    name = _ERROR_NAME.match(last)
    prefix = f"{name.group()[:100]}: " if name else ""
    return f"{prefix}(a line of {len(last)} characters, too long for a pod to report)"


def _shorter(result: Mapping[str, Any], limit: int) -> Iterator[dict[str, Any]]:
    """Yield a result again and again, each time with less."""
    less = dict(result)
    yield less
    if less["yields"] is not None:
        yield {**less, **_no_yield(less["yields"], limit)}
        return
    for most in _ENOUGH:
        less["explanation"] = tail(result["explanation"], most)
        yield less
    for count in reversed(range(len(result["outputs"]))):
        yield {**less, "outputs": result["outputs"][:count], "outputs_cut": True}


def _no_yield(yields: Mapping[str, Any], limit: int) -> dict[str, Any]:
    plain = _json(yields)
    size = min(len(plain), len(base64.b64encode(zlib.compress(plain, 9))))
    explanation = (
        f"it yields {len(yields['roots'])} tasks, which take {size:,} bytes; a pod can report"
        f" {limit:,} for all that it says: yield fewer tasks at once, or give them shorter"
        " parameters"
    )
    return {"status": "FAILED", "explanation": explanation, "outputs": [], "yields": None}


def _bitmap(indices: Iterator[int]) -> str:
    bits = sum(1 << index for index in indices)
    return f"{bits:x}" if bits else ""


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
