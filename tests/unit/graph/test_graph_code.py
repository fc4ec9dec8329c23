"""The code digest, and the copy that runs."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from gateway.errors import IntegrityViolation
from gateway.graph.code import _open, code_digest, materialise, read_tree
from gateway.graph.failures import Unresolvable
from gateway.guest.failure import GuestError
from gateway.guest.tree_digest import check


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a source tree with a package in it."""
    folder = tmp_path / "source"
    (folder / "inner").mkdir(parents=True)
    (folder / "pipe.py").write_text("import luigi\n")
    (folder / "inner" / "data.bin").write_bytes(bytes(range(256)))
    return folder


def refusal(path: Path, **bounds: int) -> str:
    """Return why a tree cannot be read."""
    with pytest.raises(Unresolvable) as caught:
        read_tree(path, **bounds)
    return caught.value.detail


def test_code_digest_has_the_documented_form(tree: Path) -> None:
    """Prefix, then path and content in order, each after its length in 8 bytes."""
    expected = b"sluice-code-v1\n"
    for name, data in ((b"inner/data.bin", bytes(range(256))), (b"pipe.py", b"import luigi\n")):
        for part in (name, data):
            expected += len(part).to_bytes(8, "big") + part
    assert read_tree(tree).digest == hashlib.sha256(expected).hexdigest()


def test_code_digest_covers_names_and_bytes_only(tree: Path) -> None:
    """Times, modes and empty folders do not count; any byte and any name does."""
    before = read_tree(tree).digest
    (tree / "empty").mkdir()
    (tree / "pipe.py").chmod(0o600)
    os.utime(tree / "pipe.py", (1, 1))
    assert read_tree(tree).digest == before
    (tree / "pipe.py").rename(tree / "pipe2.py")
    assert read_tree(tree).digest != before


def test_code_leaves_out_what_python_and_tools_leave_behind(tree: Path) -> None:
    """Compiled files and hidden names: they come and go without a change of meaning."""
    before = read_tree(tree)
    for name in ("__pycache__/pipe.cpython-311.pyc", ".git/config", ".env", "old.pyc"):
        path = tree / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert read_tree(tree) == before


@pytest.mark.parametrize("target", ["/etc/passwd", "pipe.py", "nowhere", ".."])
def test_code_refuses_symlinks(tree: Path, target: str) -> None:
    """A link could bring in a file of ours, or bytes that change behind the digest."""
    (tree / "inner" / "link").symlink_to(target)
    with pytest.raises(Unresolvable, match="inner/link' is a symlink") as caught:
        read_tree(tree)
    assert caught.value.detail == "source_unusable"


def test_code_refuses_a_symlink_that_came_after_the_look(tree: Path) -> None:
    """Between looking and opening the author may swap a file for a link to one of ours."""
    (tree / "link.py").symlink_to("/etc/passwd")
    folder = os.open(tree, os.O_RDONLY)
    try:
        with pytest.raises(Unresolvable, match=r"link\.py cannot be read"):
            _open("link.py", folder)
    finally:
        os.close(folder)


def test_code_refuses_what_is_not_a_plain_file(tree: Path) -> None:
    """A pipe would block us for ever."""
    os.mkfifo(tree / "pipe")
    assert refusal(tree) == "source_unusable"


def test_code_refuses_what_is_no_folder(tree: Path) -> None:
    """A file, or nothing."""
    assert refusal(tree / "pipe.py") == "source_unusable"
    assert refusal(tree / "nowhere") == "source_unusable"


def test_code_refuses_names_that_are_not_text(tree: Path) -> None:
    """Such a name has no UTF-8 form, so no digest."""
    (tree / os.fsdecode(b"\xff.py")).write_text("")
    assert refusal(tree) == "source_unusable"


def test_code_bounds_files_and_bytes(tree: Path) -> None:
    """Read no more than the bound, whatever is there."""
    assert refusal(tree, max_files=1) == "source_too_large"
    assert refusal(tree, max_bytes=268) == "source_too_large"
    assert len(read_tree(tree, max_files=2, max_bytes=269).files) == 2


def test_code_copy_is_what_was_read_even_when_the_author_goes_on(
    tree: Path, tmp_path: Path
) -> None:
    """Edits after reading change the source, and not the tree that runs."""
    code = read_tree(tree)
    (tree / "pipe.py").write_text("import os\n")
    copy = materialise(code, tmp_path / "store")
    assert copy == tmp_path / "store" / code.digest
    assert (copy / "pipe.py").read_text() == "import luigi\n"
    assert read_tree(copy) == code
    assert [path.name for path in (tmp_path / "store").iterdir()] == [code.digest]


def test_code_copy_is_read_only_and_readable_for_an_unprivileged_user(
    tree: Path, tmp_path: Path
) -> None:
    """Files 0444, folders 0555."""
    copy = materialise(read_tree(tree), tmp_path / "store")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (copy, *copy.rglob("*"))}
    assert modes == {0o444, 0o555}


def test_code_copy_is_made_once_and_checked_each_time(tree: Path, tmp_path: Path) -> None:
    """A second launch finds it; a byte changed there, or a file added, is an integrity failure."""
    code, store = read_tree(tree), tmp_path / "store"
    copy = materialise(code, store)
    made = copy.stat().st_ino
    assert materialise(code, store).stat().st_ino == made
    (copy / "pipe.py").chmod(0o644)
    (copy / "pipe.py").write_text("import evil\n")
    with pytest.raises(IntegrityViolation) as caught:
        materialise(code, store)
    assert caught.value.code == "code_store_altered"
    (copy / "pipe.py").write_text("import luigi\n")
    copy.chmod(0o755)
    (copy / "pipe.pyc").write_bytes(b"")  # Python would import it, no digest covers it
    with pytest.raises(IntegrityViolation):
        materialise(code, store)


def test_code_two_launches_may_keep_the_same_tree_at_once(tree: Path, tmp_path: Path) -> None:
    """Whoever comes second finds the first one's copy, and leaves nothing of its own."""
    code, store = read_tree(tree), tmp_path / "store"
    first = materialise(code, store)

    class Late(type(store)):  # type: ignore[misc]
        """A store that looks empty to the check, as it did a moment ago."""

        def exists(self, **_: bool) -> bool:
            return False

    assert materialise(code, Late(store)) == first
    assert [path.name for path in store.iterdir()] == [code.digest]


def test_code_guest_computes_the_same_digest(tree: Path) -> None:
    """The check in the sandbox passes for exactly this tree."""
    code = read_tree(tree)
    check(str(tree), code.digest)
    (tree / "pipe.py").write_text("import luigi \n")
    with pytest.raises(GuestError):
        check(str(tree), code.digest)


@pytest.mark.parametrize("name", ["x.pyc", ".hidden", "__pycache__/a", "link"])
def test_code_guest_refuses_what_the_digest_leaves_out(tree: Path, name: str) -> None:
    """In the tree that runs, nothing may lie beside the digest."""
    code = read_tree(tree)
    path = tree / name
    path.parent.mkdir(exist_ok=True)
    if name == "link":
        path.symlink_to("pipe.py")
    else:
        path.write_text("")
    with pytest.raises(GuestError):
        check(str(tree), code.digest)


def test_code_digest_of_nothing_is_a_digest() -> None:
    """An empty tree has one too, and it is not that of any other."""
    assert code_digest({}) != code_digest({"a": b""})
