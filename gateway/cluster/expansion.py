"""A yield as a pod tells it, in few bytes, and as ``graph/yields.py`` judges it: whole records.

A pod names approved tasks by their places in lists that the gateway gave it. Here they become the
records from which they once came, with all that they need. Nothing is admitted here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.lineage import downstream, upstream
from gateway.model import TaskGraph, TaskNode

_MOST_NODES = 5_000  # as many as graph/yields.py looks at
_UNAPPROVED = "unapproved"  # task id and parameter of what is named only to be refused
_USUAL: Mapping[str, object] = {
    "kind": "task",
    "priority": 0,
    "resources": {},
    "retry_count": None,
    "worker_timeout": None,
    "disabled": False,
    "may_yield": [],
}
_INSTANCE = frozenset({"f", "t", "p", "x", "d"})


class MessageError(Exception):
    """What a pod said is not of the protocol; the text says what about it, as a sentence."""


def known_for(graph: TaskGraph, key: str) -> tuple[list[str], list[str]]:
    """Return the keys of what task ``key`` may name when it yields: tasks, and possible nodes.

    The first are all that it waits for, nearest first; where it may yield new ones also the tasks
    that such a one may wait for. ``graph/yields.py`` admits no others, and not all of these.
    """
    node = graph.nodes[key]
    own = (dep for dep in node.deps if graph.nodes[dep].kind == "possible")
    families = [dep for dep in upstream(graph, own) if graph.nodes[dep].kind == "possible"]
    known = dict.fromkeys(
        dep for dep in upstream(graph, node.deps) if graph.nodes[dep].kind != "possible"
    )
    if families:
        allowed = [frozenset(graph.nodes[family].carries) for family in families]
        waiting = downstream(graph, key)
        for other in graph.nodes.values():
            fits = any(classes.issuperset(other.carries) for classes in allowed)
            if fits and other.kind != "possible" and other.key not in waiting:
                known[other.key] = None
    return list(known), families


def expand(
    graph: TaskGraph, yields: object, known: Sequence[str], families: Sequence[str]
) -> dict[str, Any]:
    """Return what a pod yielded as the ``{"roots", "nodes"}`` that a local guest would give.

    Raises ``MessageError`` where it is not in the form of ``gateway/guest/pod_yields.py``.
    """
    if not isinstance(yields, dict) or yields.keys() != {"roots", "nodes"}:
        raise MessageError("what it yields has another form")
    forms = _listed(yields["nodes"], _MOST_NODES)
    roots = [_index(root, len(forms)) for root in _listed(yields["roots"], len(forms))]
    if not roots:
        raise MessageError("it yields nothing, and waits for it")
    parts = [_part(graph, form, len(forms), known, families) for form in forms]
    named = [part for part in parts if isinstance(part, str)]
    approved = upstream(graph, named)
    told = [index for index, part in enumerate(parts) if not isinstance(part, str)]
    place: dict[int | str, int] = {index: at for at, index in enumerate(told)}
    place |= {key: len(told) + at for at, key in enumerate(approved)}
    records = [record for record in parts if not isinstance(record, str)]
    for record in records:
        record["deps"] = [place[_name(parts, dep)] for dep in record["deps"]]
    records += [_approved(graph, key, place) for key in approved]
    return {"roots": [place[_name(parts, root)] for root in roots], "nodes": records}


def _name(parts: Sequence[dict[str, Any] | str], index: int) -> int | str:
    part = parts[index]
    return part if isinstance(part, str) else index


def _part(
    graph: TaskGraph,
    form: object,
    count: int,
    known: Sequence[str],
    families: Sequence[str],
) -> dict[str, Any] | str:
    """Return the key of an approved node, or a record whose ``deps`` are places of forms."""
    if type(form) is int:
        return known[_index(form, len(known))]
    if not isinstance(form, dict):
        raise MessageError("it yields something that is no task")
    if form.keys() == {"u"}:
        return _unapproved(form["u"])
    family = families[_index(form.get("f"), len(families))]
    if form.keys() == {"f"}:
        return family
    return _instance(graph.nodes[family], form, count)


def _instance(family: TaskNode, form: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return the record of a new task of a declared family."""
    if not _INSTANCE <= form.keys() <= _INSTANCE | _USUAL.keys():
        raise MessageError("it yields a task with other fields than a task has")
    parameters = form["p"]
    if not isinstance(parameters, dict):
        raise MessageError("it yields a task with parameters of another form")
    private = _listed(form["x"], len(parameters))
    record = _record(family.module, family.family, list(family.egress), form["t"])
    record |= {name: form[name] for name in _USUAL if name in form}
    record["parameters"] = {
        name: {"value": text, "private": name in private} for name, text in parameters.items()
    }
    record["deps"] = [_index(dep, count) for dep in _listed(form["d"], count)]
    return record


def _unapproved(named: object) -> dict[str, Any]:
    """Return a record that is refused by its name; its parameter keeps it from being approved."""
    said = _listed(named, 3)
    if len(said) != 3:  # noqa: PLR2004 - module, family, egress
        raise MessageError("it yields a task without a name")
    module, family, egress = said
    record = _record(module, family, egress, _UNAPPROVED)
    record["parameters"] = {"_": {"value": _UNAPPROVED, "private": False}}
    return record


def _approved(graph: TaskGraph, key: str, place: Mapping[int | str, int]) -> dict[str, Any]:
    """Return the record from which an approved node once came."""
    node = graph.nodes[key]
    sealed = graph.sealed.get(key, {})
    possible = node.kind == "possible"
    clear = {} if possible else graph.clear_parameters(key)
    return {
        **_record(node.module, node.family, list(node.egress), graph.luigi_id(key)),
        "kind": node.kind,
        "priority": node.priority,
        "resources": dict(node.resources),
        "retry_count": node.retry_count,
        "worker_timeout": node.worker_timeout,
        "disabled": node.disabled,
        "may_yield": [[item.family, item.limit] for item in node.may_yield],
        "parameters": {
            name: {"value": text, "private": name in sealed} for name, text in clear.items()
        },
        "deps": [place[dep] for dep in node.deps],
    }


def _record(module: object, family: object, egress: object, task_id: object) -> dict[str, Any]:
    """Return a record as Luigi has it by default; its fields are judged where it is admitted."""
    return {
        "module": module,
        "family": family,
        "egress": egress,
        "task_id": task_id,
        "parameters": {},
        "deps": [],
        **_USUAL,
    }


def _listed(value: object, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise MessageError("what it yields has another form")
    return value


def _index(value: object, count: int) -> int:
    if type(value) is not int or not 0 <= value < count:
        raise MessageError("it yields a task that it was not given")
    return value
