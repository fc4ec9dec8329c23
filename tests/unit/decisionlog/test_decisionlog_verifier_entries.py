"""The verifier finds and names every entry that was changed, removed or moved."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from decisionlog_damage import change, check, problems, rebuild
from decisionlog_disk import SignedLog

from gateway.decisionlog.verifier import verify

# --- changed --------------------------------------------------------------------------------------


def test_every_flipped_byte_of_an_entry_is_found_and_named(
    written: SignedLog, tmp_path: Path
) -> None:
    """In the file itself, behind SQLite's back."""
    original = written.disk.database.read_bytes()
    with closing(sqlite3.connect(written.disk.database)) as connection:
        (raw,) = connection.execute("SELECT bytes FROM entries WHERE seq = 5").fetchone()
    assert original.count(raw) == 1
    path, start = tmp_path / "copy.db", original.index(raw)
    for offset in range(start, start + len(raw)):
        changed = bytearray(original)
        changed[offset] ^= 1 << offset % 8
        path.write_bytes(changed)
        report = verify(path, written.public_key)
        assert {finding.seq for finding in report.findings} == {5}
        assert any("signed" in problem for problem in problems(report, 5))


@pytest.mark.parametrize("seq", range(9))
def test_a_changed_entry_is_named(signed: SignedLog, seq: int) -> None:
    """It, and no other; the report is about it alone."""
    with signed.disk.tampered() as connection:
        change(connection, seq, body={"changed": True})
    (finding,) = check(signed).findings
    assert (finding.seq, finding.problem) == (seq, "its bytes are not the ones that were signed")
    assert finding.entry_id


@pytest.mark.parametrize("seq", range(8))
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_mending_the_tree_hides_no_change(signed: SignedLog, seq: int, levels: int) -> None:
    """Who also mends stored nodes, up to a level, only widens the range that is named."""
    with signed.disk.tampered() as connection:
        change(connection, seq, body={"changed": True})
        rebuild(connection, levels)
    low = seq >> levels << levels
    (finding,) = check(signed).findings
    assert f"entries {low} to {low + (1 << levels) - 1} are not all" in finding.problem


def test_several_changed_entries_are_each_named(signed: SignedLog) -> None:
    """And no other."""
    with signed.disk.tampered() as connection:
        for seq in (0, 3, 6, 8):
            change(connection, seq, body={"changed": True})
    assert [finding.seq for finding in check(signed).findings] == [0, 3, 6, 8]


def test_a_tree_that_was_mended_to_the_top_is_still_not_signed(signed: SignedLog) -> None:
    """Then nothing tells which entry it was, and the report says that."""
    with signed.disk.tampered() as connection:
        change(connection, 5, body={"changed": True})
        rebuild(connection)
    report = check(signed)
    assert (
        "entries 0 to 7" in report.findings[0].problem
        or "entries 0 to 8" in report.findings[0].problem
    )


def test_a_change_that_no_signature_covers_yet_is_named(signed: SignedLog) -> None:
    """Its own stored hash tells."""
    with signed.disk.tampered() as connection:
        change(connection, 10, body={"changed": True})
    report = check(signed)
    assert [finding.seq for finding in report.findings] == [10]
    assert "no signature covers it yet" in report.findings[0].problem


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"seq": 9}, "another place"),
        ({"v": 2}, "not an entry of this format"),
        ({"extra": 1}, "not an entry of this format"),
        ({"id": "other"}, "under another id"),
        ({"event": "decision.deny"}, "under another event"),
        ({"launch_id": None}, "under another launch_id"),
        ({"decision_id": "d"}, "under another decision_id"),
    ],
)
def test_an_entry_by_itself_is_checked(
    signed: SignedLog, values: dict[str, object], problem: str
) -> None:
    """Also where the tree was mended and no signature covers it."""
    with signed.disk.tampered() as connection:
        change(connection, 10, **values)
        rebuild(connection)
    assert problem in problems(check(signed), 10)[0]


@pytest.mark.parametrize(
    "raw",
    [b"{}", b"[]", b"", b"\xff", b'{"a": 1}', b"[" * 100_000, b"1.5", b"NaN", b'{"a":1,"a":1}'],
)
def test_what_is_no_entry_is_named(signed: SignedLog, raw: bytes) -> None:
    """Whatever stands in its place."""
    with signed.disk.tampered() as connection:
        connection.execute("UPDATE entries SET bytes = ? WHERE seq = 2", (raw,))
    report = check(signed)
    assert {finding.seq for finding in report.findings} == {2}
    assert len(report.findings) == 2


