"""The driver process with real Luigi in it, spoken to as the gateway does, by a scripted peer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.runs.link import DriverLink
from gateway.runs.protocol import (
    Exited,
    Finished,
    Kill,
    Message,
    Plan,
    PlanNode,
    PlanSettings,
    Settled,
    Start,
)

SETTINGS = PlanSettings(parallel_tasks=4, retry_count=2, retry_delay=0.05, task_timeout=0)


def node(key: str, *deps: str, **more: Any) -> PlanNode:
    """Return a plain task, changed by ``more``."""
    fields: dict[str, Any] = {
        "kind": "task",
        "complete": False,
        "priority": 0,
        "resources": {},
        "retry_count": None,
        "worker_timeout": None,
        "disabled": False,
        "attempts": 0,
    }
    return PlanNode(key=key, deps=deps, **{**fields, **more})


class Peer:
    """Plays the gateway: answers each start by ``answer`` and keeps what was said."""

    def __init__(self, link: DriverLink) -> None:
        self.link = link
        self.heard: list[Message] = []
        self.running: set[str] = set()
        self.most_at_once = 0

    async def run(
        self,
        *nodes: PlanNode,
        root: str = "root",
        settings: PlanSettings = SETTINGS,
        answer: Callable[[Start], Exited | None] = lambda s: Exited(s.node, s.attempt, "DONE"),
        seconds: float = 0.0,
    ) -> Finished:
        """Have a plan run; ``answer`` says how each attempt ends, None for never."""
        self.link.send(Plan(root, nodes, settings))
        answering: set[asyncio.Task[None]] = set()
        while message := await asyncio.wait_for(self.link.receive(), 20):
            self.heard.append(message)
            if isinstance(message, Finished):
                return message
            if isinstance(message, Start):
                self.running.add(message.node)
                self.most_at_once = max(self.most_at_once, len(self.running))
                answering.add(asyncio.create_task(self._answer(message, answer, seconds)))
        pytest.fail("the driver died")

    async def _answer(
        self, start: Start, answer: Callable[[Start], Exited | None], seconds: float
    ) -> None:
        await asyncio.sleep(seconds)
        if exited := answer(start):
            self.running.discard(start.node)
            self.link.send(exited)

    @property
    def starts(self) -> list[str]:
        """What was started, in order."""
        return [message.node for message in self.heard if isinstance(message, Start)]


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    """A fresh driver, and the peer that talks to it; its traceback, if any, fails the test."""
    link = await DriverLink.start(tmp_path / "driver.log")
    yield Peer(link)
    await link.close()
    assert (tmp_path / "driver.log").read_text() == ""


async def test_order(peer: Peer) -> None:
    """A task starts only after everything it needs is done; a shared dependency starts once."""
    end = await peer.run(
        node("base"), node("left", "base"), node("right", "base"), node("root", "left", "right")
    )
    assert peer.starts[0] == "base"
    assert sorted(peer.starts[1:3]) == ["left", "right"]
    assert peer.starts[3:] == ["root"]
    assert end == Finished("SUCCESS", dict.fromkeys(["base", "left", "right", "root"], "DONE"))


async def test_parallel_tasks(peer: Peer) -> None:
    """As many tasks run at once as the setting says, and no more."""
    leaves = [f"leaf{i}" for i in range(9)]
    await peer.run(*map(node, leaves), node("root", *leaves), seconds=0.05)
    assert peer.most_at_once == SETTINGS.parallel_tasks


async def test_root_complete(peer: Peer) -> None:
    """A complete root runs nothing, not even an incomplete dependency: Luigi's own meaning."""
    end = await peer.run(node("below"), node("root", "below", complete=True))
    assert peer.starts == []
    assert end == Finished("SUCCESS", {"root": "DONE"})


async def test_complete_dependency(peer: Peer) -> None:
    """What is complete already is skipped, and what needs it runs."""
    end = await peer.run(node("below", complete=True), node("root", "below"))
    assert peer.starts == ["root"]
    assert end.status == "SUCCESS"


async def test_completeness_unknown(peer: Peer) -> None:
    """A task whose complete() raised is not run, nor what needs it; the rest is."""
    end = await peer.run(
        node("bad", complete=None), node("good"), node("root", "bad", "good"), root="root"
    )
    assert peer.starts == ["good"]
    assert end.status == "SCHEDULING_FAILED"
    assert end.states["bad"] == "UNKNOWN"


