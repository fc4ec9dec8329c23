"""Damage a log as the owner of its database could, and read what the verifier says of it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from decisionlog_disk import ORIGIN, Disk, SignedLog

from gateway.decisionlog import note
from gateway.decisionlog.merkle import Frontier
from gateway.decisionlog.verifier import Checkpoint, Report, verify
from gateway.decisionlog.verifier.proofs import leaf_hash
from gateway.keys import signing_key_path


def check(log: SignedLog, witness: Path | None = None) -> Report:
    """Verify a database."""
    return verify(log.disk.database, log.public_key, witness)


def problems(report: Report, seq: int | None) -> list[str]:
    """Return what was found about one entry, or about no entry."""
    return [finding.problem for finding in report.findings if finding.seq == seq]


def change(connection: sqlite3.Connection, at: int, **values: object) -> None:
    """Change an entry as the owner of the database would, canonical and all."""
    (raw,) = connection.execute("SELECT bytes FROM entries WHERE seq = ?", (at,)).fetchone()
    value = json.loads(raw) | values
    raw = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    connection.execute("UPDATE entries SET bytes = ? WHERE seq = ?", (raw, at))


def rebuild(connection: sqlite3.Connection, levels: int = 64) -> None:
    """Compute the stored nodes anew from the entries, up to a level."""
    tree = Frontier()
    query = "UPDATE nodes SET hash = ? WHERE level = ? AND idx = ?"
    for (raw,) in connection.execute("SELECT bytes FROM entries ORDER BY seq").fetchall():
        tree, nodes = tree.append(leaf_hash(raw))
        for level, index, value in nodes:
            if level < levels:
                connection.execute(query, (value, level, index))


def sign(disk: Disk, size: int, root: bytes) -> str:
    """Sign a head with the log's own key, whatever the truth is."""
    seed = signing_key_path(disk.keys).read_bytes()
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return note.sign(Checkpoint(ORIGIN, size, root), key)
