"""JSON Schema (2020-12) over YAML with line numbers, said in sentences.

References never leave the schema file: nothing is fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from gateway.policy.findings import Finding, nearest
from gateway.policy.yamlfile import Path, YamlFile

_QUOTED = 80  # characters of a value that a message may show


def violations(file: YamlFile, schema_name: str, schema_text: bytes) -> list[Finding]:
    """Return what keeps ``file`` from being valid under the schema, or what is wrong with that."""
    try:
        schema = json.loads(schema_text)
        Draft202012Validator.check_schema(schema)
    except ValueError as error:
        return [Finding(schema_name, getattr(error, "lineno", 0), "not JSON")]
    except SchemaError as error:
        return [Finding(schema_name, 0, f"not a JSON Schema: {_short(error.message)}")]
    if not isinstance(schema, dict):
        return [Finding(schema_name, 0, "a schema of data has to be an object")]
    try:
        errors = list(_Validator(schema, registry=Registry()).iter_errors(file.value))
    except Unresolvable as error:
        return [Finding(schema_name, 0, f"refers to what it does not hold: {_short(error.ref)}")]
    return [file.finding(path, reason) for error in errors for path, reason in _explain(error)]


def _whole_pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> Iterator[ValidationError]:
    """Match as ECMA 262 does: ``$`` is the end of the text, not the place before a last newline."""
    if isinstance(instance, str) and not re.search(
        re.sub(r"(?<!\\)\$$", r"\\Z", pattern), instance
    ):
        yield ValidationError(f"{_short(instance)!r} does not match {pattern}")


_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"pattern": _whole_pattern}
)


def _explain(error: ValidationError) -> Iterator[tuple[Path, str]]:
    path: Path = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = _properties(error)
        for key in error.instance:
            if key not in known:
                close = nearest(key, known)
                hint = f"; did you mean {close!r}?" if close else ""
                yield (*path, key), f"no field is called {key!r} here{hint}"
    elif error.validator == "required" and isinstance(error.instance, Mapping):
        missing = [key for key in _required(error) if key not in error.instance]
        yield path, f"needs {', '.join(missing)}"
    elif error.validator == "enum":
        allowed = ", ".join(str(item) for item in _required(error))
        yield path, f"{_short(error.instance)!r} is none of: {allowed}"
    elif error.validator == "anyOf":
        meant = [part for part in error.context or () if part.validator != "type" or part.path]
        for part in meant:  # of the form that it has, if it has one
            yield from _explain(part)
        if not meant:
            yield path, f"{_short(error.instance)!r} is none of the allowed forms"
    else:
        yield path, _short(error.message, 3 * _QUOTED)


def _properties(error: ValidationError) -> list[str]:
    schema: Any = error.schema
    return list(schema.get("properties", {}))


def _required(error: ValidationError) -> list[Any]:
    value: Any = error.validator_value
    return list(value)


def _short(value: object, most: int = _QUOTED) -> str:
    text = str(value)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= most else text[: most - 1] + "…"
