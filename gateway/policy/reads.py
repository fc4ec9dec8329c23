"""Which parts of ``input`` the rules can read at all, from their compiled form.

Conservative: a value that is used for anything but looking up a constant field counts as read
whole, and a look-up whose result goes nowhere still counts, because it asks whether there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.policy.plan import DATA, INPUT, Plan, Statement
from gateway.policy.strict import reachable

Path = tuple[str, ...]


def paths_read(plan: Plan, rules: Iterable[str]) -> tuple[Path, ...]:
    """Return the paths below ``input`` whose whole values decide what ``rules`` say."""
    functions = {name for rule in rules for name in reachable(plan, rule)}
    statements = [s for name in sorted(functions) for s in plan.functions[name].walk()]
    holds: dict[int, set[Path]] = {INPUT: {()}}
    while any([_look_up(plan, statement, holds) for statement in statements]):  # noqa: C419 -- each time all of them
        pass
    paths = {path for found in holds.values() for path in found}
    inner = {path[:length] for path in paths for length in range(len(path))}
    read = paths - inner  # whether something is there at all is a condition, too
    for statement in statements:
        for local in _whole(plan, statement):
            read |= holds.get(local, set())
    return tuple(sorted(path for path in read if not _covered(path, read)))


def value_at(value: Any, path: Path) -> list[Any]:  # noqa: ANN401 -- JSON
    """Return what stands at a path, in a list; an empty list where there is nothing."""
    for field in path:
        if not isinstance(value, Mapping) or field not in value:
            return []
        value = value[field]
    return [value]


def _look_up(plan: Plan, statement: Statement, holds: dict[int, set[Path]]) -> bool:
    """Follow one look-up of a constant field; say whether anything new was learnt."""
    if statement.kind != "DotStmt":
        return False
    source, field = statement.fields["source"], plan.constant(statement.fields["key"])
    if source["type"] != "local" or field is None:
        return False
    below = {(*path, field) for path in holds.get(source["value"], ())}
    target = holds.setdefault(statement.fields["target"], set())
    new = below - target
    target |= new
    return bool(new)


def _whole(plan: Plan, statement: Statement) -> list[int]:
    """Return the locals of which a statement reads more than a constant field."""
    fields = statement.fields
    if statement.kind == "DotStmt" and plan.constant(fields["key"]) is not None:
        return []
    if statement.kind == "CallStmt" and fields["func"].removeprefix("g0.") in plan.functions:
        passed = [item["value"] for item in fields["args"][:2]]
        given = [item["value"] for item in fields["args"][2:] if item["type"] == "local"]
        return given if passed == [INPUT, DATA] else [INPUT]
    return statement.used()


def _covered(path: Path, read: set[Path]) -> bool:
    return any(path[:length] in read for length in range(len(path)))
