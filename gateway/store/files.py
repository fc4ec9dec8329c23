"""Small files that survive a crash: each function returns when the bytes are on the disk.

A reader sees the whole old file or the whole new one, never a part.
"""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4


def create_once(path: Path, data: bytes, *, mode: int) -> None:
    """Create ``path`` with ``data`` unless it exists; of several processes one wins.

    The bytes are complete before the name appears: a crash leaves no short file behind.
    """
    draft = _draft(path, data, mode)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass  # somebody else was first; the caller reads what they wrote
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def replace(path: Path, data: bytes, *, mode: int) -> None:
    """Put ``data`` in the place of whatever ``path`` held."""
    _draft(path, data, mode).replace(path)
    _sync_directory(path.parent)


def append_line(path: Path, line: bytes, *, mode: int) -> None:
    """Add a line at the end of ``path``; one that a crash has cut short stays a line by itself."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode)
    try:
        size = os.fstat(handle).st_size
        whole = size == 0 or os.pread(handle, 1, size - 1) == b"\n"
        _write(handle, (b"" if whole else b"\n") + line + b"\n")
    finally:
        os.close(handle)
    _sync_directory(path.parent)


def _draft(path: Path, data: bytes, mode: int) -> Path:
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        _write(handle, data)
    except BaseException:
        draft.unlink()
        raise
    finally:
        os.close(handle)
    return draft


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
    os.fsync(handle)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
