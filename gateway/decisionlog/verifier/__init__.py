"""Verify a decision log without trusting the gateway that wrote it, or anybody who runs it.

This folder needs Python 3.11 and ``cryptography``, and nothing else of Sluice: copy it anywhere
and run ``python -m verifier LOG PUBLIC_KEY [CHECKPOINTS]``. LOG is the gateway's SQLite database,
opened read-only, or an NDJSON export. CHECKPOINTS is a copy of ``checkpoints.log`` kept where the
gateway cannot write: with it, a log that was cut together with its checkpoints is caught too.

Three files do it: ``proofs`` (hashes, RFC 9162), ``checkpoints`` (signatures, C2SP) and ``replay``
(the whole tree once more); ``sources`` only reads files, and ``report`` only words what was found.
"""

from .checkpoints import Checkpoint, VerifierKey, parse_checkpoint
from .proofs import verify_consistency, verify_inclusion
from .report import DamagedError, Report
from .verdict import verify, verify_proof

__all__ = [
    "Checkpoint",
    "DamagedError",
    "Report",
    "VerifierKey",
    "parse_checkpoint",
    "verify",
    "verify_consistency",
    "verify_inclusion",
    "verify_proof",
]
