"""A gateway in a process of its own, which can be killed as a machine's end kills it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from gateway_bed import ROOT

from gateway.settings import Settings


def variables(settings: Settings) -> dict[str, str]:
    """Return the environment in which a gateway has these settings, as far as somebody set them."""
    chosen = settings.model_dump(mode="json", exclude_unset=True)
    return dict(_flat("SLUICE", chosen))


def _flat(prefix: str, chosen: Mapping[str, Any], between: str = "_") -> Iterator[tuple[str, str]]:
    for name, value in chosen.items():
        key = f"{prefix}{between}{name.upper()}"
        if isinstance(value, Mapping):
            yield from _flat(key, value, "__")
        elif value is not None:
            yield key, str(value).lower() if isinstance(value, bool) else str(value)


@asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run ``sluice serve`` until the block ends; yield the process and its address."""
    file = settings.state_dir.parent / "gateway.log"
    with file.open("ab") as log:
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve"),
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **variables(settings)},
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert started.stdout is not None
    try:
        line = (await asyncio.wait_for(started.stdout.readline(), 60)).decode()
        found = re.search(r"http://\S+", line)
        assert found, (line, file.read_text()[-2000:])
        yield started, found.group()
    finally:
        if started.returncode is None:
            started.send_signal(signal.SIGTERM)
            await asyncio.wait_for(started.wait(), 60)
