"""The catalogue of a gateway under test: what stands in it, and what somebody changes in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from gateway_bed import ROOT, Served

from gateway.guest import tree_digest

Document = dict[str, Any]
PLAYED = Path("tests/fixtures/pipelines/played")
SHOWN = ("name", "play", "seconds", "tries")


@dataclass(frozen=True)
class Catalogue:
    """The data files of one gateway's policy folder."""

    policies: Path

    def change(self, name: str, edit: Callable[[Document], object]) -> None:
        """Change one document, ``pipelines`` for instance, in one step."""
        path = self.policies / "data" / f"{name}.yaml"
        document = yaml.safe_load(path.read_text())
        edit(document)
        fresh = path.with_name(f"{name}.new")
        fresh.write_text(yaml.safe_dump(document))
        fresh.replace(path)

    def enter(self, name: str, task: str, *, approved: bool = True, **more: Any) -> None:
        """Enter a task of the played pipeline; ``more`` are fields of the entry."""
        entry = {
            "title": task,
            "description": "Of the tests.",
            "source": str(PLAYED),
            "module": "played",
            "task": task,
            "owner": "analysts",
            "tier": "low",
            "launchers": ["analysts"],
            "parameters": {
                each: {"description": "How it is played.", "shown": True, "default": default}
                for each, default in zip(SHOWN, ("it", "", "0", "0"), strict=True)
            },
            **more,
        }
        if approved:
            entry["standing_approval"] = {
                "code_digest": tree_digest.compute(str(ROOT / PLAYED)),
                "until": "2099-12-31",
                "by": "chloe",
                "reason": "The tests have read it.",
            }
        self.change("pipelines", lambda document: document.update({name: entry}))

    async def change_served(
        self, served: Served, name: str, edit: Callable[[Document], object]
    ) -> None:
        """Change one document, and return when the gateway has taken the change over."""
        before = (await served.gateway.readiness.report())["policy_revision"]
        self.change(name, edit)
        async with asyncio.timeout(30):
            while (report := await served.gateway.readiness.report())["policy_revision"] == before:
                assert report["checks"]["policy"] == "ok"
                await asyncio.sleep(0.1)


async def ask(served: Served, pipeline: str, subject: str = "ada", **parameters: str) -> Document:
    """Launch something and return the launch as soon as it has been decided."""
    body = {"pipeline": pipeline, "parameters": parameters, "reason": "a test"}
    async with served.client(subject) as client, asyncio.timeout(60):
        view: Document = await client.post("/v1/launches", body)
        while view["state"] in {"received", "resolving", "deciding"}:
            await asyncio.sleep(0.05)
            view = await client.get(f"/v1/launches/{view['id']}")
        return view
