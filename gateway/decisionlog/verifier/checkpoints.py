"""Signed checkpoints: the C2SP signed-note and tlog-checkpoint formats, with Ed25519.

There is one way to write each thing: base64 with stray bits, or a size with a leading zero, is
refused. Signatures by keys that we do not know are ignored, as the format asks: witnesses add them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .report import DamagedError

ED25519 = b"\x01"  # the algorithm's number in a key's identifier
_ROOT, _KEY, _SIGNATURE = 32, 33, 68  # bytes; the last two with their prefixes
_SIZE = re.compile("0|[1-9][0-9]{0,15}")


class Checkpoint(NamedTuple):
    """What a signed checkpoint says: the log's name, how many entries, and their root."""

    origin: str
    size: int
    root: bytes


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint without believing it. Raises ``DamagedError``."""
    match text.rpartition("\n\n")[0].split("\n"):
        case [origin, size, root, *_] if origin and _SIZE.fullmatch(size):
            return Checkpoint(origin, int(size), _base64(root, _ROOT))
    raise DamagedError("it is not a checkpoint")


def key_identifier(name: str, public_key: bytes) -> bytes:
    """Return the four bytes by which signatures of an Ed25519 key are found."""
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public_key).digest()[:4]


@dataclass(frozen=True)
class VerifierKey:
    """The public key of a log's signer, as text ``name+hash+base64``."""

    name: str
    identifier: bytes
    public: Ed25519PublicKey

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a key. Raises ``DamagedError``."""
        match text.strip().split("+", 2):
            case [name, claimed, encoded] if name:
                data = _base64(encoded, _KEY)
                identifier = key_identifier(name, data[1:])
                if data[:1] == ED25519 and claimed == identifier.hex():
                    return cls(name, identifier, Ed25519PublicKey.from_public_bytes(data[1:]))
        raise DamagedError("it is not an Ed25519 verifier key")

    def open(self, text: str) -> Checkpoint:
        """Return what this key signed. Raises ``DamagedError``."""
        checkpoint = parse_checkpoint(text)
        body, _, signatures = text.rpartition("\n\n")
        ours = re.compile(f"^\u2014 {re.escape(self.name)} (\\S+)\n", re.MULTILINE)
        for encoded in ours.findall(signatures):
            data = _base64(encoded, _SIGNATURE)
            if data[:4] == self.identifier and checkpoint.origin == self.name:
                try:
                    self.public.verify(data[4:], f"{body}\n".encode())
                except InvalidSignature:
                    break
                return checkpoint
        raise DamagedError("it has no valid signature by this key")


def _base64(text: str, length: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if len(data) != length or base64.b64encode(data).decode() != text:
        raise DamagedError(f"it has something else where base64 of {length} bytes belongs")
    return data
