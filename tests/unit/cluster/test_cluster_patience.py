"""How long nobody's answer is waited for, and what is never asked twice."""

from __future__ import annotations

import time

import pytest

from gateway.cluster.client import ClusterAway, ClusterRefused
from gateway.cluster.patience import Patience, refused


class Server:
    """Away for some calls, then there."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.calls = 0

    async def __call__(self) -> str:
        """Answer, or not."""
        self.calls += 1
        if self.calls <= self.away:
            raise ClusterAway("cluster_away", "nobody there")
        return "here"


async def test_network_patience_asks_again() -> None:
    """A call that nobody answered is repeated, at growing intervals."""
    server = Server(away=3)
    began = time.monotonic()
    assert await Patience(10).call(server) == "here"
    assert server.calls == 4
    assert 0.3 < time.monotonic() - began < 3


async def test_network_patience_ends() -> None:
    """When the seconds are over, the last error comes with the step."""
    server = Server(away=1000)
    began = time.monotonic()
    with pytest.raises(ClusterAway) as error:
        await Patience(0.5, "decide").call(server)
    assert error.value.step == "decide"
    assert server.calls > 1
    assert time.monotonic() - began < 2


async def test_network_patience_of_none_asks_once() -> None:
    """Without seconds every call is made exactly once."""
    server = Server(away=1)
    with pytest.raises(ClusterAway):
        await Patience(0).call(server)
    assert server.calls == 1


async def test_network_patience_repeats_no_refusal() -> None:
    """A no is a no."""
    calls = []

    async def no() -> str:
        calls.append(1)
        raise ClusterRefused(403, "Forbidden", "binder cannot list it")

    with pytest.raises(ClusterRefused):
        await Patience(10).call(no)
    assert calls == [1]


@pytest.mark.parametrize(("status", "code"), [(403, "cluster_forbids"), (422, "cluster_refuses")])
def test_network_refusal_has_the_servers_words(status: int, code: str) -> None:
    """An operator reads what the server said, about what."""
    error = refused("the policy x", ClusterRefused(status, "Reason", "because"))
    assert error.code == code
    assert "the cluster refuses the policy x: because" in error.public_message
    assert ("kubectl" in error.public_message) == (status == 403)
