"""The server of open data gives out its list of files and nothing else."""

from __future__ import annotations

import http.client
import json
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


def ask(server: Any, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, str]:
    """Return status, body and content type; the path goes out exactly as written."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers.get("Content-Type", "")
    finally:
        connection.close()


def test_every_listed_file_is_served_as_the_package_has_it(free_data: Any, opendata: Any) -> None:
    """Each name of the list answers with the package's bytes under the right type."""
    spec = find_spec("vega_datasets")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).with_name("_data")
    for name in opendata.NAMES:
        status, body, kind = ask(free_data, f"/data/{name}")
        assert (status, body) == (200, (folder / name).read_bytes())
        assert kind == opendata.TYPES[Path(name).suffix]


def test_root_lists_names_and_sizes(free_data: Any, opendata: Any) -> None:
    """A person who opens the address sees what there is."""
    status, body, _ = ask(free_data, "/")
    sizes = json.loads(body)
    assert status == 200
    assert tuple(sizes) == opendata.NAMES
    assert sizes["us-employment.csv"] > 10_000


@pytest.mark.parametrize(
    "path",
    [
        "/data/../opendata.py",
        "/data/../../../../etc/passwd",
        "/data/%2e%2e/%2e%2e/etc/passwd",
        "/data//etc/passwd",
        "/data/airports.csv/../cars.json",
        "/data/airports.csv%00",
        "/data/iris.json",  # in the package, not in the list
        "/data/",
        "/data",
        "/airports.csv",
    ],
)
def test_nothing_else_is_served(free_data: Any, path: str) -> None:
    """A request names an entry of the list: there is no path to walk."""
    status, body, _ = ask(free_data, path)
    assert (status, body) == (404, b"no such data set\n")


def test_head_has_no_body(free_data: Any) -> None:
    """HEAD answers like GET, without the bytes."""
    assert ask(free_data, "/data/stocks.csv", "HEAD")[:2] == (200, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(free_data: Any, method: str) -> None:
    """Methods that change things do not exist here."""
    assert ask(free_data, "/data/stocks.csv", method)[0] == 501


def test_a_key_is_asked_for_where_one_is_set(open_data: Any) -> None:
    """Without the exact bearer token not even the list is shown."""
    assert ask(open_data, "/")[0] == 401
    assert ask(open_data, "/data/stocks.csv", Authorization="Bearer wrong")[0] == 401
    assert ask(open_data, "/data/stocks.csv", Authorization="Bearer open-sesame-for-data")[0] == 200


def test_a_taken_port_is_answered_with_a_free_one(opendata: Any) -> None:
    """The demo starts although somebody else listens on the usual port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with opendata.OpenDataServer(taken.getsockname()[1]) as server:
            assert server.port != taken.getsockname()[1]
            assert ask(server, "/")[0] == 200


def test_leaving_the_block_ends_thread_and_listening(opendata: Any) -> None:
    """Nothing is left behind: no thread that serves, no port that is held."""
    with opendata.OpenDataServer(0) as server:
        assert server._thread.is_alive()
        port = server.port
    assert not server._thread.is_alive()
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))


def test_only_loopback_listens(free_data: Any) -> None:
    """The address that is bound is loopback, whatever other interfaces there are."""
    assert free_data._server.server_address[0] == "127.0.0.1"
