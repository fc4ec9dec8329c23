"""What the tests of the real resolver share: its settings, and how a refusal is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.graph.failures import Unresolvable
from gateway.graph.resolver import Resolution
from gateway.settings import SandboxSettings

PIPELINES = Path(__file__).parents[2] / "fixtures" / "pipelines"
SETTINGS = SandboxSettings(
    resolve_seconds=20, resolve_cpu_seconds=10, resolve_memory_mb=1024, max_nodes=5000
)
KEY = b"k" * 32

Resolve = Callable[..., Awaitable[Resolution]]


async def refused(call: Awaitable[Resolution]) -> Unresolvable:
    """Return why there is no graph."""
    with pytest.raises(Unresolvable) as caught:
        await call
    return caught.value
