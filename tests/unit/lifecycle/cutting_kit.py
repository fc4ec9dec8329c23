"""What tests of cutting need: a task that waits for an answer, and what the log says of a cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway_bed import Served

ENDED = {"cancelled", "failed", "succeeded"}


@dataclass
class Silence:
    """A server that takes connections and says nothing: tasks that ask it run until they end."""

    url: str = ""
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep one connection until the other side closes it."""
        self.open.add(writer)
        self.asked.set()
        try:
            while await reader.read(4096):
                pass
        except ConnectionError:
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    def launch(self) -> dict[str, Any]:
        """Return the body of a launch whose first task asks this server, and waits."""
        parameters = {"source": self.url, "start": "2012-01", "months": 1}
        return {"pipeline": "city-weather", "parameters": parameters, "reason": "test"}


async def until(true: Callable[[], bool], seconds: float = 30) -> None:
    """Return when something is true."""
    async with asyncio.timeout(seconds):
        while True:
            if true():
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def silence() -> AsyncIterator[Silence]:
    """Serve silence on a free port."""
    found = Silence()
    server = await asyncio.start_server(found.hold, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        for writer in list(found.open):
            writer.close()
        await until(lambda: not found.open)


async def running(served: Served, quiet: Silence, subject: str = "ada", *client: str) -> str:
    """Launch, and return the launch's id when its first task waits for an answer."""
    async with served.client(subject, *client) as asker:
        view = await asker.post("/v1/launches", quiet.launch())
    await asyncio.wait_for(quiet.asked.wait(), 60)
    return str(view["id"])


async def ended(served: Served, launch_id: str) -> dict[str, Any]:
    """Return a launch when it has ended."""
    async with served.client("chloe") as client, asyncio.timeout(60):
        while True:
            view: dict[str, Any] = await client.get(f"/v1/launches/{launch_id}")
            if view["state"] in ENDED:
                return view
            await asyncio.sleep(0.05)


async def events(served: Served, launch_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Return what the log says of a launch, in order."""
    found = await served.gateway.parts.log.entries(0, 1000, launch_id=launch_id)
    return [(entry.value["event"], entry.value["body"]) for entry in found]


async def cuts(served: Served, launch_id: str) -> list[dict[str, Any]]:
    """Return the bodies of the launch's cuts."""
    return [body for event, body in await events(served, launch_id) if event == "launch.cut"]
