"""Resolving 1,000 tasks in the sandbox, beside a bare Luigi walk in a fresh process."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, paired
from gateway.graph.resolver import SandboxResolver
from gateway.settings import SandboxSettings

SOURCE = Path(__file__).parent / "pipelines" / "wide"
TASKS = 1000
_WALK = """
import sys
sys.path.insert(0, sys.argv[1])
import luigi, wide
root = wide.Wide(n=int(sys.argv[2]))
seen, queue = {root.task_id}, [root]
while queue:
    task = queue.pop()
    task.to_str_params()
    for dep in task.deps():
        if dep.task_id not in seen:
            seen.add(dep.task_id)
            queue.append(dep)
assert len(seen) == int(sys.argv[2])
"""


async def measure() -> list[Figure]:
    """Return seconds for a whole resolve."""
    with tempfile.TemporaryDirectory() as folder:
        resolver = SandboxResolver(SandboxSettings(), Path(folder), b"k" * 32)

        async def ours() -> object:
            return await resolver.resolve(
                source=SOURCE,
                module="wide",
                family="Wide",
                parameters={"n": str(TASKS)},
                shown=frozenset({"n", "milliseconds"}),
                emits={},
                base_classes=(),
            )

        async def bare() -> object:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _WALK, str(SOURCE), str(TASKS)
            )
            return await process.wait()

        value, reference = await paired(ours, bare, rounds=5)
    return [Figure(f"resolve {TASKS} tasks", value, "s", "s, bare Luigi walk", reference)]
