"""The log of one attempt: what its process writes, in a file of ours, up to a size.

The process holds a pipe and never the file: it cannot read what others wrote, change what it wrote
itself, or fill the disk. What goes beyond the size is read and dropped, so the task never waits.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Self

_CHUNK = 65_536
_MAX_ROUND = 16  # chunks at a time, so that a chatty task leaves the event loop to others


class TaskLog:
    """An open log; give ``writer`` to the process, and close here what was given away."""

    def __init__(self, path: Path, limit: int) -> None:
        """Create the file, mode 0600. ``limit`` in bytes. Needs a running event loop."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags, 0o600)
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._left = limit
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._pump)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Take what is in the pipe still, and close everything."""
        self._loop.remove_reader(self._reader)
        self._pump()
        os.close(self._reader)
        os.close(self._file)
        self.release_writer()

    def release_writer(self) -> None:
        """Close our copy of the writing end, once the process has its own."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def _pump(self) -> None:
        for _ in range(_MAX_ROUND):
            try:
                data = os.read(self._reader, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                self._loop.remove_reader(self._reader)
                return
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        if self._left > 0:
            os.write(self._file, data[: self._left])
            if len(data) > self._left:
                os.write(self._file, f"\n[cut after {self._limit} bytes]\n".encode())
        self._left -= len(data)
