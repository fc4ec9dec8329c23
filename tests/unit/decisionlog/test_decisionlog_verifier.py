"""The verifier on a log that is right, and what it is made of: its own files and no others."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

from decisionlog_damage import change, check
from decisionlog_disk import Disk, SignedLog

from gateway.decisionlog import record, verifier
from gateway.decisionlog.log import Entry
from gateway.decisionlog.verifier import verify
from gateway.decisionlog.verifier.replay import KEYS

FOLDER = Path(verifier.__file__).parent


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


def test_the_entry_format_is_the_writers() -> None:
    """The verifier's own list of keys is the one that entries are written with."""
    _, raw = record.encode_entry(Entry("gateway.started"), 0, {})
    assert set(json.loads(raw)) == KEYS
