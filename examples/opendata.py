"""A small server of open data on loopback: the files that the package `vega_datasets` ships.

It serves a fixed list of names under ``/data/``, read-only, and nothing else of this machine: a
request names an entry of the list, never a path. The pipelines in this folder fetch from it.

    python examples/opendata.py [--port 8731]
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import hmac
import json
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

DEFAULT_PORT = 8731
NAMES = (
    "airports.csv",
    "cars.json",
    "iowa-electricity.csv",
    "seattle-temps.csv",
    "seattle-weather.csv",
    "sf-temps.csv",
    "stocks.csv",
    "us-employment.csv",
    "wheat.json",
)
TYPES = {".csv": "text/csv; charset=utf-8", ".json": "application/json"}


class OpenDataServer:
    """Serve the open data on 127.0.0.1 while the ``with`` block lasts, from a thread.

    ``port`` is tried first; where it is taken, the system picks a free one: read ``url``. With a
    ``key``, requests need ``Authorization: Bearer KEY``. Raises ``FileNotFoundError`` where the
    package or one of its files is missing.
    """

    def __init__(
        self, port: int = DEFAULT_PORT, *, key: str | None = None, verbose: bool = False
    ) -> None:
        handler = partial(_Handler, files=read_files(), key=key, verbose=verbose)
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is really listened on."""
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        """The base address: what the pipelines take as ``source``."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def read_files() -> dict[str, bytes]:
    """Return the bytes of every listed file, by name."""
    package = find_spec("vega_datasets")  # finds it without importing it
    if package is None or package.origin is None:
        raise FileNotFoundError("the package vega-datasets is not installed")
    folder = Path(package.origin).with_name("_data")
    return {name: (folder / name).read_bytes() for name in NAMES}


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the list and for its entries."""

    server_version = "OpenData"
    sys_version = ""
    timeout = 30  # seconds for a client to say what it wants

    def __init__(
        self, *args: object, files: Mapping[str, bytes], key: str | None, verbose: bool
    ) -> None:
        self._files, self._key, self._verbose = files, key, verbose
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer with a file, or with the list of files at ``/``."""
        if self._key is not None and not self._authorized(self._key):
            self._answer(HTTPStatus.UNAUTHORIZED, b"a key is needed\n", "text/plain")
        elif self.path == "/":
            sizes = {name: len(body) for name, body in self._files.items()}
            self._answer(HTTPStatus.OK, json.dumps(sizes, indent=1).encode(), TYPES[".json"])
        elif (name := self.path.removeprefix("/data/")) != self.path and name in self._files:
            self._answer(HTTPStatus.OK, self._files[name], TYPES[Path(name).suffix])
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"no such data set\n", "text/plain")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _authorized(self, key: str) -> bool:
        given = self.headers.get("Authorization", "").encode()
        return hmac.compare_digest(given, f"Bearer {key}".encode())

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()[:32]}"')
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Print requests where that was asked for."""
        if self._verbose:
            super().log_message(format, *args)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve open data on loopback.")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port (%(default)s)")
    options = parser.parse_args()
    with OpenDataServer(options.port, verbose=True) as server, suppress(KeyboardInterrupt):
        sys.stdout.write(
            f"{len(NAMES)} data sets at {server.url}/data/NAME, listed at {server.url}/\n"
        )
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
