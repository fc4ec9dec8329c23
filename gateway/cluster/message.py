"""What a pod says, read as what it is: bytes from code that we did not write.

A pod speaks through its termination message, 4,096 bytes, and a resolving one through its log too.
Whatever it says is bounded before it is looked at; what is not understood is one ``MessageError``
with a sentence, and never anything else. The forms are those of ``gateway/guest``.

These functions compute and do not wait; ``parse_graph`` of a large log belongs in a thread.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from gateway.cluster.expansion import MessageError, expand, known_for
from gateway.cluster.sealing import opened_graph
from gateway.model import TaskGraph

__all__ = [
    "PROBE_MOST",
    "GraphMessage",
    "MessageError",
    "RunMessage",
    "known_for",
    "parse_canary",
    "parse_graph",
    "parse_probe",
    "parse_run",
]

PROBE_MOST = 5_000  # tasks; so many answers always fit
MAX_MESSAGE = 4_096  # bytes; Kubernetes keeps no more
MAX_INFLATED = 2 * 1024 * 1024
MAX_EXPLANATION = 10_000  # characters; the end is kept, where a traceback says what happened
MAX_TEXT = 2_000
MAX_OUTPUTS = 1_000
MAX_OUTPUT_BYTES = 32_768  # of all together; an entry of the log holds 256 KiB

_BEGIN = b"-----BEGIN SLUICE GRAPH-----"
_END = b"-----END SLUICE GRAPH-----"
_HEX = re.compile(r"[0-9a-f]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RESULT = frozenset({"status", "explanation", "outputs", "yields"})
_UNTOLD = "complete() raised an exception, for whose text the pod's report had no room"
_NOTHING = "the task's process ended without a result"

Status = Literal["DONE", "FAILED", "PENDING"]


@dataclass(frozen=True, slots=True)
class RunMessage:
    """How a task's pod says that it went. ``yields`` is raw and unapproved, and with PENDING."""

    status: Status
    explanation: str = ""
    outputs: tuple[str, ...] = ()
    outputs_cut: bool = False  # it has more outputs, for which there was no room
    yields: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class GraphMessage:
    """What a resolving pod says: ``{"root", "nodes"}`` or ``{"error"}``, as the local guest does.

    ``code_digest`` is of the code that it found and resolved; None with an error.
    """

    answer: Mapping[str, Any]
    code_digest: str | None = None


def parse_run(
    text: str | None, graph: TaskGraph, known: Sequence[str], families: Sequence[str]
) -> RunMessage:
    """Return what the pod of one task says; ``known`` and ``families`` are what it was given.

    Raises ``MessageError``.
    """
    said = _message(text)
    if error := _error(said):
        return RunMessage("FAILED", error)
    result = said.get("result")
    if said.keys() != {"v", "result"} or not isinstance(result, dict):
        raise MessageError("its report is not of a run")
    cut = result.pop("outputs_cut", False)
    if result.keys() != _RESULT or type(cut) is not bool:
        raise MessageError("its result has other fields than a result has")
    status, outputs, yields = result["status"], result["outputs"], result["yields"]
    if status not in ("DONE", "FAILED", "PENDING"):
        raise MessageError("its result has no known status")
    if not isinstance(outputs, list) or len(outputs) > MAX_OUTPUTS:
        raise MessageError("its outputs have another form")
    if (status == "PENDING") != (yields is not None):
        raise MessageError("it yields and ends, or waits for nothing")
    texts = [_text(path, MAX_TEXT) for path in outputs]
    kept = _within(texts, MAX_OUTPUT_BYTES)
    return RunMessage(
        status=status,
        explanation=_text(result["explanation"], MAX_EXPLANATION),
        outputs=kept,
        outputs_cut=cut or len(kept) < len(texts),
        yields=None if yields is None else expand(graph, yields, known, families),
    )


def parse_probe(text: str | None, count: int) -> list[bool | str]:
    """Return what ``complete()`` answered for each of ``count`` tasks: a text where it did not.

    Raises ``MessageError``.
    """
    said = _message(text)
    if error := _error(said):
        return [error] * count
    if (
        not {"v", "complete", "unclear"}
        <= said.keys()
        <= {"v", "complete", "unclear", "unclear_all"}
    ):
        raise MessageError("its report is not of a probe")
    complete = _bits(said["complete"], count)
    unclear = said["unclear"]
    if not isinstance(unclear, dict) or len(unclear) > count:
        raise MessageError("its answers have another form")
    raised = _bits(said.get("unclear_all", ""), count)
    answers: list[bool | str] = []
    for index in range(count):
        why = unclear.pop(str(index), _UNTOLD if raised >> index & 1 else None)
        done = bool(complete >> index & 1)
        if done and why is not None:
            raise MessageError("it answers one question in two ways")
        answers.append(done if why is None else _text(why, MAX_TEXT) or _UNTOLD)
    if unclear:
        raise MessageError("it answers what it was not asked")
    return answers


