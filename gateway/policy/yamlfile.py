"""YAML as plain data with line numbers: the part of YAML that reads the same to everybody.

Refused, each with its line: anchors and aliases (so nothing expands), tags, merge keys, duplicate
keys, more than one document, numbers that are not whole. ``yes``, ``on`` and dates are text, as
they look. Nothing is ever constructed but objects, lists, texts, whole numbers, booleans and null.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

import yaml

from gateway.canonical import MAX_INTEGER, Json
from gateway.policy.findings import Finding, PolicyInvalid

MAX_BYTES = 1_048_576
MAX_DEPTH = 16

Path = tuple[str | int, ...]

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_NUMBER = re.compile(r"[-+]?(\.?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|0[xob][0-9a-fA-F_]+)")
_KEY = re.compile(r"[ -~]{1,400}")
_WORDS: Mapping[str, Json] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class YamlFile:
    """The value of one file, and the line where each node of it stands."""

    name: str
    value: Json
    lines: Mapping[Path, int]

    def finding(self, path: Path, reason: str) -> Finding:
        """Return a finding at the node at ``path``, or at its nearest parent that exists."""
        while path and path not in self.lines:
            path = path[:-1]
        return Finding(self.name, self.lines.get(path, 0), reason)


def read_yaml(name: str, data: bytes) -> YamlFile:
    """Parse one file. Raises ``PolicyInvalid`` with the line of what is refused."""
    if len(data) > MAX_BYTES:
        raise PolicyInvalid([Finding(name, 0, f"larger than {MAX_BYTES} bytes")])
    try:
        reader = _Reader(name, iter(list(yaml.parse(data.decode(), Loader=yaml.SafeLoader))))
    except UnicodeDecodeError as error:
        raise PolicyInvalid([Finding(name, 0, "not UTF-8")]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "not YAML"
        raise PolicyInvalid([Finding(name, mark.line + 1 if mark else 0, reason)]) from error
    except yaml.YAMLError as error:
        raise PolicyInvalid([Finding(name, 0, "holds characters that YAML refuses")]) from error
    return YamlFile(name, reader.document(), reader.lines)


class _Reader:
    """Builds the value from the parser's events, so that nothing is built that is not wanted."""

    def __init__(self, name: str, events: Iterator[yaml.Event]) -> None:
        self.name = name
        self.events = events
        self.lines: dict[Path, int] = {}

    def document(self) -> Json:
        next(self.events)  # start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return None
        value = self._node(next(self.events), ())
        next(self.events)  # end of the document
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._refuse(after, "a second document in one file")
        return value

    def _node(self, event: yaml.Event, path: Path) -> Json:
        if len(path) > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._refuse(event, "anchors and aliases are not read: write the value out")
        self.lines.setdefault(path, _line(event))
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if getattr(event, "tag", None):
            self._refuse(event, "tags are not read")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _sequence(self, path: Path) -> Json:
        items: list[Json] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> Json:
        items: dict[str, Json] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str) or not _KEY.fullmatch(key) or key == "<<":
                self._refuse(event, "a key has to be plain ASCII text")
            if key in items:
                self._refuse(event, f"the key {key!r} stands here twice")
            self.lines[(*path, key)] = _line(event)
            items[key] = self._node(next(self.events), (*path, key))
        return items

    def _scalar(self, event: yaml.ScalarEvent) -> Json:
        if event.tag is not None:
            self._refuse(event, "tags are not read")
        text: str = event.value
        if event.style is not None:  # quoted, or a block: text as it stands
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _WHOLE.fullmatch(text) and abs(int(text)) <= MAX_INTEGER:
            return int(text)
        if _NUMBER.fullmatch(text):
            self._refuse(event, f"{text[:40]!r}: numbers are whole and decimal here; quote a text")
        return text

    def _refuse(self, event: yaml.Event, reason: str) -> NoReturn:
        raise PolicyInvalid([Finding(self.name, _line(event), reason)])


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0
