"""A compiled policy, as far as checks need it: OPA's intermediate representation (``plan.json``).

Local variables are numbered over the whole plan; 0 is ``input`` and 1 is ``data``. rego-cpp 1.5.2
gives one name one number in all bodies of a rule; here each body has numbers of its own. The form
is documented at OPA's "Intermediate Representation". Whatever is not known here is refused, so that
a new compiler cannot slip past a check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

INPUT, DATA = 0, 1

# The fields of each statement that hold the number of a local: which are given a value by it, and
# which are read. Fields that hold operands say themselves whether they are locals.
_GIVEN: Mapping[str, tuple[str, ...]] = {
    "ArrayAppendStmt": (),
    "AssignIntStmt": ("target",),
    "AssignVarOnceStmt": ("target",),
    "AssignVarStmt": ("target",),
    "BlockStmt": (),
    "BreakStmt": (),
    "CallStmt": ("result",),
    "DotStmt": ("target",),
    "EqualStmt": (),
    "IsArrayStmt": (),
    "IsDefinedStmt": (),
    "IsObjectStmt": (),
    "IsSetStmt": (),
    "IsUndefinedStmt": (),
    "LenStmt": ("target",),
    "MakeArrayStmt": ("target",),
    "MakeNullStmt": ("target",),
    "MakeNumberIntStmt": ("target",),
    "MakeNumberRefStmt": ("target",),
    "MakeObjectStmt": ("target",),
    "MakeSetStmt": ("target",),
    "NopStmt": (),
    "NotEqualStmt": (),
    "NotStmt": (),
    "ObjectInsertOnceStmt": (),
    "ObjectInsertStmt": (),
    "ObjectMergeStmt": ("target",),
    "ResetLocalStmt": (),  # gives no value, though it has a target
    "ReturnLocalStmt": (),
    "ScanStmt": ("key", "value"),
    "SetAddStmt": (),
    "WithStmt": (),
}


_READ: Mapping[str, tuple[str, ...]] = {
    "IsDefinedStmt": ("source",),
    "IsUndefinedStmt": ("source",),
    "ObjectMergeStmt": ("a", "b"),
    "ReturnLocalStmt": ("source",),
    "ScanStmt": ("source",),
    "WithStmt": ("local",),
}


_CONTAINERS = ("array", "object", "set", "target")
_INNER = ("block", "blocks")
_BODY = 1_000_000  # more locals than a plan has


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, where it came from, and the statements inside it."""

    kind: str
    fields: Mapping[str, Any]
    file: str
    line: int  # from 1
    blocks: tuple[tuple[Statement, ...], ...]  # the blocks inside it

    def given(self) -> list[int]:
        """Return the locals to which this statement gives a value."""
        return [self.fields[name] for name in _GIVEN.get(self.kind, ()) if name in self.fields]

    def operands(self) -> list[Mapping[str, Any]]:
        """Return every operand: ``{"type": "local" | "string_index" | ..., "value": ...}``."""
        found: list[Mapping[str, Any]] = []
        for value in self.fields.values():
            items = value if isinstance(value, list) else [value]
            found += [item for item in items if isinstance(item, dict) and "type" in item]
        return found

    def used(self) -> list[int]:
        """Return the locals that this statement reads."""
        found: list[int] = [item["value"] for item in self.operands() if item["type"] == "local"]
        numbers = [self.fields.get(name) for name in _READ.get(self.kind, ())]
        return found + [number for number in numbers if isinstance(number, int)]

    def walk(self) -> Iterator[Statement]:
        """Yield this statement and all inside it."""
        yield self
        for block in self.blocks:
            for statement in block:
                yield from statement.walk()


@dataclass(frozen=True, slots=True)
class Function:
    """One rule or function: ``name`` as in ``data.sluice.task.deny``."""

    name: str
    params: tuple[int, ...]
    result: int
    bodies: tuple[tuple[Statement, ...], ...]  # first what comes before all, last what after all

    def walk(self) -> Iterator[Statement]:
        """Yield every statement."""
        for body in self.bodies:
            for statement in body:
                yield from statement.walk()

    @property
    def place(self) -> tuple[str, int]:
        """The file and line where it is first defined."""
        first = self.bodies[0][0]
        return first.file, first.line


@dataclass(frozen=True, slots=True)
class Plan:
    """All functions by name, the constants, and the arity of each builtin that is called."""

    functions: Mapping[str, Function]
    strings: tuple[str, ...]
    builtins: Mapping[str, int]

    def constant(self, operand: Mapping[str, Any]) -> str | None:
        """Return the text of a constant operand; None when it is computed, or no text.

        Keys stand among the strings as they are, texts of the source with their quotation marks.
        """
        if operand["type"] == "string_index":
            text: str = self.strings[operand["value"]]
        elif operand["type"] == "string":
            text = str(operand["value"])
        else:
            return None
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def read_plan(raw: Mapping[str, Any]) -> Plan:
    """Read ``plan.json``. Raises ``KeyError``, ``TypeError`` or ``IndexError`` on another form."""
    static = raw["static"]
    files = [item["value"] for item in static["files"]]
    functions = {}
    for item in raw["funcs"]["funcs"]:
        name = item["name"].removeprefix("g0.")
        common = {INPUT, DATA, item["return"], *item["params"]}
        reader = _Reader(files, frozenset(common))
        bodies = tuple(reader.body(number, block) for number, block in enumerate(item["blocks"]))
        functions[name] = Function(name, tuple(item["params"]), item["return"], bodies)
    return Plan(
        functions=functions,
        strings=tuple(item["value"] for item in static["strings"]),
        builtins={
            item["name"]: len(item["decl"].get("args", ()))
            for item in static.get("builtin_funcs", ())
        },
    )


class _Reader:
    """Reads one function: carries the last known place along, and keeps its bodies apart."""

    def __init__(self, files: list[str], common: frozenset[int]) -> None:
        self.files = files
        self.common = common  # locals that all bodies share
        self.shift = 0
        self.file = ""
        self.line = 0

    def body(self, number: int, block: Mapping[str, Any]) -> tuple[Statement, ...]:
        self.shift = number * _BODY
        return self.block(block)

    def block(self, block: Mapping[str, Any]) -> tuple[Statement, ...]:
        return tuple(self.statement(item) for item in block["stmts"])

    def statement(self, item: Mapping[str, Any]) -> Statement:
        kind, fields = item["type"], item["stmt"]
        if "row" in fields:
            self.file, self.line = self.files[fields["file"]], fields["row"] + 1
        file, line = self.file, self.line
        inner = [fields["block"]] if "block" in fields else fields.get("blocks") or []
        own = {name: self.field(kind, name, fields[name]) for name in fields if name not in _INNER}
        return Statement(kind, own, file, line, tuple(self.block(block) for block in inner))

    def field(self, kind: str, name: str, value: Any) -> Any:  # noqa: ANN401 -- JSON
        if isinstance(value, list):
            return [self.field(kind, name, item) for item in value]
        if isinstance(value, dict) and value.get("type") == "local":
            return {"type": "local", "value": self.local(value["value"])}
        named = {*_CONTAINERS, *_GIVEN.get(kind, ()), *_READ.get(kind, ())}
        return self.local(value) if name in named and isinstance(value, int) else value

    def local(self, number: int) -> int:
        return number if number in self.common else number + self.shift


def known_kinds() -> frozenset[str]:
    """Return the kinds of statement that are understood."""
    return frozenset(_GIVEN)
