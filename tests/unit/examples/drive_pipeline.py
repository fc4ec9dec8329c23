"""Resolve a pipeline and run it twice with plain Luigi, in a process of its own; report as JSON.

    python drive_pipeline.py MODULE FAMILY PARAMETERS_AS_JSON

The module is found on ``PYTHONPATH``; files go to the working directory. Nothing of ours is
imported. Which task opened which connection is told by the interpreter's own audit events.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module
from typing import Any

import luigi
from luigi.parameter import ParameterVisibility
from luigi.task_register import Register

HEAVY = {"pandas", "numpy", "matplotlib", "vega_datasets"}


def main(module: str, family: str, parameters: dict[str, str]) -> dict[str, Any]:
    """Return what happened, as one JSON object."""
    connected: set[str] = set()
    running = ["(none)"]
    started: list[str] = []

    def watch(event: str, _arguments: object) -> None:
        if event == "socket.connect":
            connected.add(running[-1])

    @luigi.Task.event_handler(luigi.Event.START)
    def note(task: luigi.Task) -> None:
        running.append(task.task_family)
        started.append(task.task_id)

    sys.addaudithook(watch)
    import_module(module)
    root = Register.get_task_cls(family).from_str_params(parameters)
    graph = walk(root)
    heavy = sorted(HEAVY & set(sys.modules))
    families = [Register.get_task_cls(name) for name in Register.task_names()]
    tree = [cls for cls in families if "luigi" not in cls.__module__.split(".")]
    logging.getLogger("luigi-interface").setLevel(logging.WARNING)
    first = build(root)
    ran, again = list(started), build(root)
    return {
        "resolved": [task.task_id for task in graph],
        "families": sorted({task.task_family for task in graph}),
        "heavy": heavy,
        "first": first,
        "again": again,
        "ran": sorted(set(ran)),
        "ran_again": started[len(ran) :],
        "connected": sorted(connected),
        "egress": {cls.task_family: list(cls.egress) for cls in tree if hasattr(cls, "egress")},
        "may_yield": {
            cls.task_family: dict(cls.may_yield) for cls in tree if hasattr(cls, "may_yield")
        },
        "parameters": [describe(*item) for item in type(root).get_params()],
        "undescribed": [
            f"{cls.task_family}.{name}"
            for cls in tree
            for name, parameter in cls.get_params()
            if not parameter.description
        ],
        "gateway": [name for name in sys.modules if name.split(".")[0] == "gateway"],
    }


def walk(root: luigi.Task) -> list[luigi.Task]:
    """Return every task of the graph once."""
    found, waiting = {}, [root]
    while waiting:
        task = waiting.pop()
        if task.task_id not in found:
            found[task.task_id] = task
            waiting += task.deps()
    return list(found.values())


def build(root: luigi.Task) -> str:
    """Run with Luigi's local scheduler and one worker, in this process."""
    result = luigi.build(
        [root], local_scheduler=True, workers=1, detailed_summary=True, log_level="WARNING"
    )
    return result.status.name


def describe(name: str, parameter: luigi.Parameter) -> dict[str, Any]:
    """Return what the README says of a parameter. Luigi lists choices in no fixed order."""
    default = parameter.task_value("", name) if parameter.has_task_value("", name) else None
    return {
        "name": name,
        "type": type(parameter).__name__,
        "default": None if default is None else parameter.serialize(default),
        "description": parameter.description.split(" Choices:")[0],
        "private": parameter.visibility != ParameterVisibility.PUBLIC,
    }


if __name__ == "__main__":
    json.dump(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])), sys.stdout)
