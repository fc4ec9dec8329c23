"""Write signed checkpoints: C2SP tlog-checkpoint, in a signed-note, with an Ed25519 signature.

Reading and verifying them is in ``verifier``, which stands alone; here its findings become the
gateway's errors.
"""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.decisionlog.verifier import Checkpoint, DamagedError, VerifierKey, parse_checkpoint
from gateway.decisionlog.verifier.checkpoints import ED25519, key_identifier
from gateway.errors import IntegrityViolation, Misconfigured


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """Return the checkpoint's text with our signature below it."""
    body = f"{checkpoint.origin}\n{checkpoint.size}\n{_base64(checkpoint.root)}\n"
    identifier = key_identifier(checkpoint.origin, key.public_key().public_bytes_raw())
    signature = _base64(identifier + key.sign(body.encode()))
    return f"{body}\n\u2014 {checkpoint.origin} {signature}\n"


def verifier_key(origin: str, key: Ed25519PrivateKey) -> str:
    """Return the text by which anybody verifies what ``key`` signs for the log ``origin``.

    Raises ``Misconfigured`` when the name cannot stand in a note: it holds no space and no plus.
    """
    if not origin or "+" in origin or any(char.isspace() for char in origin):
        raise Misconfigured(
            "log_origin_invalid",
            f"a log cannot be named {origin!r}: use a name without spaces and plus signs",
            field="log.origin",
        )
    public = key.public_key().public_bytes_raw()
    identifier = key_identifier(origin, public).hex()
    return f"{origin}+{identifier}+{_base64(ED25519 + public)}"


def parse(text: str) -> Checkpoint:
    """Read a checkpoint without believing it. Raises ``IntegrityViolation``."""
    try:
        return parse_checkpoint(text)
    except DamagedError as error:
        raise _invalid(error) from error


def verify(text: str, public_key: str) -> Checkpoint:
    """Return what the key signed. Raises ``IntegrityViolation`` (``checkpoint_invalid``)."""
    try:
        return VerifierKey.parse(public_key).open(text)
    except DamagedError as error:
        raise _invalid(error) from error


def _invalid(error: DamagedError) -> IntegrityViolation:
    return IntegrityViolation("checkpoint_invalid", f"a log checkpoint is not valid: {error}")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
