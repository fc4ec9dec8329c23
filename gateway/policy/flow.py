"""Which shape each variable of a compiled rule can have, and the look-ups that can never succeed.

A look-up of a field that does not exist is *undefined*, so a ``deny`` around it never fires: a typo
would be a hole. From ``input`` and ``data``, whose shapes are known, shapes are carried through
assignments, iterations, comprehensions and calls; where a variable can have two shapes it counts as
unknown, and everything is allowed of it. Comparisons are looked at, too: with texts that a field
cannot hold, and of an object or a list with a single value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.policy.findings import Finding, nearest
from gateway.policy.plan import DATA, INPUT, Function, Plan, Statement
from gateway.policy.shape import ANY, LEAF, Shape

_LEAVES = ("AssignIntStmt", "LenStmt", "MakeNumberIntStmt", "MakeNumberRefStmt")
_COMPARISONS = ("equal", "neq")
_ORDERINGS = ("gt", "gte", "lt", "lte")
_KINDS = {"object": "an object", "array": "a list", "leaf": "a single value"}


def impossible(
    plan: Plan, functions: Iterable[Function], input_shape: Shape, data_shape: Shape
) -> list[Finding]:
    """Return the look-ups and comparisons in ``functions`` that can never succeed."""
    functions = list(functions)
    flow = _Flow(plan, {INPUT: input_shape, DATA: data_shape})
    while flow.changed:
        flow.changed = False
        for function in functions:
            for statement in function.walk():
                flow.follow(statement)
    return [
        Finding(statement.file, statement.line, reason)
        for function in functions
        for statement in function.walk()
        for reason in flow.refusals(statement)
    ]


class _Flow:
    """A shape for each local; grows until nothing changes."""

    def __init__(self, plan: Plan, shapes: dict[int, Shape]) -> None:
        self.plan = plan
        self.shapes = shapes
        self.changed = True

    def follow(self, statement: Statement) -> None:
        """Carry shapes through one statement."""
        fields, kind = statement.fields, statement.kind
        if kind in ("AssignVarStmt", "AssignVarOnceStmt"):
            self._give(fields["target"], self._shape(fields["source"]))
        elif kind == "DotStmt":
            self._give(fields["target"], self._below(fields))
        elif kind == "ScanStmt":
            source = self.shapes.get(fields["source"])
            self._give(fields["value"], source.each() if source else None)
            self._give(fields["key"], ANY)
        elif kind == "CallStmt":
            self._call(fields)
        elif kind in ("ArrayAppendStmt", "SetAddStmt"):
            if item := self._shape(fields["value"]):
                container = fields["array" if kind == "ArrayAppendStmt" else "set"]
                self._give(container, Shape("array", item=item))
        elif kind in _LEAVES:
            self._give(fields["target"], LEAF)
        elif kind in ("MakeNullStmt", "MakeObjectStmt", "ObjectMergeStmt"):
            self._give(fields["target"], ANY)

    def refusals(self, statement: Statement) -> Iterator[str]:
        """Say what can never succeed in one statement."""
        fields = statement.fields
        if statement.kind == "DotStmt":
            source, key = self._shape(fields["source"]), self.plan.constant(fields["key"])
            if source is not None and key is not None and source.at(key) is None:
                yield self._missing(source, key, fields["source"])
        elif statement.kind in ("EqualStmt", "NotEqualStmt"):
            yield from self._unequal(fields["a"], fields["b"])
        elif statement.kind == "CallStmt" and fields["func"] in _COMPARISONS:
            yield from self._unequal(*fields["args"][:2])
        elif statement.kind == "CallStmt" and fields["func"] in _ORDERINGS:
            yield from self._unlike(*map(self._operand, fields["args"][:2]))
        elif statement.kind == "CallStmt" and fields["func"] == "internal.member_2":
            item, container = map(self._operand, fields["args"][:2])
            yield from self._unlike(item, container.each() if container else None)

    def _below(self, fields: Mapping[str, Any]) -> Shape | None:
        source = self._shape(fields["source"])
        if source is None:
            return None
        key = self.plan.constant(fields["key"])
        return source.each() if key is None else (source.at(key) or ANY)

    def _call(self, fields: Mapping[str, Any]) -> None:
        function = self.plan.functions.get(fields["func"].removeprefix("g0."))
        if function is None:
            self._give(fields["result"], ANY)
            return
        for param, argument in zip(function.params[2:], fields["args"][2:], strict=False):
            self._give(param, self._shape(argument))
        self._give(fields["result"], self.shapes.get(function.result))

    def _shape(self, operand: Mapping[str, Any]) -> Shape | None:
        return self.shapes.get(operand["value"]) if operand["type"] == "local" else LEAF

    def _give(self, local: int, shape: Shape | None) -> None:
        if shape is None:
            return
        before = self.shapes.get(local)
        after = before.join(shape) if before else shape
        if after != before:
            self.shapes[local] = after
            self.changed = True

    def _missing(self, source: Shape, key: str, operand: Mapping[str, Any]) -> str:
        if operand["value"] == DATA and key == "sluice":
            return "names a rule that does not exist in data.sluice"
        if source.kind != "object":
            what = "a list" if source.kind == "array" else "a single value"
            return f"looks up {key!r} in {what}"
        close = nearest(key, source.fields)
        hint = f"; did you mean {close!r}?" if close else ""
        root = {INPUT: "input", DATA: "data"}.get(operand["value"])
        where = f"`{root}.{key}`" if root else repr(key)
        return f"{where}: there is no such field here, so this rule would never fire{hint}"

    def _operand(self, operand: Mapping[str, Any]) -> Shape | None:
        """Return the shape of what is compared; the compiler itself asks what is `false`."""
        return None if operand["type"] == "bool" else self._shape(operand)

    def _unlike(self, a: Shape | None, b: Shape | None) -> Iterator[str]:
        kinds = {shape.kind for shape in (a, b) if shape}
        if len(kinds) == 2 and "any" not in kinds:  # noqa: PLR2004 -- both are known, and differ
            first, second = (_KINDS[kind] for kind in sorted(kinds))
            yield f"compares {first} with {second}, so it never says what it means"

    def _unequal(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
        yield from self._unlike(self._operand(a), self._operand(b))
        for one, other in ((a, b), (b, a)):
            shape, text = self._shape(one), self.plan.constant(other)
            if shape and shape.values and text is not None and text not in shape.values:
                yield f"{text!r} is none of the values here: {', '.join(sorted(shape.values))}"