async def test_retry_then_success(peer: Peer) -> None:
    """A failed task runs again after the delay, as the next attempt, and the run succeeds."""
    began = time.monotonic()
    end = await peer.run(
        node("root"),
        settings=PlanSettings(4, 3, 0.4, 0),
        answer=lambda s: Exited("root", s.attempt, "DONE" if s.attempt == 3 else "FAILED"),
    )
    assert peer.heard[:-1] == [Start("root", 1), Start("root", 2), Start("root", 3)]
    assert end.status == "SUCCESS_WITH_RETRY"
    assert 0.8 < time.monotonic() - began < 20


async def test_retries_exhausted(peer: Peer) -> None:
    """After its retry count of failures a task is disabled, and what needs it never starts."""
    end = await peer.run(
        node("bad"), node("root", "bad"), answer=lambda s: Exited(s.node, s.attempt, "FAILED")
    )
    assert peer.starts == ["bad", "bad"]
    assert end == Finished("FAILED", {"bad": "DISABLED", "root": "PENDING"})


async def test_own_retry_count(peer: Peer) -> None:
    """A task's own retry_count goes before the setting's."""
    await peer.run(
        node("root", retry_count=4), answer=lambda s: Exited(s.node, s.attempt, "FAILED")
    )
    assert len(peer.starts) == 4


async def test_retry_beside_a_running_task(peer: Peer) -> None:
    """A retry does not wait for the end of a long task that runs beside it."""

    def answer(start: Start) -> Exited | None:
        if start.node == "slow":
            return None  # ended by the retry of the other
        if start == Start("quick", 1):
            return Exited("quick", 1, "FAILED")
        if start == Start("quick", 2):
            peer.link.send(Exited("slow", 1, "DONE"))
        return Exited(start.node, start.attempt, "DONE")

    end = await peer.run(node("slow"), node("quick"), node("root", "slow", "quick"), answer=answer)
    assert end.status == "SUCCESS_WITH_RETRY"


async def test_priority(peer: Peer) -> None:
    """Of two tasks that may run, the one of higher priority runs first."""
    await peer.run(
        node("low", priority=1),
        node("high", priority=9),
        node("root", "low", "high"),
        settings=PlanSettings(1, 2, 0.05, 0),
    )
    assert peer.starts == ["high", "low", "root"]


async def test_resources(peer: Peer) -> None:
    """Tasks that share a resource never run at once: its capacity is 1 unless configured."""
    leaves = [f"leaf{i}" for i in range(4)]
    await peer.run(
        *(node(leaf, resources={"database": 1}) for leaf in leaves),
        node("root", *leaves),
        seconds=0.02,
    )
    assert peer.most_at_once == 1


async def test_resource_never_granted(peer: Peer) -> None:
    """A task that needs more of a resource than there is ends the run instead of hanging it."""
    end = await peer.run(node("root", resources={"database": 2}))
    assert peer.starts == []
    assert end == Finished("NOT_RUN", {"root": "PENDING"})


async def test_disabled_task(peer: Peer) -> None:
    """A task that its author disabled does not run, nor does what needs it; the rest does."""
    end = await peer.run(node("off", disabled=True), node("on"), node("root", "off", "on"))
    assert peer.starts == ["on"]
    assert end == Finished("NOT_RUN", {"off": "DISABLED", "on": "DONE", "root": "PENDING"})


async def test_external(peer: Peer) -> None:
    """Missing external data is never run; the run ends at once, without waiting for it."""
    began = time.monotonic()
    end = await peer.run(
        node("data", kind="external"),
        node("root", "data"),
        settings=PlanSettings(4, 2, 3600.0, 0),
    )
    assert peer.starts == []
    assert end == Finished("MISSING_EXT", {"data": "PENDING", "root": "PENDING"})
    assert time.monotonic() - began < 30


async def test_external_present(peer: Peer) -> None:
    """External data that is there lets what needs it run."""
    end = await peer.run(node("data", kind="external", complete=True), node("root", "data"))
    assert peer.starts == ["root"]
    assert end.status == "SUCCESS"


async def test_wrapper(peer: Peer) -> None:
    """A wrapper needs no process: it is settled in the driver when what it wraps is done."""
    end = await peer.run(node("below"), node("root", "below", kind="wrapper"))
    assert peer.heard[:-1] == [Start("below", 1), Settled("root")]
    assert end.status == "SUCCESS"


async def test_wrappers_are_not_exponential(peer: Peer) -> None:
    """A ladder of 60 wrapper diamonds takes one look at each; paths would take for ever."""
    nodes = [node("w0", kind="wrapper")]
    for i in range(60):
        nodes += [node(f"{side}{i}", f"w{i}", kind="wrapper") for side in "ab"]
        nodes += [node(f"w{i + 1}", f"a{i}", f"b{i}", kind="wrapper")]
    end = await peer.run(*nodes, root="w60")
    assert end.status == "SUCCESS"
    assert len(peer.heard) == len(nodes) + 1


