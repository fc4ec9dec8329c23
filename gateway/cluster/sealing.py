"""Keys under which pods seal what they say, and how it is opened; ``guest/pod_seal`` seals.

Reports and graphs may hold values that the catalogue masks, and stand in a pod's status and log,
which more people may read than Secrets. A key is made of the installation's and the pod's uid, so
each pod has its own and the gateway need keep none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

_REPORT = b"report"
_GRAPH = b"graph"
_MARK = "s:"


def pod_key(installation_key: bytes, uid: str) -> bytes:
    """Return the key of one pod: 32 bytes, by HMAC-SHA256 (RFC 2104)."""
    return hmac.digest(installation_key, f"sluice pod report {uid}".encode(), "sha256")


def is_sealed(text: str) -> bool:
    """Whether a report is sealed."""
    return text.startswith(_MARK)


def opened_report(text: str, key: bytes) -> str:
    """Return a sealed report as it was before; one that makes no sense is returned as it is."""
    try:
        data = base64.b64decode(text.removeprefix(_MARK), validate=True)
    except ValueError:
        return text  # which no parser takes for a report
    return _mixed(data, key, _REPORT).decode(errors="replace")


def opened_graph(data: bytes, key: bytes) -> bytes:
    """Return the bytes of a graph as they were before they were sealed."""
    return _mixed(data, key, _GRAPH)


def _mixed(data: bytes, key: bytes, purpose: bytes) -> bytes:
    stream = hashlib.shake_256(key + purpose).digest(len(data))
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")
    return mixed.to_bytes(len(data), "big")
