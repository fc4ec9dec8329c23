"""Where a pod's pipeline code is: unpacked from an archive, or in the image, its digest known.

An archive's bytes are checked while they are bytes: nothing is written to disk that the digest
does not cover, and nothing is imported before.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from . import tree_digest
from .failure import GuestError

_MOST_FILES = 2_000  # as many as gateway/graph/code.py takes
_MOST_BYTES = 64 * 1024 * 1024


def unpack(archive: str, folder: str, expected: str) -> None:
    """Write the files of ``archive`` below ``folder``, which must not exist.

    Raises ``GuestError`` (``code_changed``) unless they are exactly those of the code digest
    ``expected``, each under a plain relative name.
    """
    files = _read(archive)
    if tree_digest.over((name, files[name]) for name in sorted(files)) != expected:
        raise GuestError("code_changed", "the code is not the code that was decided upon")
    root = Path(folder)
    root.mkdir(parents=True)
    for name, data in files.items():
        path = root / name.decode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def digest_of_image(tree: str) -> str:
    """Return the code digest of a folder of the image.

    Raises ``GuestError`` (``source_unusable``) where the folder holds what no digest covers.
    """
    if not (Path(tree).is_absolute() and Path(tree).is_dir()):
        raise GuestError("source_unusable", f"the image has no folder {tree}")
    try:
        return tree_digest.compute(tree)
    except GuestError as failure:
        message = (
            f"{failure.message}, in {tree} of the image: build the image with"
            " PYTHONDONTWRITEBYTECODE=1, and keep hidden files and links out of that folder"
        )
        raise GuestError("source_unusable", message) from failure


def image_digest(image: str, tree: str) -> str:
    """Return the code digest of a pipeline in an image: over the image's digest and the folder's.

    The format is fixed by ``gateway/graph/pod_resolver.py``; a test holds the two together.
    """
    text = json.dumps({"image": image, "tree": tree}, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(archive: str) -> dict[bytes, bytes]:
    files: dict[bytes, bytes] = {}
    left = _MOST_BYTES
    try:
        with zipfile.ZipFile(archive) as opened:
            for item in opened.infolist():
                name = _plain(item.filename)
                with opened.open(item) as stream:
                    data = stream.read(left + 1)
                left -= len(data)
                if name in files or left < 0 or len(files) == _MOST_FILES:
                    raise GuestError("code_changed", "the archive of the code is not one of ours")
                files[name] = data
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise GuestError("code_changed", f"the archive of the code is broken: {error}") from error
    return files


def _plain(name: str) -> bytes:
    """Return a name in bytes; refuse one that leads elsewhere, or to what no digest covers."""
    parts = name.split("/")
    if any(not part or tree_digest.left_out(part) or "\0" in part for part in parts):
        raise GuestError("code_changed", f"the archive of the code holds the name {name[:200]!a}")
    return name.encode()
