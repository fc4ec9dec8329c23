"""The verifier on changed nodes and checkpoints, and on files that are damaged or no log at all."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from decisionlog_damage import change, check, problems, sign
from decisionlog_disk import ORIGIN, SignedLog

from gateway.decisionlog import note
from gateway.decisionlog.verifier import verify

# --- nodes and checkpoints ------------------------------------------------------------------------


def nodes(size: int) -> Iterator[tuple[int, int]]:
    """Yield the nodes of a tree."""
    for level in range(size.bit_length()):
        yield from ((level, index) for index in range(size >> level))


@pytest.mark.parametrize(
    ("level", "index"), [at for at in nodes(11) if at not in {(0, 9), (0, 10)}]
)
def test_a_wrong_node_is_named_and_no_entry_is_blamed(
    signed: SignedLog, level: int, index: int
) -> None:
    """The entries are under the signed root: so it is the node that was changed."""
    with signed.disk.tampered() as connection:
        connection.execute(
            "UPDATE nodes SET hash = zeroblob(32) WHERE level = ? AND idx = ?", (level, index)
        )
    assert [(finding.seq, finding.problem) for finding in check(signed).findings] == [
        (None, f"the stored node {level}/{index} is missing or wrong")
    ]


def test_an_entry_and_a_node_elsewhere_are_told_apart(signed: SignedLog) -> None:
    """Damage to the one does not hide the other."""
    with signed.disk.tampered() as connection:
        change(connection, 2, body={})
        connection.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level = 1 AND idx = 3")
    report = check(signed)
    assert {finding.seq for finding in report.findings} == {2, None}
    assert "node 1/3" in problems(report, None)[0]


def test_a_wrong_node_does_not_hide_which_entry_was_changed(signed: SignedLog) -> None:
    """Where one half is wrong as stored, it is taken as computed, and the other the other way."""
    with signed.disk.tampered() as connection:
        change(connection, 5, body={})
        connection.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level = 2 AND idx = 0")
    report = check(signed)
    assert [finding.seq for finding in report.findings] == [5, None]
    assert "node 2/0" in report.findings[1].problem


def test_a_checkpoint_that_was_changed_is_named(signed: SignedLog) -> None:
    """It proves nothing, and the older one still does."""
    with signed.disk.tampered() as connection:
        connection.execute(
            "UPDATE checkpoints SET text = replace(text, 'sluice', 'slu1ce') WHERE size = 9"
        )
    report = check(signed)
    assert len(report.findings) == 1
    assert "no valid signature" in report.findings[0].problem
    assert report.checkpoint_size == 4


def test_a_checkpoint_of_another_history_is_named(signed: SignedLog) -> None:
    """Two signed heads that do not continue each other: the log was forked or rewritten."""
    with signed.disk.tampered() as connection:
        forked = sign(signed.disk, 4, bytes(32))
        connection.execute("UPDATE checkpoints SET text = ? WHERE size = 4", (forked,))
    assert [finding.problem for finding in check(signed).findings] == [
        "the checkpoint of size 4 signed another history"
    ]


def test_another_signers_key_verifies_nothing(signed: SignedLog) -> None:
    """A log that was signed anew by somebody else is not the one that was promised."""
    stranger = note.verifier_key(ORIGIN, Ed25519PrivateKey.generate())
    report = verify(signed.disk.database, stranger)
    assert len(report.findings) == 3
    assert report.checkpoint_size == 0


# --- damaged files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}\n", b"\0" * 5000, b"SQLite format 3\0", b"\xff"]
)
def test_a_file_that_is_no_log_is_a_finding(
    tmp_path: Path, written: SignedLog, content: bytes
) -> None:
    """Never a traceback."""
    path = tmp_path / "log"
    path.write_bytes(content)
    assert not verify(path, written.public_key).ok


def test_what_cannot_be_opened_is_a_finding(tmp_path: Path, written: SignedLog) -> None:
    """A missing file, a folder, an empty database, a key that is none."""
    sqlite3.connect(tmp_path / "empty.db").close()
    for path in (tmp_path / "absent", tmp_path, tmp_path / "empty.db"):
        assert not verify(path, written.public_key).ok
    report = verify(written.disk.database, "not a key")
    assert "verifier key" in report.findings[0].problem


def test_damaged_pages_are_findings(written: SignedLog, tmp_path: Path) -> None:
    """Wherever the file was overwritten: a report, and no all-clear for a shorter log."""
    original, path = written.disk.database.read_bytes(), tmp_path / "copy.db"
    chance = random.Random(7)  # noqa: S311 - where to damage a file, not a secret
    for _ in range(150):
        changed, start = bytearray(original), chance.randrange(len(original))
        changed[start : start + 64] = chance.randbytes(len(changed[start : start + 64]))
        path.write_bytes(changed)
        report = verify(path, written.public_key)
        assert report.size == 11 or not report.ok


def test_a_cut_file_is_a_finding(written: SignedLog, tmp_path: Path) -> None:
    """At every page."""
    original, path = written.disk.database.read_bytes(), tmp_path / "copy.db"
    for size in range(0, len(original) - 1, 2048):
        path.write_bytes(original[:size])
        assert not verify(path, written.public_key).ok


def test_a_foreign_schema_is_a_finding(signed: SignedLog) -> None:
    """Tables of these names that hold numbers, texts and nulls where bytes belong."""
    with closing(sqlite3.connect(signed.disk.database)) as connection:
        for table in ("entries", "nodes", "checkpoints"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute(
            "CREATE TABLE entries (seq, id, event, launch_id, decision_id, mac, bytes)"
        )
        connection.execute("CREATE TABLE nodes (level, idx, hash)")
        connection.execute("CREATE TABLE checkpoints (size, text)")
        values = ("text", 7, None, b"\xff", 1.5)
        connection.executemany(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", [(value,) * 7 for value in values]
        )
        connection.executemany("INSERT INTO nodes VALUES (0, ?, ?)", enumerate(values))
        connection.executemany("INSERT INTO checkpoints VALUES (?, ?)", enumerate(values))
        connection.commit()
    report = check(signed)
    assert report.size == 5
    assert len(report.findings) > 10


def test_findings_beyond_a_hundred_are_counted(signed: SignedLog) -> None:
    """A report stays readable."""
    with signed.disk.tampered() as connection:
        query = "INSERT INTO entries VALUES (?, ?, 'x', NULL, NULL, x'00', x'00')"
        connection.executemany(query, [(seq, str(seq)) for seq in range(11, 300)])
    report = check(signed)
    assert len(report.findings) == 100
    assert report.unlisted > 100
