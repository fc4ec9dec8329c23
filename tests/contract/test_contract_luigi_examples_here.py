"""Luigi's own published examples, unchanged, through the whole gateway.

Fetched as in ``test_contract_luigi_examples.py``; skipped, with the reason, where they cannot be.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway_bed import ROOT, serve
from test_contract_luigi_examples import tree

from gateway.graph.code import read_tree

__all__ = ["tree"]  # the fixture that fetches them

SUCCEED = {  # pipeline -> module, family, parameters
    "hello": ("examples.hello_world", "examples.HelloWorldTask", {}),
    "foo": ("examples.foo", "examples.Foo", {}),
    "top-artists": ("examples.top_artists", "Top10Artists", {"date_interval": "2026-W47"}),
    "documents": ("examples.elasticsearch_index", "FakeDocuments", {"date": "2026-11-16"}),
    "retries": ("examples.per_task_retry_policy", "SuccessTask1", {}),
}
FAIL = {  # on purpose, with what the outcome has to say
    "wordcount": (
        ("examples.wordcount", "WordCount", {"date_interval": "2026-W47"}),
        "external data",
    ),
    "undeclared": (
        ("examples.dynamic_requirements", "Dynamic", {"seed": "31"}),
        "may_yield",
    ),
}


def policies_with(tree: Path, folder: Path) -> Path:
    """Return the shipped policy with each example as a pipeline of its own."""
    target = folder / "policies"
    shutil.copytree(ROOT / "policies", target)
    source = folder / "tree"
    shutil.copytree(tree, source, ignore=shutil.ignore_patterns("__pycache__"))
    path = target / "data" / "pipelines.yaml"
    value = yaml.safe_load(path.read_text())
    launches = {**SUCCEED, **{name: item for name, (item, _) in FAIL.items()}}
    for name, (module, family, parameters) in launches.items():
        value[name] = {
            "title": name,
            "description": "One of Luigi's own examples.",
            "source": source.name,
            "module": module,
            "task": family,
            "owner": "analysts",
            "tier": "low",
            "launchers": ["analysts"],
            "parameters": {p: {"description": p, "shown": True} for p in parameters},
            "standing_approval": {
                "code_digest": read_tree(source).digest,
                "until": "2099-01-01",
                "by": "chloe",
                "reason": "published by Luigi",
            },
        }
    path.write_text(yaml.safe_dump(value))
    return target


async def ends(client: Any, pipeline: str, parameters: dict[str, str]) -> dict[str, Any]:
    """Launch, follow to the end, return the launch."""
    view = await client.post(
        "/v1/launches", {"pipeline": pipeline, "parameters": parameters, "reason": "contract"}
    )
    async for _ in client.events(view["id"]):
        pass
    return dict(await client.get(f"/v1/launches/{view['id']}"))


@pytest.mark.timeout(300)
async def test_they_resolve_and_run_unchanged(changed: Any, tmp_path: Path, tree: Path) -> None:
    """Each ends as Luigi says it does; the reason of a failure is one a person understands."""
    settings = changed(
        policy={"directory": policies_with(tree, tmp_path)},
        pipelines_dir=tmp_path,
        runs={"parallel_tasks": 8, "retry_delay_seconds": 0.1},
    )
    async with serve(settings) as served, served.client("ada") as client:
        for pipeline, (_, _, parameters) in SUCCEED.items():
            launch = await ends(client, pipeline, parameters)
            assert launch["state"] == "succeeded", (pipeline, launch["outcome"])
        for pipeline, ((_, _, parameters), why) in FAIL.items():
            launch = await ends(client, pipeline, parameters)
            assert launch["state"] == "failed", (pipeline, launch["outcome"])
            assert why in launch["outcome"], (pipeline, launch["outcome"])