def parse_graph(text: str | None, log: bytes, limit: int, key: bytes | None = None) -> GraphMessage:
    """Return the graph that a resolving pod wrote into its ``log``, at most ``limit`` bytes of it.

    ``key`` is the one under which it was sealed, if it was. Raises ``MessageError``.
    """
    said = _message(text)
    if _error(said):
        return GraphMessage({"error": said["error"]})
    promised, code = said.get("graph"), said.get("code_digest")
    if said.keys() != {"v", "graph", "code_digest"} or not isinstance(promised, dict):
        raise MessageError("its report is not of a graph")
    size, digest = promised.get("bytes"), promised.get("sha256")
    if promised.keys() != {"bytes", "sha256"} or type(size) is not int or size < 0:
        raise MessageError("its report does not say how large the graph is")
    if not isinstance(code, str) or not _DIGEST.fullmatch(code):
        raise MessageError("its report names no code digest")
    if size > limit:
        raise MessageError(f"the graph takes more than {limit >> 20} MB")
    data = _inflated(_framed(log), size, key)
    if len(data) != size or sha256(data).hexdigest() != digest:
        raise MessageError("the graph in its log is not the graph that it reported")
    answer = _json(data)
    if not isinstance(answer, dict) or answer.keys() != {"root", "nodes"}:
        raise MessageError("the graph in its log is no graph")
    return GraphMessage(answer, code)


def parse_canary(text: str | None) -> bool:
    """Return whether the canary was reached. Raises ``MessageError``."""
    said = _message(text)
    if error := _error(said):
        raise MessageError(error)
    if said.keys() != {"v", "canary"} or said["canary"] not in ("reached", "unreachable"):
        raise MessageError("its report is not of a canary")
    return bool(said["canary"] == "reached")


def _message(text: str | None) -> dict[str, Any]:
    if not text:
        raise MessageError(_NOTHING)
    data = text.encode(errors="replace")
    if len(data) > MAX_MESSAGE:
        raise MessageError(f"its report is longer than {MAX_MESSAGE} bytes")
    if data.startswith(b"z:"):
        data = _inflated(data[2:], MAX_INFLATED)
    said = _json(data)
    if not isinstance(said, dict) or type(said.get("v")) is not int or said["v"] != 1:
        raise MessageError("its report is of no known version")
    return said


def _error(said: Mapping[str, Any]) -> str:
    """Return why it did not begin, or has no answer; empty where it says something else."""
    if said.keys() != {"v", "error"}:
        return ""
    error = said["error"]
    if not isinstance(error, dict) or error.keys() != {"code", "message", "where"}:
        raise MessageError("its error has another form")
    _, message, where = (_text(error[name], MAX_TEXT) for name in ("code", "message", "where"))
    return f"{message} ({where})" if where else message or _NOTHING


def _framed(log: bytes) -> bytes:
    """Return what stands between the last two marks, each on a line of its own."""
    start = log.rfind(b"\n" + _BEGIN + b"\n") + len(_BEGIN) + 2
    end = log.find(b"\n" + _END, start)
    if start < len(_BEGIN) + 2 or end < 0:
        raise MessageError("its log holds no graph, or not the whole of it")
    return log[start:end].replace(b"\n", b"")


def _inflated(text: bytes, limit: int, key: bytes | None = None) -> bytes:
    """Return what was deflated and written in base64, if it has no more than ``limit`` bytes."""
    try:
        inflater = zlib.decompressobj()
        small = base64.b64decode(text, validate=True)
        small = small if key is None else opened_graph(small, key)
        data = inflater.decompress(small, limit + 1)
    except (ValueError, zlib.error) as error:
        raise MessageError("its report cannot be unpacked") from error
    if len(data) > limit or not inflater.eof or inflater.unused_data:
        raise MessageError("its report does not unpack to what it may hold")
    return data


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MessageError("its report is not JSON") from error


def _bits(value: object, count: int) -> int:
    if not isinstance(value, str) or len(value) > count // 4 + 1 or not _HEX.fullmatch(value):
        raise MessageError("its answers have another form")
    bits = int(value or "0", 16)
    if bits >> count:
        raise MessageError("it answers what it was not asked")
    return bits


def _text(value: object, limit: int) -> str:
    """Return a text that can be stored anywhere: no lone surrogates, cut at its start."""
    if not isinstance(value, str):
        raise MessageError("its report has a text that is none")
    kept = value if len(value) <= limit else "..." + value[-limit:]
    return kept.encode("utf-8", "replace").decode()


def _within(texts: Iterable[str], most: int) -> tuple[str, ...]:
    """Return as many texts as fit into ``most`` bytes, in order."""
    found, size = [], 0
    for text in texts:
        size += len(text.encode())
        if size > most:
            break
        found.append(text)
    return tuple(found)
