"""What the text of a module shows and its compiled form no longer does.

Imports, packages, escapes in texts, and every ``with``: the compiler (rego-cpp 1.5.2) drops a
``with`` whose value is a rule, without a word, and ends the process on ``with input as``. Texts
and comments never count as code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.policy.findings import Finding

TEST_SUFFIX = "_test.rego"

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<text>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>\S)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a text or a single other character, and its line (from 1)."""

    kind: Literal["text", "word", "mark"]
    value: str
    line: int


def tokens(source: str) -> list[Token]:
    """Split a module; comments are left out."""
    found = []
    line, at = 1, 0
    for match in _TOKEN.finditer(source):
        line += source.count("\n", at, match.start())
        at = match.start()
        if match.lastgroup != "comment":
            found.append(Token(match.lastgroup, match[0], line))  # type: ignore[arg-type]
    return found


def withs(source: str) -> list[int]:
    """Return the line of every ``with`` of a module."""
    return [token.line for token in _words(tokens(source)) if token.value == "with"]


def check_text(path: str, source: str) -> list[Finding]:
    """Return what is refused by its text alone."""
    found = tokens(source)
    return [
        Finding(path, line, reason)
        for check in (_package, _imports, _texts, _replacements)
        for line, reason in check(path, found)
    ]


def _package(_path: str, found: list[Token]) -> Iterator[tuple[int, str]]:
    head = [token.value for token in found[:4]]
    if head[:3] != ["package", "sluice", "."] or not head[3:]:
        line = found[0].line if found else 0
        yield line, "a module begins with `package sluice.NAME`; no other package is read"


def _imports(_path: str, found: list[Token]) -> Iterator[tuple[int, str]]:
    for index, token in enumerate(found):
        if token.value == "import" and token.kind == "word" and not _field(found, index):
            rest = [t.value for t in found[index + 1 : index + 5]]
            if rest[:3] != ["rego", ".", "v1"] or rest[3:] in (["."], ["["], ["as"]):
                yield token.line, "only `import rego.v1` is read; write `data.sluice.NAME` in full"


def _texts(_path: str, found: list[Token]) -> Iterator[tuple[int, str]]:
    for token in found:
        if token.kind == "text" and re.search(r"(?<!\\)(?:\\\\)*\\[u/]", token.value[1:-1]):
            if token.value.startswith('"'):
                yield token.line, r"write the character itself: \u and \/ are compared as written"
        elif token.value == '"':
            yield token.line, "a text that does not end"


def _replacements(path: str, found: list[Token]) -> Iterator[tuple[int, str]]:
    for index, token in enumerate(found):
        if token.kind != "word" or token.value != "with" or _field(found, index):
            continue
        target = [t.value for t in found[index + 1 : index + 3]]
        value = next(
            (found[i + 1].value for i in range(index, len(found) - 1) if _as(found, i)), ""
        )
        if not path.endswith(TEST_SUFFIX):
            yield token.line, "`with` belongs into tests: a rule is about the input as it is"
        elif target == ["input", "as"]:
            yield token.line, "this compiler replaces fields only: `with input.task as ...`"
        elif value in ("data", "input"):
            yield token.line, "this compiler takes no reference here: assign it to a variable first"


def _as(found: list[Token], index: int) -> bool:
    return found[index].value == "as" and found[index].kind == "word" and not _field(found, index)


def _words(found: list[Token]) -> Iterator[Token]:
    for index, token in enumerate(found):
        if token.kind == "word" and not _field(found, index):
            yield token


def _field(found: list[Token], index: int) -> bool:
    """Say whether a word is the name of a field: what follows a dot, or stands before a colon."""
    before = found[index - 1].value if index else ""
    return before == "."
