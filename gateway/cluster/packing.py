"""Pack what a pod needs of us into archives that are the same bytes each time.

Their digests are the names under which the cluster keeps them, so equal code is kept once and a
name never changes its content.
"""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import IntegrityViolation, Unprocessable

MAX_CODE_BYTES = 900 * 1024  # a ConfigMap holds 1 MiB
_GUEST = Path(__file__).parent.parent / "guest"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can name
_MODE = 0o444 << 16
_UNIX = 3


def guest_archive() -> bytes:
    """Return the guest as one zip application: ``python3 -I -B /sluice/guest.pyz``.

    Not compressed: so the bytes depend on our own files alone, and on no library's version.
    """
    files = {"__main__.py": (_GUEST / "__main__.py").read_bytes()}
    for path in (*_GUEST.glob("*.py"), *_GUEST.glob("*.cfg")):
        if path.name != "__main__.py":
            files[f"sluice_guest/{path.name}"] = path.read_bytes()
    return _archive(files, zipfile.ZIP_STORED)


def code_archive(tree: Path) -> bytes:
    """Return a zip of a kept code tree (``graph/code.py``), for a pod whose image lacks it.

    Raises ``Unprocessable`` (``code_too_large``) above 900 KiB, ``IntegrityViolation``
    (``code_store_altered``) where the tree holds anything but files and folders.
    """
    files: dict[str, bytes] = {}
    for path in tree.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            files[path.relative_to(tree).as_posix()] = path.read_bytes()
        elif not stat.S_ISDIR(mode):
            raise IntegrityViolation(
                "code_store_altered",
                "the stored copy of the pipeline's code was changed",
                step="run",
                diagnostics=str(path),
            )
    data = _archive(files, zipfile.ZIP_DEFLATED)
    if len(data) > MAX_CODE_BYTES:
        raise Unprocessable(
            "code_too_large",
            f"the pipeline's code takes {-(-len(data) // 1024)} KiB packed, and a pod is given"
            f" {MAX_CODE_BYTES // 1024} KiB at the most; build an image that holds the code, and"
            " name it in the catalogue",
            step="run",
        )
    return data


def _archive(files: Mapping[str, bytes], compression: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(files, key=str.encode):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = _UNIX  # also where this runs on another system
            entry.external_attr = _MODE
            archive.writestr(entry, files[name], compression, 9)
    return stream.getvalue()
