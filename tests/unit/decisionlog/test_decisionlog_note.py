"""Signed checkpoints: the C2SP formats, and nothing but them."""

from __future__ import annotations

import base64
import string

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.decisionlog import note
from gateway.decisionlog.verifier import Checkpoint, VerifierKey
from gateway.errors import IntegrityViolation, Misconfigured

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "sluice.test/log"
CHECKPOINT = Checkpoint(ORIGIN, 42, bytes(range(32)))
PUBLIC = note.verifier_key(ORIGIN, KEY)
TEXT = note.sign(CHECKPOINT, KEY)


def test_a_checkpoint_reads_as_the_format_says() -> None:
    """Origin, size and root on a line each, an empty line, the signature."""
    lines = TEXT.split("\n")
    assert lines[:4] == [ORIGIN, "42", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", ""]
    assert lines[4].startswith(f"\u2014 {ORIGIN} ")
    assert lines[5:] == [""]
    assert note.parse(TEXT) == CHECKPOINT
    assert note.verify(TEXT, PUBLIC) == CHECKPOINT


def test_a_verifier_key_that_others_made_is_read() -> None:
    """One of the published vectors of Go's signed notes: the key's hash is computed alike."""
    parsed = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    assert (parsed.name, parsed.identifier.hex()) == ("PeterNeumann", "c74f20a3")


def test_every_flipped_bit_is_noticed() -> None:
    """In the body as in the signature: there is one way to write a checkpoint."""
    data = TEXT.encode()
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityViolation) as caught:
            note.verify(changed.decode(errors="replace"), PUBLIC)
        assert caught.value.code == "checkpoint_invalid"


def test_every_flipped_bit_of_the_key_is_noticed() -> None:
    """Its own hash is in it."""
    data = PUBLIC.encode()
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityViolation):
            note.verify(TEXT, changed.decode(errors="replace"))


def test_signatures_of_others_are_ignored() -> None:
    """Witnesses add theirs, before or after ours."""
    body, signature = TEXT.split("\n\n")
    other = note.sign(CHECKPOINT._replace(origin="witness"), KEY).split("\n\n")[1]
    assert note.verify(f"{body}\n\n{other}{signature}", PUBLIC) == CHECKPOINT
    assert note.verify(f"{body}\n\n{signature}{other}", PUBLIC) == CHECKPOINT
    with pytest.raises(IntegrityViolation):
        note.verify(f"{body}\n\n{other}", PUBLIC)


def test_another_key_of_the_same_name_is_not_ours() -> None:
    """Neither is ours on a checkpoint of another log."""
    stranger = Ed25519PrivateKey.generate()
    with pytest.raises(IntegrityViolation):
        note.verify(note.sign(CHECKPOINT, stranger), PUBLIC)
    with pytest.raises(IntegrityViolation):
        note.verify(note.sign(CHECKPOINT._replace(origin="other"), KEY), PUBLIC)


def test_a_key_speaks_for_its_own_log_only() -> None:
    """A body of another log, signed under our name."""
    body = TEXT.split("\n\n")[0].replace(ORIGIN, "other") + "\n"
    ours = base64.b64decode(TEXT.split(" ")[-1])[:4]
    signature = base64.b64encode(ours + KEY.sign(body.encode())).decode()
    with pytest.raises(IntegrityViolation):
        note.verify(f"{body}\n\u2014 {ORIGIN} {signature}\n", PUBLIC)


def test_stray_bits_in_base64_are_refused() -> None:
    """They decode to the same signature, and are another text."""
    assert TEXT.endswith("=\n")
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    last = alphabet.index(TEXT[-3])
    with pytest.raises(IntegrityViolation):
        note.verify(f"{TEXT[:-3]}{alphabet[last + 1]}=\n", PUBLIC)


@pytest.mark.parametrize("origin", ["", "two words", "plus+plus", "new\nline"])
def test_a_name_that_breaks_the_format_is_refused(origin: str) -> None:
    """At the start, where the operator sees it."""
    with pytest.raises(Misconfigured):
        note.verifier_key(origin, KEY)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "a\n1\n\n", f"{ORIGIN}\n042\nAAAA\n\n", f"{ORIGIN}\n-1\nAAAA\n\n"]
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """Without being verified, too."""
    with pytest.raises(IntegrityViolation):
        note.parse(text)
