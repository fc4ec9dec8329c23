"""Read a log from a SQLite database or from an NDJSON export, believing nothing in it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from .proofs import is_hash, node_hash
from .report import DamagedError, Report

FORMAT = "sluice-log-v1"
ReadNode = Callable[[int, int], bytes | None]  # (level, index) of a complete subtree


class Found(NamedTuple):
    """An entry as found: the place that it claims, its bytes, and the columns kept beside them."""

    seq: int
    raw: bytes
    columns: Mapping[str, object]


class Source(NamedTuple):
    """A log as found: its entries, its stored nodes, and the texts of its checkpoints."""

    entries: Iterable[Found]
    stored: ReadNode
    checkpoints: list[str]


def open_readonly(path: Path) -> sqlite3.Connection:
    """Open a database without changing a byte of it; a live write-ahead log is seen."""
    live = path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?{'mode=ro' if live else 'immutable=1'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.text_factory = lambda data: data.decode(errors="replace")
    connection.execute("BEGIN")  # one snapshot for all that is read
    return connection


def from_sqlite(connection: sqlite3.Connection, report: Report) -> Source:
    """Read a database. SQLite's own check comes first: it names damaged pages."""

    def stored(level: int, index: int) -> bytes | None:
        query = "SELECT hash FROM nodes WHERE level = ? AND idx = ?"
        (node,) = connection.execute(query, (level, index)).fetchone() or (None,)
        return node if isinstance(node, bytes) else None

    def entries() -> Iterator[Found]:
        query = "SELECT seq, bytes, id, event, launch_id, decision_id FROM entries ORDER BY seq"
        for seq, raw, *columns in connection.execute(query):
            named = zip(("id", "event", "launch_id", "decision_id"), columns, strict=True)
            place = seq if isinstance(seq, int) else -1
            yield Found(place, raw if isinstance(raw, bytes) else b"", dict(named))

    for (problem,) in connection.execute("PRAGMA integrity_check(10)"):
        if problem != "ok":
            report.add(f"the database is damaged: {problem}")
    texts = connection.execute("SELECT text FROM checkpoints ORDER BY size")
    return Source(entries(), stored, [str(text) for (text,) in texts])


def from_export(path: Path, report: Report) -> Source:
    """Read an export: a header, the entries' own bytes, their leaf hashes, the checkpoints."""
    leaves: list[bytes] = []
    checkpoints: list[str] = []
    promised: object = None
    for number, line in enumerate(lines(path), 1):
        if number > 1 and not line.startswith(_NOT_ENTRIES):
            continue  # an entry, or damage that is found when entries are replayed
        try:
            match parse(line):
                case {"format": str(name), "size": int(size)} if (number, name) == (1, FORMAT):
                    promised = size
                case {"leaf_hashes": list(items)}:
                    leaves += [bytes.fromhex(item) if is_hash(item) else b"" for item in items]
                case {"checkpoint": str(text)}:
                    checkpoints.append(text)
                case _:
                    report.add(f"line {number} is not what this format has here")
        except DamagedError as error:
            report.add(f"line {number}: {error}")
    if promised != len(leaves):
        report.add(f"the header is not that of {len(leaves)} entries")
    found = (line for line in islice(lines(path), 1, None) if not line.startswith(_NOT_ENTRIES))
    return Source((Found(_claimed(line), line, {}) for line in found), _tree(leaves), checkpoints)


_NOT_ENTRIES = (b'{"leaf_hashes":', b'{"checkpoint":')


def lines(path: Path) -> Iterator[bytes]:
    """Read a file line by line, without the line ends."""
    with path.open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n")


def parse(data: bytes) -> dict[str, Any]:
    """Read a canonical JSON object. Raises ``DamagedError``."""
    try:
        value = json.loads(data, parse_float=_refuse, parse_constant=_refuse)
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        canonical = text.encode() == data
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is not canonical JSON ({error})") from error
    if not canonical or not isinstance(value, dict):
        raise DamagedError("it is not a canonical JSON object")
    return value


def _claimed(line: bytes) -> int:
    try:
        return int(parse(line)["seq"])
    except (KeyError, TypeError, ValueError):
        return -1


def _tree(leaves: list[bytes]) -> ReadNode:
    levels = [leaves]
    while len(low := levels[-1]) > 1:
        levels.append([node_hash(low[at], low[at + 1]) for at in range(0, len(low) - 1, 2)])
    nodes = {(level, at): node for level, row in enumerate(levels) for at, node in enumerate(row)}
    return lambda level, index: nodes.get((level, index))


def _refuse(text: str) -> NoReturn:
    raise DamagedError(f"{text} is not allowed")
