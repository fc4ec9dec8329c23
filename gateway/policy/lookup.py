"""Names across the files of ``policies/data``: what an entry is called, and what is called nothing.

Works on values that their schemas have accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.policy.findings import Finding, unknown
from gateway.policy.yamlfile import Path, YamlFile

Files = Mapping[str, YamlFile]


def entries(files: Files, name: str) -> dict[str, Any]:
    """Return the entries of one file by name; none when the file is empty or left out."""
    value: Any = files[name].value if name in files else None
    return value or {}


def unknown_names(
    file: YamlFile, path: Path, what: str, names: Iterable[str], known: Mapping[str, Any]
) -> Iterator[Finding]:
    """Find each of the listed ``names`` that no ``what`` is called."""
    for index, name in enumerate(names):
        if name not in known:
            yield file.finding((*path, index), unknown(what, name, known))


def unknown_name(
    file: YamlFile, path: Path, what: str, name: str, known: Mapping[str, Any]
) -> Iterator[Finding]:
    """Find that no ``what`` is called ``name``, which stands at ``path``."""
    if name not in known:
        yield file.finding(path, unknown(what, name, known))
