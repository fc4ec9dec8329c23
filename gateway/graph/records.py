"""What the guest says about a task, checked field by field: after this, it has the right shape.

The guest runs beside pipeline code, so every byte of it may be the pipeline's own invention.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.graph.failures import Unresolvable
from gateway.model import NodeKind

MASK = "hmac-sha256:"
_KINDS: tuple[NodeKind, ...] = ("task", "wrapper", "external", "possible")
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DESTINATION = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_TASK_ID = re.compile(r"[A-Za-z0-9_.]*")
_RESOURCE = re.compile(r"[\x21-\x7e]{1,100}")
_LONGEST_NAME = 200
_LONGEST_VALUE = 65_536
_MOST = {"parameters": 200, "egress": 64, "may_yield": 64, "resources": 32}
_BIG = 2**31

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """One task of the guest's answer. ``parameters``: clear text and privacy by name."""

    module: str
    family: str
    task_id: str
    kind: NodeKind
    parameters: Mapping[str, tuple[str, bool]] = field(repr=False)
    egress: tuple[str, ...]
    may_yield: Mapping[str, int]
    deps: tuple[int, ...]
    priority: int
    resources: Mapping[str, int]
    retry_count: int | None
    worker_timeout: int | None
    disabled: bool


def parse_records(nodes: Any, *, max_nodes: int, max_edges: int) -> list[Record]:  # noqa: ANN401 - anything at all
    """Return the records of an answer.

    Raises ``Unresolvable``: ``result_invalid``, ``too_many_tasks``, ``too_many_edges``.
    """
    if not isinstance(nodes, list) or not nodes:
        raise _invalid("no list of tasks")
    if len(nodes) > max_nodes:
        raise Unresolvable("too_many_tasks", f"the graph has more than {max_nodes} tasks")
    records = [_record(item, len(nodes)) for item in nodes]
    if sum(len(record.deps) for record in records) > max_edges:
        raise Unresolvable("too_many_edges", f"the graph has more than {max_edges} dependencies")
    return records


def parse_index(value: Any, count: int) -> int:  # noqa: ANN401 - anything at all
    """Return ``value`` as the index of one of ``count`` records."""
    return _integer(value, 0, count - 1)


def _record(item: Any, count: int) -> Record:  # noqa: ANN401 - anything at all
    if not isinstance(item, dict) or item.keys() != set(Record.__slots__):
        raise _invalid("a task has other fields than a task has")
    kind = item["kind"]
    if kind not in _KINDS:
        raise _invalid("a task of no known kind")
    record = Record(
        module=_text(item["module"], _DOTTED),
        family=_text(item["family"], _DOTTED),
        task_id=_text(item["task_id"], _TASK_ID, 2 * _LONGEST_NAME),
        kind=kind,
        parameters=_table(item, "parameters", _NAME, _parameter),
        egress=_egress(item["egress"]),
        may_yield=_may_yield(item["may_yield"]),
        deps=_deps(item["deps"], count),
        priority=_integer(item["priority"], -_BIG, _BIG),
        resources=_table(item, "resources", _RESOURCE, lambda value: _integer(value, 0, _BIG)),
        retry_count=_optional(item["retry_count"]),
        worker_timeout=_optional(item["worker_timeout"]),
        disabled=_flag(item["disabled"]),
    )
    if (kind == "possible") != (not record.task_id) or (kind == "possible" and record.parameters):
        raise _invalid("a possible task with a task's identity, or a task without one")
    return record


def _parameter(value: Any) -> tuple[str, bool]:  # noqa: ANN401 - anything at all
    if not isinstance(value, dict) or value.keys() != {"value", "private"}:
        raise _invalid("a parameter of another form")
    text = value["value"]
    if not isinstance(text, str) or len(text) > _LONGEST_VALUE:
        raise _invalid("a parameter that is no text, or too long a text")
    if text.startswith(MASK):
        raise _invalid("a parameter that looks like a masked one")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _invalid("a parameter that is not Unicode") from None
    return text, _flag(value["private"])


def _egress(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - anything at all
    if not isinstance(value, list) or len(value) > _MOST["egress"]:
        raise _invalid("an egress of another form")
    return tuple(sorted({_text(name, _DESTINATION) for name in value}))


def _may_yield(value: Any) -> dict[str, int]:  # noqa: ANN401 - anything at all
    if not isinstance(value, list) or len(value) > _MOST["may_yield"]:
        raise _invalid("a may_yield of another form")
    found: dict[str, int] = {}
    for item in value:
        if not isinstance(item, list) or len(item) != 2:  # noqa: PLR2004 - a pair
            raise _invalid("a may_yield of another form")
        found[_text(item[0], _DOTTED)] = _integer(item[1], 1, _BIG)
    if len(found) != len(value):
        raise _invalid("a may_yield that names a family twice")
    return found


def _deps(value: Any, count: int) -> tuple[int, ...]:  # noqa: ANN401 - anything at all
    if not isinstance(value, list) or len(value) > count:
        raise _invalid("dependencies of another form")
    return tuple(sorted({_integer(index, 0, count - 1) for index in value}))


def _table(
    item: Mapping[str, Any], name: str, keys: re.Pattern[str], read: Callable[[Any], T]
) -> dict[str, T]:
    value = item[name]
    if not isinstance(value, dict) or len(value) > _MOST[name]:
        raise _invalid(f"{name} of another form")
    return {_text(key, keys): read(entry) for key, entry in value.items()}


def _text(value: Any, pattern: re.Pattern[str], longest: int = _LONGEST_NAME) -> str:  # noqa: ANN401 - anything at all
    if not isinstance(value, str) or len(value) > longest or not pattern.fullmatch(value):
        raise _invalid(f"the name {ascii(value)[:80]}")
    return value


def _integer(value: Any, low: int, high: int) -> int:  # noqa: ANN401 - anything at all
    if type(value) is not int or not low <= value <= high:
        raise _invalid(f"a number that is not between {low} and {high}")
    return value


def _optional(value: Any) -> int | None:  # noqa: ANN401 - anything at all
    return None if value is None else _integer(value, 0, _BIG)


def _flag(value: Any) -> bool:  # noqa: ANN401 - anything at all
    if type(value) is not bool:
        raise _invalid("a flag that is neither true nor false")
    return value


def _invalid(what: str) -> Unresolvable:
    return Unresolvable("result_invalid", f"the pipeline's answer holds {what}")
