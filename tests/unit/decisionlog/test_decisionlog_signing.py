"""What the signer's process signs, and everything that it refuses."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from decisionlog_disk import ORIGIN, Disk, SignedLog, forge

from gateway.canonical import encode
from gateway.decisionlog import note, record
from gateway.decisionlog.log import Entry
from gateway.decisionlog.signing import REQUEST, Answer, Signer, serve
from gateway.decisionlog.verifier import verify
from gateway.decisionlog.verifier.proofs import leaf_hash, node_hash
from gateway.errors import IntegrityViolation, Misconfigured, Retryable
from gateway.keys import signing_key_path, verifier_key_path
from gateway.store.connection import open_reader


def state(disk: Disk) -> Path:
    """Return the signer's memory."""
    return disk.keys / "log-signer.json"


async def append(disk: Disk, count: int) -> None:
    """Append entries as the gateway does."""
    database, log = await disk.open()
    await log.append_all([Entry("gateway.started", {"n": number}) for number in range(count)])
    await database.close()


def refusal(signer: Signer) -> str:
    """Return the code with which it refuses."""
    with pytest.raises(IntegrityViolation) as caught:
        signer.sign()
    return caught.value.code


async def test_a_new_signer_makes_its_key_and_its_memory(disk: Disk) -> None:
    """Private both; the public key is for everybody; an empty log can be signed."""
    database, _ = await disk.open()
    signer = disk.signer()
    checkpoint = note.verify(signer.sign(), signer.public_key)
    assert (checkpoint.origin, checkpoint.size) == (ORIGIN, 0)
    assert stat.S_IMODE(signing_key_path(disk.keys).stat().st_mode) == 0o600
    assert stat.S_IMODE(state(disk).stat().st_mode) == 0o600
    assert stat.S_IMODE(verifier_key_path(disk.keys).stat().st_mode) == 0o644
    assert verifier_key_path(disk.keys).read_text() == f"{signer.public_key}\n"
    await database.close()


async def test_each_head_continues_the_last(disk: Disk) -> None:
    """Across restarts, with what the verifier then finds right."""
    sizes, signer = [], disk.signer()
    for count in (1, 2, 3):
        await append(disk, count)
        sizes.append(note.verify(signer.sign(), signer.public_key).size)
        assert json.loads(state(disk).read_bytes())["size"] == sizes[-1]
        signer = disk.signer()
    assert sizes == [1, 3, 6]
    assert verify(disk.database, signer.public_key).ok


async def test_the_same_head_is_signed_alike(disk: Disk) -> None:
    """Asking twice, or after a restart, gives the same text."""
    await append(disk, 3)
    signer = disk.signer()
    assert signer.sign() == signer.sign() == disk.signer().sign()


def test_a_forged_entry_is_not_signed(signed: SignedLog) -> None:
    """Its tree is right and its MAC is not."""
    signer = signed.disk.signer()
    signer.sign()
    forge(signed.disk)
    assert refusal(signer) == "log_entry_forged"
    assert refusal(signed.disk.signer()) == "log_entry_forged"


@pytest.mark.parametrize("seq", [0, 5, 10])
def test_a_changed_entry_is_found_at_the_next_start(signed: SignedLog, seq: int) -> None:
    """Also one that was signed long ago: the whole log is read again."""
    signed.disk.signer().sign()
    with signed.disk.tampered() as connection:
        connection.execute(
            "UPDATE entries SET bytes = cast(replace(bytes, 'num', 'nom') AS BLOB) WHERE seq = ?",
            (seq,),
        )
    assert refusal(signed.disk.signer()) == "log_entry_forged"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("DELETE FROM entries WHERE seq >= 8", "log_truncated"),
        ("DELETE FROM entries WHERE seq = 5", "log_damaged"),
        ("DELETE FROM nodes WHERE level = 3", "log_damaged"),
        ("UPDATE nodes SET hash = zeroblob(32) WHERE level = 3", "log_forked"),
        ("UPDATE nodes SET hash = zeroblob(32) WHERE level = 0 AND idx = 10", "log_forked"),
    ],
)
def test_a_damaged_log_is_not_signed(signed: SignedLog, damage: str, code: str) -> None:
    """Whatever is gone or does not fit together."""
    signed.disk.signer().sign()
    with signed.disk.tampered() as connection:
        connection.execute(damage)
    assert refusal(signed.disk.signer()) == code


async def test_a_restored_backup_is_not_signed(signed: SignedLog, tmp_path: Path) -> None:
    """It is a right log in itself, even when it has grown again: the signer remembers another."""
    backup = tmp_path / "backup.db"
    shutil.copy(signed.disk.database, backup)
    await append(signed.disk, 3)
    signed.disk.signer().sign()
    shutil.copy(backup, signed.disk.database)
    signer = signed.disk.signer()
    assert refusal(signer) == "log_truncated"
    await append(signed.disk, 5)
    assert refusal(signed.disk.signer()) == "log_forked"
    assert verify(signed.disk.database, signer.public_key).ok  # which is why memory is needed


async def test_a_log_swapped_under_a_running_signer_is_not_signed(
    signed: SignedLog, tmp_path: Path
) -> None:
    """Its tree at the last signed size is not the one that was signed."""
    signer = signed.disk.signer()
    backup = tmp_path / "backup.db"
    shutil.copy(signed.disk.database, backup)
    await append(signed.disk, 1)
    signer.sign()
    shutil.copy(backup, signed.disk.database)
    await append(signed.disk, 4)
    assert refusal(signer) == "log_forked"


