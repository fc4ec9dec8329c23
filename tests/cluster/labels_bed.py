"""Which policy each pod's label named when it was made: the server's word, from a watch of our own.

Its audit log has no bodies, so labels are not in it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from bed.api import Object
from pods_bed import Witness

from gateway.cluster.marks import PROFILE_LABEL
from gateway.network.marks import policy_name


class Labels(Witness):
    """Sees every pod of a namespace, questions too."""

    def __init__(self) -> None:
        super().__init__()
        self.worn: dict[str, str] = {}  # pod to policy, both by name

    def _see(self, pod: Object, kind: str) -> None:
        meta = pod["metadata"]
        if kind == "ADDED":
            self.worn[meta["name"]] = policy_name((meta.get("labels") or {}).get(PROFILE_LABEL, ""))
        super()._see(pod, kind)


@contextlib.asynccontextmanager
async def labels(kubeconfig: Path, namespace: str) -> AsyncIterator[dict[str, str]]:
    """Yield the policies that new pods name; at the end no task may have had two living pods."""
    found, ready = Labels(), asyncio.Event()
    looking = asyncio.create_task(found.look(kubeconfig, namespace, ready))
    await ready.wait()
    try:
        yield found.worn
        await asyncio.sleep(0.2)  # what the server has said by now arrives
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        await asyncio.sleep(0.25)  # a TLS connection that was cut off says goodbye
    assert found.most <= 1
