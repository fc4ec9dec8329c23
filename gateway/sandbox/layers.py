"""Which walls this machine can build: found out by building them, round an idle process.

The answer holds until the machine's configuration changes; the caller keeps it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Mapping

from gateway.sandbox.process import SandboxProcess
from gateway.sandbox.spec import LAYERS, Limits, SandboxSpec

_NOTHING = Limits(cpu_seconds=5, memory_mb=512, file_mb=1, processes=8)


def available_layers() -> Mapping[str, bool]:
    """Return each of ``LAYERS`` and ``REINFORCEMENTS`` with whether it can be had here.

    Takes about 0.1 s. Runs an event loop of its own, so call it in a thread where one runs.
    Raises ``Misconfigured`` (``sandbox_failed``) where not even a bare process can be started.
    """
    return asyncio.run(_try())


def missing(layers: Mapping[str, bool], required: Collection[str] = LAYERS) -> list[str]:
    """Return the layers of ``required`` that are not on, outermost first."""
    return [name for name in LAYERS if name in required and not layers.get(name, False)]


async def _try() -> Mapping[str, bool]:
    idle = [sys.executable, "-I", "-S", "-c", ""]
    async with await SandboxProcess.start(SandboxSpec(_NOTHING), idle) as process:
        await process.wait()
        return process.layers
