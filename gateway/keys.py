"""The installation's secret keys: each 32 random bytes in a file of its own.

Keys stay out of the database, so that a copy of it, or a password to it, is not enough to guess a
masked value, to read a sealed one or to forge a log entry. No key byte may reach a ``repr``, an
error or a log.

The key that signs checkpoints is not here: the signer's process alone reads it.
"""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.canonical import Json, decode, encode
from gateway.errors import IntegrityViolation, Misconfigured
from gateway.store import files

LENGTH = 32  # bytes of every key
_NONCE = 12  # bytes; what AES-GCM expects
_SEALED_V1 = b"\x01"  # first byte of sealed data, authenticated with the context


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The three keys that the gateway itself uses."""

    installation: bytes = field(repr=False)  # HMAC of masked values: see canonical.keyed
    sealing: bytes = field(repr=False)  # AES-256-GCM of masked parameters
    writer: bytes = field(repr=False)  # MAC beside each leaf of the decision log

    @classmethod
    def open(cls, directory: Path) -> KeyRing:
        """Read the keys below ``directory`` (mode 0700), creating what is absent.

        Raises ``Misconfigured`` when a file can be read by others, is damaged or unreadable.
        """
        return cls(
            installation=secret(directory / "installation.key"),
            sealing=secret(directory / "sealing.key"),
            writer=secret(directory / "writer.key"),
        )

    def seal(self, value: Json, context: str) -> bytes:
        """Encrypt ``value`` so that only ``unseal`` with the same ``context`` opens it."""
        nonce = os.urandom(_NONCE)
        bound = _SEALED_V1 + context.encode()
        return _SEALED_V1 + nonce + AESGCM(self.sealing).encrypt(nonce, encode(value), bound)

    def unseal(self, data: bytes, context: str) -> Json:
        """Return what ``seal`` was given.

        Raises ``IntegrityViolation`` when the bytes were changed, or sealed for another context
        or under another key.
        """
        version, nonce, hidden = data[:1], data[1 : 1 + _NONCE], data[1 + _NONCE :]
        try:
            clear = AESGCM(self.sealing).decrypt(nonce, hidden, version + context.encode())
        except (InvalidTag, ValueError) as error:
            raise IntegrityViolation(
                "sealed_value_damaged",
                "a sealed value cannot be opened: it was changed, or belongs somewhere else",
                diagnostics=f"context {context}",
            ) from error
        return decode(clear)


def signing_key_path(directory: Path) -> Path:
    """Return where the signer's process keeps its Ed25519 seed, below the keys' directory."""
    return directory / "log-signing.key"


def verifier_key_path(directory: Path) -> Path:
    """Return where the signer publishes the text that verifies its checkpoints (mode 0644)."""
    return directory / "log.vkey"


def secret(path: Path) -> bytes:
    """Return the 32 bytes of a key file, creating it (mode 0600) when absent.

    Raises ``Misconfigured`` naming the file and the command that puts it right.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_exposed(path.parent, path.parent.stat().st_mode, "700")
        if not path.exists():
            files.create_once(path, os.urandom(LENGTH), mode=0o600)
        with path.open("rb") as file:
            _refuse_exposed(path, os.fstat(file.fileno()).st_mode, "600")
            data = file.read(LENGTH + 1)
    except OSError as error:
        raise Misconfigured("key_unreadable", f"cannot use the key file {path}: {error}") from error
    if len(data) != LENGTH:
        raise Misconfigured(
            "key_damaged", f"{path} does not hold {LENGTH} bytes: restore it from a backup"
        )
    return data


def _refuse_exposed(path: Path, mode: int, wanted: str) -> None:
    if stat.S_IMODE(mode) & 0o077:
        raise Misconfigured(
            "key_exposed",
            f"{path} is open to other users: run chmod {wanted} {shlex.quote(str(path))}",
        )
