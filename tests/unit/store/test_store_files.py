"""Small files that survive a crash."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway.store import files


def test_create_once_keeps_what_is_there(tmp_path: Path) -> None:
    """The first of several creators wins, and no draft is left beside the file."""
    path = tmp_path / "key"
    files.create_once(path, b"first", mode=0o600)
    files.create_once(path, b"second", mode=0o600)
    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_replace_puts_a_whole_file_in_place(tmp_path: Path) -> None:
    """A reader that has the old file open keeps it; the name leads to the new one."""
    path = tmp_path / "state"
    files.replace(path, b"old", mode=0o600)
    with path.open("rb") as reader:
        files.replace(path, b"new", mode=0o644)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_append_line_does_not_join_a_line_that_a_crash_cut(tmp_path: Path) -> None:
    """After half a line, the next one still begins on its own."""
    path = tmp_path / "witness"
    files.append_line(path, b"one", mode=0o644)
    with path.open("ab") as file:
        file.write(b"ha")
    files.append_line(path, b"two", mode=0o644)
    assert path.read_bytes() == b"one\nha\ntwo\n"


def test_a_failed_draft_leaves_nothing(tmp_path: Path) -> None:
    """A file that cannot be written leaves neither itself nor a draft."""
    with pytest.raises(FileNotFoundError):
        files.replace(tmp_path / "absent" / "state", b"x", mode=0o600)
    assert list(tmp_path.iterdir()) == []
