"""Hides what a pod says from those who may read pods, and may not read Secrets.

A termination message is part of the pod's status, and a log is a log; either may hold values that
the catalogue masks. The order brings a key that only this pod has, used for one report and one
graph. Nobody needs to be kept from changing them: what a pod says is untrusted anyhow. The standard
library has no cipher, so the key stream is SHAKE-256 (FIPS 202) over key and purpose.

The format is fixed by ``gateway/cluster/sealing.py``; a test holds the two together.
"""

from __future__ import annotations

import base64
import hashlib

REPORT = b"report"
GRAPH = b"graph"
_MARK = b"s:"


def room(limit: int) -> int:
    """Return how many bytes of a report fit into ``limit`` bytes when it is sealed."""
    return (limit - len(_MARK)) // 4 * 3


def sealed_report(report: bytes, key: bytes) -> bytes:
    """Return a report as text that means nothing without the key."""
    return _MARK + base64.b64encode(sealed(report, key, REPORT))


def sealed(data: bytes, key: bytes, purpose: bytes) -> bytes:
    """Return as many bytes, which mean nothing without the key; the same again undoes it."""
    stream = hashlib.shake_256(key + purpose).digest(len(data))
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")
    return mixed.to_bytes(len(data), "big")
