"""Archives for pods: the same bytes each time, and the code's own."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from gateway.cluster import packing
from gateway.cluster.packing import code_archive, guest_archive
from gateway.errors import IntegrityViolation, Unprocessable


def write(tree: Path, **files: bytes) -> Path:
    """Write a tree of some modules."""
    for name, data in files.items():
        path = tree / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tree


def names(archive: bytes) -> list[str]:
    """Return what an archive holds."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return opened.namelist()


def test_guest_archives_are_alike_and_hold_the_guest_alone() -> None:
    """The same bytes, whenever asked for; the entry point on top, the rest as a package."""
    archive = guest_archive()
    assert archive == guest_archive()
    held = names(archive)
    assert held == sorted(held)
    assert {"__main__.py", "sluice_guest/__init__.py", "sluice_guest/pinned.cfg"} <= set(held)
    assert not [name for name in held if "__pycache__" in name or "sluice_guest/__main__" in name]
    assert len(archive) < 200_000


def test_code_archives_depend_on_names_and_bytes_alone(tmp_path: Path) -> None:
    """Times, modes and the order of writing do not count."""
    one = write(tmp_path / "one", a=b"1", b__c=b"2")
    other = write(tmp_path / "other", b__c=b"2", a=b"1")
    os.utime(other / "a.py", (1, 1))
    (other / "a.py").chmod(0o700)
    assert code_archive(one) == code_archive(other)
    assert names(code_archive(one)) == ["a.py", "b/c.py"]
    with zipfile.ZipFile(io.BytesIO(code_archive(one))) as opened:
        assert {item.date_time for item in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    write(other, a=b"3")
    assert code_archive(one) != code_archive(other)


def test_code_that_is_too_large_for_a_pod_is_refused(tmp_path: Path) -> None:
    """The error names the size and the way out; what packs well may be larger."""
    assert code_archive(write(tmp_path / "dull", a=b"x" * 4_000_000))
    with pytest.raises(Unprocessable) as caught:
        code_archive(write(tmp_path / "dense", a=os.urandom(packing.MAX_CODE_BYTES)))
    assert caught.value.code == "code_too_large"
    assert "takes 901 KiB" in caught.value.public_message
    assert "build an image that holds the code" in caught.value.public_message


def test_code_archives_follow_no_links(tmp_path: Path) -> None:
    """A link could bring in a file of this machine that no digest covers."""
    tree = write(tmp_path / "tree", a=b"1")
    (tree / "b.py").symlink_to("/etc/hostname")
    with pytest.raises(IntegrityViolation):
        code_archive(tree)
