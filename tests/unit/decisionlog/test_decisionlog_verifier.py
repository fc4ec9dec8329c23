"""The verifier: what was changed is found and named, and nothing that a file holds breaks it."""

from __future__ import annotations

import ast
import json
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from decisionlog_disk import ORIGIN, Disk, SignedLog

from gateway.decisionlog import note, record, verifier
from gateway.decisionlog.log import Entry
from gateway.decisionlog.merkle import Frontier
from gateway.decisionlog.verifier import Checkpoint, Report, verify
from gateway.decisionlog.verifier.proofs import leaf_hash
from gateway.decisionlog.verifier.replay import KEYS
from gateway.keys import signing_key_path

FOLDER = Path(verifier.__file__).parent


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


# --- what is right --------------------------------------------------------------------------------


def test_a_log_as_it_was_written_is_right(signed: SignedLog) -> None:
    """The report says how much a signature covers, and under which root."""
    report = check(signed)
    assert report.ok
    assert (report.size, report.checkpoint_size, report.not_covered) == (11, 9, 2)
    assert len(report.root) == 64
    assert report.to_json() == {
        "ok": True,
        "size": 11,
        "checkpoint_size": 9,
        "not_covered": 2,
        "root": report.root,
        "findings": [],
        "unlisted": 0,
    }


def test_verifying_changes_nothing(signed: SignedLog) -> None:
    """Not a byte, not a file: it may be evidence."""
    before = {path: path.read_bytes() for path in signed.disk.directory.iterdir() if path.is_file()}
    assert check(signed).ok
    after = {path: path.read_bytes() for path in signed.disk.directory.iterdir() if path.is_file()}
    assert after == before


async def test_a_live_log_is_read_with_its_wal(signed: SignedLog) -> None:
    """What the gateway has committed a moment ago is there."""
    database, log = await signed.disk.open()
    await log.append(Entry("gateway.started"))
    assert signed.disk.database.with_name("sluice.db-wal").stat().st_size > 0
    report = check(signed)
    assert report.ok
    assert report.size == 12
    await database.close()


async def test_an_unsigned_log_is_right_and_covered_by_nothing(disk: Disk) -> None:
    """A log before its first checkpoint."""
    database, log = await disk.open()
    await log.append(Entry("gateway.started"))
    public_key = disk.signer().public_key
    await database.close()
    report = verify(disk.database, public_key)
    assert report.ok
    assert (report.size, report.checkpoint_size, report.not_covered) == (1, 0, 1)


def test_the_folder_stands_alone(signed: SignedLog, tmp_path: Path) -> None:
    """Copied elsewhere it runs as a command: 0 right, 1 wrong, 2 usage; JSON on its output."""
    shutil.copytree(FOLDER, tmp_path / "elsewhere" / "verifier")
    command = [sys.executable, "-m", "verifier", str(signed.disk.database), signed.public_key]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments, cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=False
        )

    right = run(*command)
    assert right.returncode == 0
    assert json.loads(right.stdout)["size"] == 11
    with signed.disk.tampered() as connection:
        change(connection, 4, body={})
    wrong = run(*command)
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["findings"][0]["seq"] == 4
    assert run(*command[:3]).returncode == 2


def test_the_folder_imports_nothing_of_ours() -> None:
    """Only the standard library, ``cryptography`` and its own files."""
    allowed = sys.stdlib_module_names | {"cryptography"}
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1 or (node.module or "").split(".")[0] in allowed


# --- entries that were changed --------------------------------------------------------------------


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


# --- entries that are gone, or too many -----------------------------------------------------------


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


def test_the_entry_format_is_the_writers() -> None:
    """The verifier's own list of keys is the one that entries are written with."""
    _, raw = record.encode_entry(Entry("gateway.started"), 0, {})
    assert set(json.loads(raw)) == KEYS
