"""The negative probe: a host that is alive must be out of this pod's reach."""

from __future__ import annotations

import socket
import time

_PATIENCE = 1.0  # seconds for one connection: within a cluster it takes milliseconds
_PAUSE = 0.25


def reached(host: str, port: int, seconds: float) -> bool:
    """Return whether anything at ``host`` answers within ``seconds``; at least one try is made.

    Tries again until the end: policy may come into force late, and must then be found missing.
    A refused connection is an answer too: somebody out there sent it.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), timeout=_PATIENCE).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE)
        else:
            return True
