"""The installation's keys: private files, sealed values, nothing shown."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.errors import IntegrityViolation, Misconfigured
from gateway.keys import KeyRing, signing_key_path, verifier_key_path

NAMES = ("installation", "sealing", "writer")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return where the keys of a test live."""
    return tmp_path / "keys"


def test_first_open_creates_private_keys(directory: Path) -> None:
    """Each key is its own 32 random bytes, mode 0600, in a directory of mode 0700."""
    ring = KeyRing.open(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {path.name for path in directory.iterdir()} == {f"{name}.key" for name in NAMES}
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert len({ring.installation, ring.sealing, ring.writer}) == 3
    assert {len(ring.installation), len(ring.sealing), len(ring.writer)} == {32}


def test_later_opens_read_the_same_keys(directory: Path) -> None:
    """Keys outlive the process."""
    assert KeyRing.open(directory) == KeyRing.open(directory)


def test_concurrent_first_opens_agree(directory: Path) -> None:
    """Several processes that start at once end up with one set of keys."""
    with ThreadPoolExecutor(8) as pool:
        rings = list(pool.map(KeyRing.open, [directory] * 8))
    assert len({ring.writer for ring in rings}) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(directory: Path, mode: int) -> None:
    """The error names the file and the command that puts it right."""
    KeyRing.open(directory)
    path = directory / "writer.key"
    path.chmod(mode)
    with pytest.raises(Misconfigured, match=f"chmod 600 {path}") as caught:
        KeyRing.open(directory)
    assert caught.value.code == "key_exposed"


def test_a_directory_that_others_can_enter_is_refused(directory: Path) -> None:
    """A key could be replaced there."""
    KeyRing.open(directory)
    directory.chmod(0o755)
    with pytest.raises(Misconfigured, match=f"chmod 700 {directory}"):
        KeyRing.open(directory)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_wrong_length_is_refused(directory: Path, size: int) -> None:
    """A cut or foreign file never becomes a weak key."""
    KeyRing.open(directory)
    (directory / "sealing.key").write_bytes(b"x" * size)
    with pytest.raises(Misconfigured, match=r"sealing\.key") as caught:
        KeyRing.open(directory)
    assert caught.value.code == "key_damaged"


def test_a_key_that_is_no_file_is_refused(directory: Path) -> None:
    """What cannot be read is the operator's to put right, not a traceback."""
    (directory / "writer.key").mkdir(parents=True)
    directory.chmod(0o700)
    with pytest.raises(Misconfigured):
        KeyRing.open(directory)


def test_repr_shows_no_key(directory: Path) -> None:
    """A key ring may end up in a log line; its keys may not."""
    ring = KeyRing.open(directory)
    assert repr(ring) == "KeyRing()"


def test_unseal_returns_what_was_sealed(directory: Path) -> None:
    """Sealing hides the value and is never twice the same."""
    ring, value = KeyRing.open(directory), {"node": {"password": "correct horse"}}
    sealed = ring.seal(value, "launch-1")
    assert ring.unseal(sealed, "launch-1") == value
    assert b"horse" not in sealed
    assert ring.seal(value, "launch-1") != sealed


def test_sealed_values_belong_to_their_context(directory: Path) -> None:
    """A value sealed for one launch cannot be moved to another."""
    ring = KeyRing.open(directory)
    with pytest.raises(IntegrityViolation) as caught:
        ring.unseal(ring.seal("value", "launch-1"), "launch-2")
    assert caught.value.code == "sealed_value_damaged"


def test_every_flipped_bit_of_a_sealed_value_is_noticed(directory: Path) -> None:
    """Version, nonce, text and tag are all authenticated."""
    ring = KeyRing.open(directory)
    sealed = ring.seal("v", "c")
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityViolation):
            ring.unseal(bytes(changed), "c")


@pytest.mark.parametrize("size", [0, 1, 12, 13, 28])
def test_a_cut_sealed_value_is_noticed(directory: Path, size: int) -> None:
    """However short it is."""
    ring = KeyRing.open(directory)
    with pytest.raises(IntegrityViolation):
        ring.unseal(ring.seal("value", "c")[:size], "c")


def test_another_key_opens_nothing(directory: Path, tmp_path: Path) -> None:
    """A copy of the database is worth nothing without its key."""
    other = KeyRing.open(tmp_path / "other")
    with pytest.raises(IntegrityViolation):
        other.unseal(KeyRing.open(directory).seal("value", "c"), "c")


def test_the_signing_key_is_the_signers_alone(directory: Path) -> None:
    """Opening the ring neither creates nor reads it."""
    KeyRing.open(directory)
    assert signing_key_path(directory) == directory / "log-signing.key"
    assert verifier_key_path(directory) == directory / "log.vkey"
    assert not signing_key_path(directory).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_key_is_refused(directory: Path) -> None:
    """Named, with the reason."""
    KeyRing.open(directory)
    (directory / "writer.key").chmod(0o000)
    with pytest.raises(Misconfigured):
        KeyRing.open(directory)
