"""The code digest, computed where the code is about to run.

The format is fixed by ``gateway/graph/code.py``; a test holds the two implementations together.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from .failure import GuestError

_PREFIX = b"sluice-code-v1\n"


def check(tree: str, expected: str) -> None:
    """Raise ``GuestError`` unless the regular files below ``tree`` are exactly those of the digest.

    Stricter than the digest itself: what it leaves out (compiled files, hidden files) must not be
    there, because Python would import it.
    """
    if compute(tree) != expected:
        raise GuestError("code_changed", "the code is not the code that was decided upon")


def compute(tree: str) -> str:
    """Return the digest of a tree in hexadecimal; ``GuestError`` where it does not cover all."""
    files: dict[bytes, Path] = {}
    for folder, folders, names in os.walk(tree):
        for entry in (*folders, *names):
            path = Path(folder, entry)
            mode = path.lstat().st_mode
            relative = path.relative_to(tree).as_posix()
            if left_out(entry):
                raise GuestError("code_changed", f"{relative} is not covered by the code digest")
            if stat.S_ISREG(mode):
                files[relative.encode()] = path
            elif not stat.S_ISDIR(mode):
                raise GuestError("code_changed", f"{relative} is neither a file nor a folder")
    return over((name, files[name].read_bytes()) for name in sorted(files))


def over(files: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the digest of names and contents, which come in ascending order of the names."""
    digest = hashlib.sha256(_PREFIX)
    for file in files:
        for part in file:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def left_out(entry: str) -> bool:
    """Whether the digest does not cover files or folders of this name."""
    return entry.startswith(".") or entry == "__pycache__" or entry.endswith(".pyc")
