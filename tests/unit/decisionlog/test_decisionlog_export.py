"""The log taken elsewhere: whole, or one entry with its proof."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from decisionlog_disk import Disk, SignedLog

from gateway.decisionlog.export import export_ndjson, prove, verify_proof
from gateway.decisionlog.log import Entry
from gateway.decisionlog.verifier import verify
from gateway.errors import IntegrityViolation, NotFound


def exported(log: SignedLog) -> bytes:
    """Return an export of the log."""
    out = io.BytesIO()
    assert export_ndjson(log.disk.database, out) == 11
    return out.getvalue()


def test_an_export_is_lines_of_json_with_the_entries_own_bytes(signed: SignedLog) -> None:
    """Header, entries, leaf hashes, checkpoints: any tool can read it."""
    lines = exported(signed).splitlines()
    values = [json.loads(line) for line in lines]
    assert values[0] == {"format": "sluice-log-v1", "size": 11}
    assert [value["seq"] for value in values[1:12]] == list(range(11))
    assert list(values[12]) == ["leaf_hashes"]
    assert [list(value) for value in values[13:]] == [["checkpoint"]] * 3


def test_an_export_verifies_like_the_database(signed: SignedLog, tmp_path: Path) -> None:
    """The same report."""
    path = tmp_path / "log.ndjson"
    path.write_bytes(exported(signed))
    database = verify(signed.disk.database, signed.public_key)
    assert verify(path, signed.public_key) == database
    assert database.ok


async def test_every_flipped_byte_of_an_export_is_found(disk: Disk) -> None:
    """And where it is an entry's, that entry is named."""
    database, log = await disk.open()
    signer = disk.signer()
    await log.append_all([Entry("gateway.started"), Entry("policy.loaded", {"n": 1})])
    await log.store_checkpoint(signer.sign())
    await log.append(Entry("gateway.stopped"))  # no signature covers this one yet
    await database.close()
    out = io.BytesIO()
    export_ndjson(disk.database, out)
    original, path = out.getvalue(), disk.directory / "log.ndjson"
    line = 0
    for offset, byte in enumerate(original):
        changed = bytearray(original)
        changed[offset] ^= 1 << offset % 8
        path.write_bytes(changed)
        report = verify(path, signer.public_key)
        assert not report.ok, f"byte {offset}, in line {line + 1}"
        if 1 <= line <= 3:
            assert line - 1 in {finding.seq for finding in report.findings}
        line += byte == ord("\n")
    assert line == 6


@pytest.mark.parametrize("line", range(16))
def test_every_removed_line_is_found(written: SignedLog, tmp_path: Path, line: int) -> None:
    """Entries are named; a checkpoint that is not the newest is not missed by anybody."""
    lines = exported(written).splitlines(keepends=True)
    path = tmp_path / "log.ndjson"
    path.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    report = verify(path, written.public_key)
    assert report.ok == (line > 12)
    if 1 <= line <= 11:
        assert {finding.seq for finding in report.findings} == {line - 1}


def test_a_cut_export_is_found(written: SignedLog, tmp_path: Path) -> None:
    """Wherever it ends."""
    original, path = exported(written), tmp_path / "log.ndjson"
    checkpoints = original.index(b'{"checkpoint"')
    for size in range(0, checkpoints - 1, 97):
        path.write_bytes(original[:size])
        assert not verify(path, written.public_key).ok


@pytest.mark.parametrize("seq", range(9))
def test_a_proof_stands_alone(signed: SignedLog, seq: int) -> None:
    """One entry, verifiable with the public key and nothing else; it survives JSON."""
    proof = json.loads(json.dumps(prove(signed.disk.database, seq)))
    report = verify_proof(proof, signed.public_key)
    assert report.ok
    assert (report.size, report.checkpoint_size) == (9, 9)
    assert json.loads(proof["entry"])["seq"] == proof["seq"] == seq


def test_a_changed_proof_fails(signed: SignedLog) -> None:
    """Another entry, place, path, checkpoint or key."""
    proof = prove(signed.disk.database, 5)
    other = prove(signed.disk.database, 6)
    for name in ("seq", "entry", "inclusion", "checkpoint"):
        assert not verify_proof({**proof, name: "changed"}, signed.public_key).ok
        assert not verify_proof({k: v for k, v in proof.items() if k != name}, signed.public_key).ok
    for name in ("seq", "entry", "inclusion"):
        assert not verify_proof({**proof, name: other[name]}, signed.public_key).ok
    assert not verify_proof({**proof, "v": 2}, signed.public_key).ok
    assert not verify_proof({**proof, "inclusion": None}, signed.public_key).ok
    assert not verify_proof({**proof, "entry": "\ud800"}, signed.public_key).ok
    assert not verify_proof(proof, "no key").ok


def test_every_flipped_bit_of_a_proven_entry_fails(signed: SignedLog) -> None:
    """The proof is of these bytes."""
    proof = prove(signed.disk.database, 5)
    data = proof["entry"].encode()
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        entry = changed.decode(errors="surrogateescape")
        assert not verify_proof({**proof, "entry": entry}, signed.public_key).ok


def test_an_entry_that_no_checkpoint_covers_has_no_proof_yet(signed: SignedLog) -> None:
    """The answer says how far the newest checkpoint reaches."""
    for seq in (9, 11, -1):
        with pytest.raises(NotFound, match="9 entries") as caught:
            prove(signed.disk.database, seq)
        assert caught.value.code == "entry_not_covered"


async def test_an_unsigned_log_has_no_proofs(disk: Disk) -> None:
    """Before the first checkpoint."""
    database, log = await disk.open()
    await log.append(Entry("gateway.started"))
    with pytest.raises(NotFound):
        prove(disk.database, 0)
    await database.close()


def test_what_is_no_log_cannot_be_exported(tmp_path: Path) -> None:
    """A missing file and a damaged one are told apart."""
    path = tmp_path / "sluice.db"
    with pytest.raises(NotFound):
        export_ndjson(path, io.BytesIO())
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(IntegrityViolation):
        export_ndjson(path, io.BytesIO())
