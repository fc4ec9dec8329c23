"""Fix the bytes of a pipeline: a digest of its source tree, and a copy that nobody edits.

The code digest, version 1, is SHA-256 over ``sluice-code-v1`` and a line feed, and then, for each
file in ascending order of its path's bytes::

    8 bytes   length of the path, big-endian
    path      relative to the tree, "/" between its parts, UTF-8
    8 bytes   length of the content, big-endian
    content

Both parts carry their length, so no two trees give the same bytes. Empty folders and file modes
do not count. Left out are ``__pycache__``, ``*.pyc`` and names that begin with a dot. Symlinks and
special files are refused: they could bring in bytes that no digest covers.

``gateway/guest/tree_digest.py`` computes the same in the sandbox, before anything is imported.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import IntegrityViolation
from gateway.graph.failures import Unresolvable

MAX_FILES = 2_000
MAX_BYTES = 64 * 1024 * 1024
_PREFIX = b"sluice-code-v1\n"
_FOLDER_MODE, _FILE_MODE = 0o555, 0o444  # readable for the sandbox's unprivileged user


@dataclass(frozen=True, slots=True)
class CodeTree:
    """A pipeline's files by relative path, and their digest."""

    digest: str
    files: Mapping[str, bytes] = field(repr=False)


def read_tree(path: Path, *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES) -> CodeTree:
    """Read a source tree once; later edits change nothing.

    Raises ``Unresolvable`` (``source_unusable``, ``source_too_large``).
    """
    files: dict[str, bytes] = {}
    total = 0
    for name, opened in _walk(path):
        with open(opened, "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
            if len(files) == max_files:
                raise Unresolvable(
                    "source_too_large", f"the source has more than {max_files} files"
                )
            data = stream.read(max_bytes - total + 1)
        total += len(data)
        if total > max_bytes:
            limit = max_bytes >> 20
            raise Unresolvable("source_too_large", f"the source has more than {limit} MB")
        files[name] = data
    return CodeTree(code_digest(files), files)


def code_digest(files: Mapping[str, bytes]) -> str:
    """Return the code digest of files by relative path, in hexadecimal."""
    digest = hashlib.sha256(_PREFIX)
    for name in sorted(files, key=str.encode):
        for part in (name.encode(), files[name]):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def materialise(tree: CodeTree, store: Path) -> Path:
    """Return ``store/<digest>``, holding exactly the files of ``tree``, read-only.

    Raises ``IntegrityViolation`` (``code_store_altered``) when something else is there.
    """
    final = store / tree.digest
    if not final.exists():
        store.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=store))
        try:
            _write(tree, fresh)
            fresh.rename(final)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # somebody else was faster
                raise
        finally:
            _remove(fresh)
    if _clean_digest(final) != tree.digest:
        raise IntegrityViolation(
            "code_store_altered",
            "the stored copy of the pipeline's code was changed",
            step="resolve",
            diagnostics=str(final),
        )
    return final


def _walk(path: Path) -> Iterator[tuple[str, int]]:
    """Yield relative path and open descriptor of each file; whoever takes it closes it."""
    if not path.is_dir():
        raise Unresolvable("source_unusable", "the pipeline's source is not a folder")
    for folder, folders, names, descriptor in os.fwalk(path, onerror=_unreadable):
        folders[:] = [name for name in folders if not _left_out(name)]
        relative = os.path.relpath(folder, path)
        for name in (*folders, *names):
            if _left_out(name):
                continue
            shown = name if relative == "." else f"{relative}/{name}"
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                continue
            if not stat.S_ISREG(found.st_mode) or not _is_text(shown):
                what = "a symlink" if stat.S_ISLNK(found.st_mode) else "not a plain file"
                raise Unresolvable("source_unusable", f"{shown!a} is {what}")
            yield shown, _open(name, descriptor)


def _unreadable(error: OSError) -> None:
    name = Path(str(error.filename)).name
    raise Unresolvable(
        "source_unusable", f"{name} cannot be read", diagnostics=str(error)
    ) from error


def _open(name: str, folder: int) -> int:
    """Open what was a plain file a moment ago, and see that it still is one."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        opened = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        raise Unresolvable(
            "source_unusable", f"{name} cannot be read", diagnostics=str(error)
        ) from error
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise Unresolvable("source_unusable", f"{name} is not a plain file")
    return opened


def _left_out(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__" or name.endswith(".pyc")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _write(tree: CodeTree, folder: Path) -> None:
    for name, data in tree.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(_FILE_MODE)
    for inner, _, _ in os.walk(folder, topdown=False):
        Path(inner).chmod(_FOLDER_MODE)


def _clean_digest(folder: Path) -> str | None:
    """Return the digest of a stored copy, or None when anything is there that it does not cover."""
    for _, folders, names in os.walk(folder):
        if any(_left_out(name) for name in (*folders, *names)):
            return None
    try:
        return read_tree(folder).digest
    except Unresolvable:
        return None


def _remove(folder: Path) -> None:
    if folder.exists():
        for inner, _, _ in os.walk(folder):
            Path(inner).chmod(0o700)
        shutil.rmtree(folder)
