"""Sealed reports and graphs: what a pod seals the gateway opens, and nobody else reads."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from gateway.cluster.message import MAX_MESSAGE
from gateway.cluster.sealing import is_sealed, opened_graph, opened_report, pod_key
from gateway.guest import pod_seal

KEYS = st.binary(min_size=32, max_size=32)


@given(st.text(max_size=3000), KEYS)
def test_report_comes_back(report: str, key: bytes) -> None:
    """The guest and the gateway, which share no code, mean the same by a sealed report."""
    sealed = pod_seal.sealed_report(report.encode(), key).decode()
    assert is_sealed(sealed)
    assert opened_report(sealed, key) == report


@given(st.binary(max_size=5000), KEYS)
def test_graph_comes_back(data: bytes, key: bytes) -> None:
    """The same of a graph, under another stream of the same key."""
    sealed = pod_seal.sealed(data, key, pod_seal.GRAPH)
    assert opened_graph(sealed, key) == data
    if len(data) > 8:
        assert pod_seal.sealed(data, key, pod_seal.REPORT) != sealed


@given(st.text(), KEYS)
def test_nonsense_never_raises(text: str, key: bytes) -> None:
    """Whatever a pod writes behind the mark is opened to something, for parsers to refuse."""
    assert isinstance(opened_report(f"s:{text}", key), str)


def test_room_is_what_fits() -> None:
    """The largest report that the guest makes still fits a termination message when sealed."""
    report = b"x" * pod_seal.room(MAX_MESSAGE)
    assert MAX_MESSAGE - 4 < len(pod_seal.sealed_report(report, bytes(32))) <= MAX_MESSAGE


def test_keys_are_each_pods_own() -> None:
    """Two pods, or two installations, share no key, and a sealed value is not readable."""
    keys = {pod_key(root, uid) for root in (b"a" * 32, b"b" * 32) for uid in ("1", "2")}
    assert len(keys) == 4
    sealed = pod_seal.sealed_report(b'{"secret": "hush-hush"}', keys.pop())
    assert b"hush" not in sealed + base64.b64decode(sealed[2:])
