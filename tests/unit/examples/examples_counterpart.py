"""The other parties that two pipelines talk to: a partner, a customer system and a web site.

A real HTTP server on loopback that remembers what was sent to it.
"""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

COUNTRIES = ("SE", "se ", "NO", "SE", "FI", "NO", "SE")


def customers() -> list[dict[str, str]]:
    """Return personal records, some of them twice in another spelling."""
    records = [
        {
            "email": f"person{number}@mail.example",
            "name": f"Person  Number{number}",
            "country": COUNTRIES[number % len(COUNTRIES)],
            "plan": "Free" if number % 3 else "team",
            "joined": f"2026-11-{16 + number % 7}",
        }
        for number in range(21)
    ]
    return [*records, {**records[0], "email": " PERSON0@mail.example "}]


class Counterpart:
    """Answers under ``/partner``, ``/crm`` and ``/web``; ``received`` lists the requests."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        handler = partial(_Handler, received=self.received)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def at(self, path: str) -> list[dict[str, Any]]:
        """Return the requests whose path begins so."""
        return [request for request in self.received if request["path"].startswith(path)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, *args: Any, received: list[dict[str, Any]]) -> None:
        self._received = received
        super().__init__(*args)

    def do_GET(self) -> None:
        self._answer(json.dumps(customers()).encode())

    def do_POST(self) -> None:
        self._answer(b'{"url": "https://www.example.com/digests/1"}')

    def _answer(self, body: bytes) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._received.append(
            {
                "method": self.command,
                "path": self.path,
                "headers": dict(self.headers),
                "body": self.rfile.read(length),
            }
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""
