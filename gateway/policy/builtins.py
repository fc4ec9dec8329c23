"""The builtins that policy may use, and how many arguments each takes.

Pure, deterministic, and tried: each of these fails loudly on wrong types in regopy 1.5.2 with
strict errors (tests/contract/test_contract_policy.py). Left out are those that reach outside
(``http.send``, ``opa.runtime``), read clocks or chance, are broken here (``time.*``,
``array.slice``, ``object.subset``), or stay silent where they should fail (``sum``, ``product``).
"""

from __future__ import annotations

from collections.abc import Mapping

ALLOWED: Mapping[str, int] = {
    # comparison, arithmetic
    "equal": 2,
    "neq": 2,
    "gt": 2,
    "gte": 2,
    "lt": 2,
    "lte": 2,
    "plus": 2,
    "minus": 2,
    "mul": 2,
    "div": 2,
    "rem": 2,
    "abs": 1,
    "ceil": 1,
    "floor": 1,
    "round": 1,
    "to_number": 1,
    # collections
    "internal.member_2": 2,
    "internal.member_3": 3,
    "count": 1,
    "max": 1,
    "min": 1,
    "sort": 1,
    "and": 2,
    "or": 2,
    "array.concat": 2,
    "array.reverse": 1,
    "numbers.range": 2,
    "object.filter": 2,
    "object.get": 3,
    "object.keys": 1,
    "object.remove": 2,
    "object.union": 2,
    # texts
    "concat": 2,
    "contains": 2,
    "endswith": 2,
    "glob.match": 3,
    "indexof": 2,
    "lower": 1,
    "regex.match": 2,
    "replace": 3,
    "split": 2,
    "sprintf": 2,
    "startswith": 2,
    "strings.any_prefix_match": 2,
    "strings.any_suffix_match": 2,
    "strings.count": 2,
    "substring": 3,
    "trim": 2,
    "trim_left": 2,
    "trim_prefix": 2,
    "trim_right": 2,
    "trim_space": 1,
    "trim_suffix": 2,
    "upper": 1,
    # types
    "is_array": 1,
    "is_boolean": 1,
    "is_null": 1,
    "is_number": 1,
    "is_object": 1,
    "is_set": 1,
    "is_string": 1,
    "type_name": 1,
}


def arity(name: str) -> int:
    """Return how many arguments an allowed builtin takes."""
    return ALLOWED[name]