async def test_possible_nodes(peer: Peer) -> None:
    """A possible node is no task: neither it nor the edges to it are scheduled."""
    end = await peer.run(node("maybe", kind="possible"), node("root", "maybe"))
    assert peer.starts == ["root"]
    assert end == Finished("SUCCESS", {"root": "DONE"})


async def test_time_out(peer: Peer) -> None:
    """Luigi's time-out asks for the end of the attempt, counts it as failed, and retries."""
    end = await peer.run(
        node("root", worker_timeout=1),
        answer=lambda s: Exited(s.node, s.attempt, "DONE") if s.attempt == 2 else None,
    )
    assert peer.heard[:-1] == [Start("root", 1), Kill("root", 1), Start("root", 2)]
    assert end.status == "SUCCESS_WITH_RETRY"


async def test_late_result(peer: Peer) -> None:
    """What a timed-out attempt says afterwards is void, even that it is done."""

    def answer(start: Start) -> Exited | None:
        return Exited("root", 1, "DONE") if start.attempt == 2 else None

    end = await peer.run(node("root"), settings=PlanSettings(4, 2, 0.05, 1), answer=answer)
    assert peer.heard[:-1] == [
        Start("root", 1),
        Kill("root", 1),
        Start("root", 2),
        Kill("root", 2),
    ]
    assert end.status == "FAILED"


async def test_dynamic_dependencies(peer: Peer) -> None:
    """A task that yields twice runs three times; what it yielded runs in between, once each."""

    def answer(start: Start) -> Exited:
        if start.node != "root" or start.attempt == 3:
            return Exited(start.node, start.attempt, "DONE")
        new = f"new{start.attempt}"
        nodes = (node(f"below-{new}"), node(new, f"below-{new}"))
        return Exited("root", start.attempt, "PENDING", (new,), nodes)

    end = await peer.run(node("root"), answer=answer)
    assert peer.starts == ["root", "below-new1", "new1", "root", "below-new2", "new2", "root"]
    assert end.status == "SUCCESS"


async def test_dynamic_dependency_fails(peer: Peer) -> None:
    """When what a task yielded fails for good, the task does not run again."""

    def answer(start: Start) -> Exited:
        if start.node == "root":
            return Exited("root", 1, "PENDING", ("new",), (node("new"),))
        return Exited("new", start.attempt, "FAILED")

    end = await peer.run(node("root"), answer=answer)
    assert peer.starts == ["root", "new", "new"]
    assert end == Finished("FAILED", {"new": "DISABLED", "root": "PENDING"})


async def test_attempts_go_on(peer: Peer) -> None:
    """A driver that replaces a dead one goes on counting attempts."""
    await peer.run(node("root", attempts=7))
    assert peer.heard[0] == Start("root", 8)


async def test_long_chain_that_fails(peer: Peer) -> None:
    """A chain deeper than Python's usual recursion limit fails with a verdict, not a traceback."""
    keys = [f"k{i}" for i in range(3000)]
    nodes = [node(keys[0])] + [node(b, a) for a, b in pairwise(keys)]
    end = await peer.run(
        *nodes,
        root=keys[-1],
        settings=PlanSettings(4, 1, 0.05, 0),
        answer=lambda s: Exited(s.node, s.attempt, "FAILED"),
    )
    assert peer.starts == ["k0"]
    assert end.status == "FAILED"


async def test_gateway_gone(tmp_path: Path) -> None:
    """A driver whose gateway is gone ends by itself: it owns nothing and waits for nobody."""
    link = await DriverLink.start(tmp_path / "driver.log")
    link.send(Plan("root", (node("root"),), SETTINGS))
    assert await link.receive() == Start("root", 1)
    link._writer.close()
    async with asyncio.timeout(5):
        await link._process.wait()
    await link.close()


async def test_nothing_is_inherited(peer: Peer) -> None:
    """The driver has an empty environment, no configuration file and one socket of ours."""
    await asyncio.wait_for(_until_started(peer), 10)
    proc = Path("/proc") / str(peer.link.pid)
    assert (proc / "environ").read_bytes() == b""
    opened = {str((proc / "fd" / name.name).readlink()) for name in (proc / "fd").iterdir()}
    assert not [path for path in opened if path.endswith((".cfg", ".toml", ".db", ".conf"))]
    assert len([path for path in opened if path.startswith("socket:")]) == 1


async def _until_started(peer: Peer) -> None:
    peer.link.send(Plan("root", (node("root"),), SETTINGS))
    assert await peer.link.receive() == Start("root", 1)
