"""What a task yielded, short enough for a pod's report: what the gateway knows is only named.

An approved task is a number, its place in the order's ``known``. A new task of a declared family
is its family's place and what the gateway cannot know. A task that is neither is named, for the
gateway to refuse: who may yield what is decided there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_DEFAULTS: Mapping[str, object] = {
    "kind": "task",
    "priority": 0,
    "resources": {},
    "retry_count": None,
    "worker_timeout": None,
    "disabled": False,
    "may_yield": [],
}


def compact(
    roots: Sequence[int],
    records: Sequence[dict[str, Any]],
    known: Sequence[str],
    families: Sequence[Sequence[Any]],
) -> dict[str, Any]:
    """Return the short form of ``roots`` and of all that they need, as ``pod`` describes it.

    What an approved task needs in turn was approved with it, and is left out.
    """
    names = _Names(known, families)
    order = list(dict.fromkeys(roots))
    seen = set(order)
    forms = []
    for index in order:  # grows while it is read
        form = names.form(records[index])
        forms.append(form)
        if isinstance(form, dict) and "p" in form:
            fresh = [dep for dep in records[index]["deps"] if dep not in seen]
            seen.update(fresh)
            order += fresh
    place = {index: at for at, index in enumerate(order)}
    for index, form in zip(order, forms, strict=True):
        if isinstance(form, dict) and "p" in form:
            form["d"] = [place[dep] for dep in records[index]["deps"]]
    return {"roots": [place[root] for root in dict.fromkeys(roots)], "nodes": forms}


class _Names:
    def __init__(self, known: Sequence[str], families: Sequence[Sequence[Any]]) -> None:
        self._known = {task_id: index for index, task_id in enumerate(known)}
        self._families = {
            (module, family, tuple(sorted(egress))): index
            for index, (module, family, egress) in enumerate(families)
        }

    def form(self, record: Mapping[str, Any]) -> int | dict[str, Any]:
        """Return the short form of a record, without what it needs."""
        approved = self._known.get(record["task_id"])
        if approved is not None and record["kind"] != "possible":
            return approved
        egress = sorted(record["egress"])
        family = self._families.get((record["module"], record["family"], tuple(egress)))
        if family is None:
            return {"u": [record["module"], record["family"], egress]}
        if record["kind"] == "possible":
            return {"f": family}
        parameters = record["parameters"]
        return {
            "f": family,
            "t": record["task_id"],
            "p": {name: item["value"] for name, item in parameters.items()},
            "x": [name for name, item in parameters.items() if item["private"]],
            **{name: record[name] for name, usual in _DEFAULTS.items() if record[name] != usual},
        }
