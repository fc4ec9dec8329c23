"""Read what a sandboxed process says, up to a bound: it may say more than we have memory for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

_CHUNK = 65_536


class CappedPipe:
    """A pipe whose write end is given away, and whose bytes are kept up to ``limit``.

    What comes after is read and dropped, so that the writer is never blocked by us. ``on_excess``
    is called once when that begins. Use as a context manager; close the write end with
    ``given_away`` once the process has it, or the end never comes.
    """

    def __init__(self, limit: int, on_excess: Callable[[], None] | None = None) -> None:
        self.excess = False
        self._limit = limit
        self._on_excess = on_excess
        self._data = bytearray()
        self._read_end, self.write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.write_end, True)
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._read_end, self._read)

    def given_away(self) -> None:
        """Close our copy of the write end."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    async def collect(self) -> bytes:
        """Return what was kept, once every writer has closed its end."""
        await asyncio.shield(self._ended)
        return bytes(self._data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.given_away()
        if not self._ended.done():
            self._finish()

    def _read(self) -> None:
        try:
            chunk = os.read(self._read_end, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._finish()
            return
        room = self._limit - len(self._data)
        self._data += chunk[:room]
        if len(chunk) > room and not self.excess:
            self.excess = True
            if self._on_excess is not None:
                self._on_excess()

    def _finish(self) -> None:
        asyncio.get_running_loop().remove_reader(self._read_end)
        os.close(self._read_end)
        self._ended.set_result(None)
