"""One figure: a measured value, the reference that was measured in the same run, and the ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """``value`` and ``reference`` share ``unit``; ``ratio`` is value over reference."""

    name: str
    value: float
    unit: str
    reference_name: str = ""
    reference: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value over reference, where there is a reference."""
        return self.value / self.reference if self.reference else None

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``build/bench.json``."""
        return {**asdict(self), "ratio": self.ratio}


async def paired(
    ours: Callable[[], Awaitable[object]],
    reference: Callable[[], Awaitable[object]],
    rounds: int,
) -> tuple[float, float]:
    """Return median seconds of both, measured in turn: A B A B, after one round unmeasured."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for index, call in enumerate((ours, reference)):
            start = time.perf_counter()
            await call()
            if number:
                times[index].append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process, in MB (Linux ``VmRSS``)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
