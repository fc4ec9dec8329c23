"""The driver's end of the socket: whole messages in, whole messages out, nothing in between."""

from __future__ import annotations

import select
import socket

from gateway.runs.protocol import MAX_LINE, Message, decode, encode


class Wire:
    """The driver's end of the socket: whole messages in, whole messages out."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over a connected stream socket."""
        self._socket = connection
        self._rest = b""

    def send(self, message: Message) -> None:
        """Write one message; ends the process when the gateway is gone."""
        try:
            self._socket.sendall(encode(message))
        except OSError:
            raise SystemExit(1) from None

    def receive(self, timeout: float | None) -> list[Message]:
        """Return the messages that arrive within ``timeout`` seconds, as soon as there is one."""
        if not select.select([self._socket], [], [], timeout)[0]:
            return []
        try:
            data = self._socket.recv(1 << 20)
        except OSError:
            data = b""
        if not data or len(self._rest) > MAX_LINE:
            raise SystemExit(1)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [decode(line) for line in lines]
