"""``resolve``: one root task becomes records of its whole graph, on a descriptor, as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from .failure import GuestError, wrap
from .pinned import prepare


def resolve(spec: dict[str, Any], tree: str, workdir: str, channel: int) -> None:
    """Write the graph, or why there is none, to ``channel``, and end without ceremony."""
    os.set_inheritable(channel, False)
    try:
        answer = graph(spec, tree, workdir)
    except GuestError as failure:
        answer = {"error": failure.to_json()}
    except BaseException as error:  # noqa: BLE001 - a pipeline may raise anything, anywhere
        answer = {"error": wrap("task_invalid", "the pipeline", error, tree).to_json()}
    with os.fdopen(channel, "wb") as stream:
        stream.write(json.dumps(answer).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # nothing that the pipeline registered for the end runs


def graph(spec: dict[str, Any], tree: str, workdir: str) -> dict[str, Any]:
    """Return root and records of the task that ``spec`` names. Raises ``GuestError``."""
    prepare(spec, tree, workdir)
    from .walk import Walk

    walk = Walk(tree, spec["max_nodes"], spec["max_edges"])
    root = walk.build(spec["family"], spec["parameters"])
    (index,) = walk.add([root])
    return {"root": index, "nodes": walk.records}