def test_an_id_that_was_used_before_is_named(signed: SignedLog) -> None:
    """Two entries with one id cannot both be meant."""
    with signed.disk.tampered() as connection:
        (used,) = connection.execute("SELECT id FROM entries WHERE seq = 1").fetchone()
        change(connection, 10, id=used)
        rebuild(connection)
    assert problems(check(signed), 10) == ["its id was used before"]


# --- gone, or too many ----------------------------------------------------------------------------


@pytest.mark.parametrize("seq", range(11))
def test_a_removed_entry_is_named(signed: SignedLog, seq: int) -> None:
    """Its neighbours are not."""
    with signed.disk.tampered() as connection:
        connection.execute("DELETE FROM entries WHERE seq = ?", (seq,))
    report = check(signed)
    assert {finding.seq for finding in report.findings} == {seq}
    assert "missing" in report.findings[0].problem


def test_an_entry_removed_with_its_hash_is_named(signed: SignedLog) -> None:
    """The entries after it stay verifiable."""
    with signed.disk.tampered() as connection:
        connection.execute("DELETE FROM entries WHERE seq = 4")
        connection.execute("DELETE FROM nodes WHERE level = 0 AND idx = 4")
    report = check(signed)
    assert problems(report, 4) == ["it is missing"]
    assert {finding.seq for finding in report.findings} == {4, None}


def test_a_cut_log_is_found_by_its_checkpoints(signed: SignedLog) -> None:
    """Entries and nodes are gone without a trace, the signature remains."""
    with signed.disk.tampered() as connection:
        connection.execute("DELETE FROM entries WHERE seq >= 8")
        connection.execute("DELETE FROM nodes WHERE (idx + 1) << level > 8")
    report = check(signed)
    assert report.findings[0].problem == "9 entries were signed: the newest were removed"
    assert (report.size, report.checkpoint_size) == (8, 4)


def test_a_log_cut_with_its_checkpoints_is_found_by_the_witness(
    signed: SignedLog, tmp_path: Path
) -> None:
    """By itself it is a right, older log: only a copy kept elsewhere tells."""
    witness = tmp_path / "checkpoints.log"
    with signed.disk.tampered() as connection:
        texts = connection.execute("SELECT text FROM checkpoints ORDER BY size").fetchall()
        lines = [
            json.dumps({"checkpoint": text}, ensure_ascii=False, separators=(",", ":"))
            for (text,) in texts
        ]
        witness.write_text("\n".join(lines) + "\n")
        connection.execute("DELETE FROM entries WHERE seq >= 8")
        connection.execute("DELETE FROM nodes WHERE (idx + 1) << level > 8")
        connection.execute("DELETE FROM checkpoints WHERE size > 8")
    assert check(signed).ok
    report = check(signed, witness)
    assert [finding.problem for finding in report.findings] == [
        "9 entries were signed: the newest were removed"
    ]
    witness.write_text("half a li")
    assert "line 1" in check(signed, witness).findings[0].problem


def test_entries_in_another_order_are_named(signed: SignedLog) -> None:
    """Each of the two is not what was signed there."""
    with signed.disk.tampered() as connection:
        (second,) = connection.execute("SELECT bytes FROM entries WHERE seq = 2").fetchone()
        (third,) = connection.execute("SELECT bytes FROM entries WHERE seq = 3").fetchone()
        connection.execute("UPDATE entries SET bytes = ? WHERE seq = 2", (third,))
        connection.execute("UPDATE entries SET bytes = ? WHERE seq = 3", (second,))
    assert {finding.seq for finding in check(signed).findings} == {2, 3}


def test_an_absurd_number_is_no_gap_to_fill(signed: SignedLog) -> None:
    """An entry that claims to be far ahead costs nothing, even with its hash stored there."""
    with signed.disk.tampered() as connection:
        far = 10**15
        connection.execute("UPDATE entries SET seq = ? WHERE seq = 10", (far,))
        connection.execute("UPDATE nodes SET idx = ? WHERE level = 0 AND idx = 10", (far,))
    assert "another place" in problems(check(signed), 10)[0]
