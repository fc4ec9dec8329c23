"""The shape of a value, known before any value is: what a rule may look up in it.

Made from JSON Schemas (``input.schema.json`` and those of ``policies/data``). A shape that is not
known allows everything; a shape that is known names every field there can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Shape:
    """An object with ``fields`` and perhaps ``rest``, an array of ``item``, a leaf, or anything."""

    kind: Literal["object", "array", "leaf", "any"]
    fields: Mapping[str, Shape] = field(default_factory=dict)
    rest: Shape | None = None  # of fields that have no name of their own
    item: Shape | None = None
    values: frozenset[str] = frozenset()  # every text that a leaf can be, where that is fixed

    def at(self, key: str) -> Shape | None:
        """Return the shape below a constant key; None when there can be nothing."""
        if self.kind == "object":
            return self.fields.get(key) or self.rest
        return ANY if self.kind == "any" else None

    def each(self) -> Shape:
        """Return the shape of whatever an iteration or a computed key yields."""
        if self.kind == "array":
            return self.item or ANY
        if self.kind == "object" and not self.fields:
            return self.rest or ANY
        return ANY

    def join(self, other: Shape) -> Shape:
        """Return the shape of a value that may be either."""
        return self if self == other else ANY


ANY = Shape("any")
LEAF = Shape("leaf")


def shape_of(schema: Mapping[str, Any], definition: str | None = None) -> Shape:
    """Read a schema, or one of its ``$defs``. What is not understood may be anything."""
    root = schema["$defs"][definition] if definition else schema
    return _shape(root, schema.get("$defs", {}))


def _shape(node: Any, defs: Mapping[str, Any]) -> Shape:  # noqa: ANN401 -- JSON
    if not isinstance(node, Mapping):
        return ANY
    if "$ref" in node:
        name = str(node["$ref"]).removeprefix("#/$defs/")
        return _shape(defs.get(name), defs)
    kinds = node.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    found = ANY
    if "enum" in node:
        found = Shape("leaf", values=frozenset(v for v in node["enum"] if isinstance(v, str)))
    elif kinds == ["array"]:
        found = Shape("array", item=_shape(node.get("items"), defs))
    elif kinds == ["object"]:
        rest = node.get("additionalProperties", True)
        found = Shape(
            "object",
            fields={key: _shape(value, defs) for key, value in node.get("properties", {}).items()},
            rest=_shape(rest, defs) if rest is not False else None,
        )
    elif kinds and "object" not in kinds and "array" not in kinds:
        found = LEAF
    return found
