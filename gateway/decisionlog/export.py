"""Take the log elsewhere: all of it as NDJSON, or one entry with its proof.

Both work without a running gateway, change nothing, and are read by ``verifier``. An export is a
header, each entry's own bytes, the leaf hashes that tell afterwards which entry was changed, and
every checkpoint.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from gateway.canonical import Json, encode
from gateway.decisionlog import merkle, note, tables
from gateway.decisionlog.verifier import verify_proof
from gateway.decisionlog.verifier.sources import FORMAT, open_readonly
from gateway.errors import IntegrityViolation, NotFound

__all__ = ["export_ndjson", "prove", "verify_proof"]

_HASHES_PER_LINE = 256


def export_ndjson(database_path: Path, out: BinaryIO) -> int:
    """Write the whole log to ``out``; return the number of entries.

    Raises ``NotFound`` without a database, ``IntegrityViolation`` when it cannot be read.
    """
    with _opened(database_path) as connection:
        size = tables.size(connection)
        out.write(_line({"format": FORMAT, "size": size}))
        entries = connection.execute("SELECT bytes FROM entries ORDER BY seq")
        out.writelines(raw + b"\n" for (raw,) in entries)
        leaves = connection.execute("SELECT hash FROM nodes WHERE level = 0 ORDER BY idx")
        while rows := leaves.fetchmany(_HASHES_PER_LINE):
            out.write(_line({"leaf_hashes": [value.hex() for (value,) in rows]}))
        checkpoints = connection.execute("SELECT text FROM checkpoints ORDER BY size")
        out.writelines(_line({"checkpoint": text}) for (text,) in checkpoints)
    return size


def prove(database_path: Path, seq: int) -> dict[str, Any]:
    """Return an entry, its inclusion proof and the newest checkpoint, for ``verify_proof``.

    Raises ``NotFound`` (``entry_not_covered``) when no checkpoint covers the entry yet.
    """
    with _opened(database_path) as connection:
        found = connection.execute("SELECT bytes FROM entries WHERE seq = ?", (seq,)).fetchone()
        text = tables.newest_checkpoint(connection)
        size = note.parse(text).size if text else 0
        if found is None or not seq < size:
            raise NotFound(
                "entry_not_covered",
                f"no signed checkpoint covers entry {seq}: the newest covers {size} entries",
                field="seq",
            )
        path = merkle.inclusion_proof(partial(tables.node, connection), seq, size)
    return {
        "v": 1,
        "seq": seq,
        "entry": found[0].decode(),
        "inclusion": [value.hex() for value in path],
        "checkpoint": text,
    }


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise NotFound("log_not_found", f"there is no decision log at {path}")
    try:
        with closing(open_readonly(path)) as connection:
            yield connection
    except (ValueError, sqlite3.Error) as error:
        raise IntegrityViolation(
            "log_damaged", f"the decision log in {path} cannot be read: {error}"
        ) from error


def _line(value: Json) -> bytes:
    return encode(value) + b"\n"
