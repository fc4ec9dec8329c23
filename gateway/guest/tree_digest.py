"""The code digest, computed where the code is about to run.

The format is fixed by ``gateway/graph/code.py``; a test holds the two implementations together.
"""

from __future__ import annotations

import hashlib
import os
import stat

from .failure import Failure

_PREFIX = b"sluice-code-v1\n"


def check(tree: str, expected: str) -> None:
    """Raise ``Failure`` unless the regular files below ``tree`` are exactly those of the digest.

    Stricter than the digest itself: what it leaves out (compiled files, hidden files) must not be
    there, because Python would import it.
    """
    files: dict[bytes, str] = {}
    for folder, folders, names in os.walk(tree):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            relative = os.path.relpath(path, tree)
            if name.startswith(".") or name == "__pycache__" or name.endswith(".pyc"):
                raise Failure("code_changed", f"{relative} is not covered by the code digest")
            if stat.S_ISREG(mode):
                files[relative.encode()] = path
            elif not stat.S_ISDIR(mode):
                raise Failure("code_changed", f"{relative} is neither a file nor a folder")
    digest = hashlib.sha256(_PREFIX)
    for relative in sorted(files):
        with open(files[relative], "rb") as stream:
            data = stream.read()
        digest.update(len(relative).to_bytes(8) + relative + len(data).to_bytes(8) + data)
    if digest.hexdigest() != expected:
        raise Failure("code_changed", "the code is not the code that was decided upon")
