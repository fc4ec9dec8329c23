"""What the gateway and a driver say to each other: JSON lines over a socket pair, version 1.

The gateway says ``plan`` once, then ``exited`` for each attempt that ended; the driver says
``start`` and ``kill`` as Luigi decides, ``settled`` for a node that needs no process, and
``finished`` once. Closing the socket cancels: a driver holds nothing that is worth a farewell.

Node keys and numbers only. No parameter, no path and no text that a pipeline wrote ever passes
here, so nothing of them can be in the driver. Both ends parse strictly: an unknown message, a
missing, extra or mistyped field, or another version, ends the conversation.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Literal

from gateway.errors import IntegrityViolation
from gateway.model import NodeKind

VERSION = 1
MAX_LINE = 64 * 1024 * 1024  # bytes; a plan of 5,000 nodes and 50,000 edges has about 5 MB

AttemptStatus = Literal["DONE", "FAILED", "PENDING"]


@dataclass(frozen=True, slots=True)
class PlanNode:
    """One node, as much of it as scheduling needs. Units and meanings are Luigi's.

    ``complete`` is what the task's own ``complete()`` said, None where it raised. ``attempts``
    counts those made before this driver, ``retry_count`` the failures that are still allowed.
    """

    key: str
    kind: NodeKind
    deps: tuple[str, ...]
    complete: bool | None
    priority: int
    resources: Mapping[str, int]
    retry_count: int | None
    worker_timeout: int | None  # seconds
    disabled: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """What of ``RunSettings`` concerns Luigi. Times in seconds."""

    parallel_tasks: int
    retry_count: int
    retry_delay: float
    task_timeout: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Gateway to driver, first and once: everything to schedule, dependencies first."""

    root: str
    nodes: tuple[PlanNode, ...]
    settings: PlanSettings


@dataclass(frozen=True, slots=True)
class Exited:
    """Gateway to driver: an attempt has ended, and nothing of it is alive any more.

    ``PENDING`` means that it waits for ``new_deps``; ``new_nodes`` are those of them, and of their
    dependencies, that ``plan`` did not name. Some may have been named since: two tasks may yield
    the same one, and either may be heard first.
    """

    node: str
    attempt: int
    status: AttemptStatus
    new_deps: tuple[str, ...] = ()
    new_nodes: tuple[PlanNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Driver to gateway: start attempt ``attempt`` of the node; the first has number 1."""

    node: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Driver to gateway: Luigi's time-out has passed and the attempt counts as failed."""

    node: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Driver to gateway: a wrapper is done, because everything it wraps is."""

    node: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Driver to gateway, last: Luigi's verdict on the run, and its status of each node it met.

    ``status`` is the name of a ``luigi.LuigiStatusCode``; ``states`` are those of
    ``luigi.task_status``.
    """

    status: str
    states: Mapping[str, str]


Message = Plan | Exited | Start | Kill | Settled | Finished
_BY_NAME: Mapping[str, type[Message]] = {
    kind.__name__.lower(): kind for kind in (Plan, Exited, Start, Kill, Settled, Finished)
}


def encode(message: Message) -> bytes:
    """Return the line that carries ``message``, newline included."""
    body = {"v": VERSION, "type": type(message).__name__.lower(), **_slots(message)}
    return json.dumps(body, separators=(",", ":"), default=_slots).encode() + b"\n"


def _slots(record: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the dataclasses above
    return {name: getattr(record, name) for name in record.__slots__}


def decode(line: bytes) -> Message:
    """Read one line. Raises ``IntegrityViolation`` (code ``driver_protocol``)."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _violation("not JSON") from error
    if not isinstance(body, dict) or body.pop("v", None) != VERSION:
        raise _violation(f"not version {VERSION}")
    kind = _BY_NAME.get(str(body.pop("type", None)))
    if kind is None:
        raise _violation("unknown message")
    return typing.cast("Message", _read(kind, body, kind.__name__))


def _violation(what: str) -> IntegrityViolation:
    return IntegrityViolation(
        "driver_protocol",
        "the run's scheduler process said something unexpected",
        step="run",
        diagnostics=what,
    )


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind)}


def _read(hint: Any, value: object, where: str) -> Any:  # noqa: ANN401 - a parser by type hint
    """Return ``value`` as ``hint`` says, or raise; the few shapes that the messages above use."""
    origin = typing.get_origin(hint)
    if origin is types.UnionType:  # only ever "something or None"
        return None if value is None else _read(typing.get_args(hint)[0], value, where)
    if isinstance(value, dict) and is_dataclass(hint):
        return _read_record(typing.cast("type", hint), value, where)
    if isinstance(value, dict) and origin is Mapping:
        inner = typing.get_args(hint)[1]
        return {key: _read(inner, item, where) for key, item in value.items()}
    if isinstance(value, list) and origin is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_read(inner, item, where) for item in value)
    if hint is float and type(value) in (int, float):
        return float(typing.cast("float", value))
    if type(value) is hint or (origin is Literal and value in typing.get_args(hint)):
        return value
    raise _violation(f"{where} has the wrong form")


def _read_record(kind: type, value: Mapping[str, object], where: str) -> Any:  # noqa: ANN401 - as above
    hints = _hints(kind)
    if value.keys() != hints.keys():
        raise _violation(f"{where} has other fields")
    return kind(**{name: _read(hint, value[name], name) for name, hint in hints.items()})
