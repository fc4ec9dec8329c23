"""What a pod says is read by the gateway, and by nobody who may only read pods."""

from __future__ import annotations

from pathlib import Path

import pytest
from guest_bench import copy_of
from guest_pod import PodBench, key_of, node_of

from gateway.cluster.message import MessageError, parse_graph, parse_run
from gateway.cluster.sealing import is_sealed, opened_report

DAY = {"date": "2026-01-02"}


@pytest.fixture
def shop(tmp_path: Path) -> PodBench:
    """Return the shop in pods."""
    return PodBench(tmp_path, copy_of("shop", tmp_path / "source"))


def test_pod_seals_what_it_says_under_its_key(shop: PodBench) -> None:
    """With a key in the order, neither status nor log tells a private value to who reads them."""
    key = b"k" * 32
    order = shop.order("resolve", "shop", family="Report", parameters=DAY, seal=key.hex())
    said = shop.say(order, mounted=True)
    with pytest.raises(MessageError):
        parse_graph(said.message, said.log, 1 << 20)
    with pytest.raises(MessageError):  # the report alone is not enough
        parse_graph(opened_report(said.message, key), said.log, 1 << 20)
    told = parse_graph(opened_report(said.message, key), said.log, 1 << 20, key)
    values = [
        item["value"] for node in told.answer["nodes"] for item in node["parameters"].values()
    ]
    assert "t0ken" in values
    graph = shop.resolve("shop", "Report", ("date",), **DAY)
    node = node_of(graph, key_of(graph, "Clean"))
    order = shop.order("run", "shop", node=node, known=[], families=[], seal=key.hex())
    said = shop.say(order, mounted=True)
    assert is_sealed(said.message)
    assert parse_run(opened_report(said.message, key), graph, [], []).status == "DONE"