async def test_history_rewritten_with_the_writers_key_is_not_signed(signed: SignedLog) -> None:
    """MACs are right, and the stored nodes agree at the last head as well as at the new one."""
    signed.disk.signer().sign()
    await append(signed.disk, 1)
    key = signed.disk.ring().writer
    with signed.disk.tampered() as connection:
        (raw,) = connection.execute("SELECT bytes FROM entries WHERE seq = 10").fetchone()
        raw = raw.replace(b"number", b"nomber")
        mac = record.authentication(key, 10, raw)
        connection.execute("UPDATE entries SET bytes = ?, mac = ? WHERE seq = 10", (raw, mac))
        (last,) = connection.execute("SELECT bytes FROM entries WHERE seq = 11").fetchone()
        (pair,) = connection.execute(
            "SELECT hash FROM nodes WHERE level = 1 AND idx = 4"
        ).fetchone()
        above = node_hash(pair, node_hash(leaf_hash(raw), leaf_hash(last)))
        connection.execute("UPDATE nodes SET hash = ? WHERE level = 2 AND idx = 2", (above,))
    assert refusal(signed.disk.signer()) == "log_forked"


@pytest.mark.parametrize(("level", "index"), [(0, 10), (2, 2)])
async def test_a_tree_that_is_wrong_at_either_head_is_not_signed(
    signed: SignedLog, level: int, index: int
) -> None:
    """A node that only the last head needs, and one that only the new head needs."""
    signer = signed.disk.signer()
    signer.sign()
    await append(signed.disk, 1)
    with signed.disk.tampered() as connection:
        connection.execute(
            "UPDATE nodes SET hash = zeroblob(32) WHERE level = ? AND idx = ?", (level, index)
        )
    assert refusal(signer) == "log_forked"


def test_a_refusal_is_final(signed: SignedLog) -> None:
    """Putting the bytes back does not make the same process sign again: somebody has to look."""
    signer = signed.disk.signer()
    with signed.disk.tampered() as connection:
        connection.execute("UPDATE entries SET mac = zeroblob(32) WHERE seq = 5")
    assert refusal(signer) == "log_entry_forged"
    shutil.rmtree(signed.disk.directory)
    assert refusal(signer) == "log_entry_forged"


async def test_a_store_that_cannot_be_read_now_is_not_a_refusal(disk: Disk) -> None:
    """A missing file may come back: a later request is signed."""
    signer = disk.signer()
    with pytest.raises(Retryable):
        signer.sign()
    await append(disk, 1)
    assert note.parse(signer.sign()).size == 1


async def test_a_head_is_remembered_before_it_is_given_out(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When memory cannot be written, there is no signature either."""
    await append(disk, 1)
    signer = disk.signer()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.decisionlog.signing.files.replace", full)
    with pytest.raises(Retryable):
        signer.sign()


@pytest.mark.parametrize(
    ("lose", "code"),
    [
        (lambda disk: state(disk).unlink(), "signer_without_memory"),
        (lambda disk: signing_key_path(disk.keys).unlink(), "signer_without_key"),
        (lambda disk: state(disk).write_bytes(b"{}"), "signer_memory_damaged"),
        (lambda disk: state(disk).write_bytes(b"half"), "signer_memory_damaged"),
        (lambda disk: signing_key_path(disk.keys).chmod(0o644), "key_exposed"),
    ],
)
def test_a_signer_without_its_memory_or_key_does_not_start(
    signed: SignedLog, lose: Callable[[Disk], object], code: str
) -> None:
    """Deleting a file is not a way to have a rewritten log signed."""
    signed.disk.signer().sign()
    lose(signed.disk)
    with pytest.raises(Misconfigured) as caught:
        signed.disk.signer()
    assert caught.value.code == code


def test_both_deleted_is_another_key(signed: SignedLog) -> None:
    """The way on after a loss, and one that every verifier notices."""
    state(signed.disk).unlink()
    signing_key_path(signed.disk.keys).unlink()
    signer = signed.disk.signer()
    assert signer.public_key != signed.public_key
    assert not verify(signed.disk.database, signer.public_key).ok


def test_the_protocol_is_json_lines(signed: SignedLog) -> None:
    """First the public key, then one answer to each request, until the pipe ends."""
    request = encode(REQUEST) + b"\n"
    out = io.BytesIO()
    serve(signed.disk.database, signed.disk.keys, ORIGIN, io.BytesIO(request * 2), out)
    hello, first, second = (Answer.read(line) for line in out.getvalue().splitlines())
    assert hello == Answer("text", signed.public_key)
    assert first == second
    assert note.verify(first.text, signed.public_key).size == 11


def test_errors_cross_the_pipe(signed: SignedLog) -> None:
    """With their kind, code and text; a request that is none ends the process."""
    request = encode(REQUEST) + b"\n"
    with signed.disk.tampered() as connection:
        connection.execute("DELETE FROM entries WHERE seq >= 8")
    out = io.BytesIO()
    pipe = io.BytesIO(request + b'{"op":"other"}\n' + request)
    serve(signed.disk.database, signed.disk.keys, ORIGIN, pipe, out)
    _, answer = (Answer.read(line) for line in out.getvalue().splitlines())
    assert (answer.kind, answer.code) == ("violation", "log_truncated")
    assert "9 entries were signed" in answer.text
    out = io.BytesIO()
    state(signed.disk).unlink()
    serve(signed.disk.database, signed.disk.keys, ORIGIN, io.BytesIO(request), out)
    (answer,) = (Answer.read(line) for line in out.getvalue().splitlines())
    assert (answer.kind, answer.code) == ("misconfigured", "signer_without_memory")
    with pytest.raises(ValueError, match="not an answer"):
        Answer.read(b"{}\n")


def test_the_signer_cannot_write_to_the_database(signed: SignedLog) -> None:
    """It reads over a connection that refuses."""
    connection = open_reader(signed.disk.database)
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("INSERT INTO checkpoints VALUES (11, 'x')")
    connection.close()
