"""Modules and data -> a checked plan, by way of a worker process.

The compiler can end its process on nonsense (rego-cpp 1.5.2 does, on some), so that is a finding
too. Nothing that was not checked here is ever asked.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gateway.canonical import Json
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.plan import Plan, read_plan
from gateway.policy.process import WorkerGone, WorkerProcess, build_message
from gateway.policy.shape import Shape, shape_of
from gateway.policy.strict import PACKAGES

DENY = tuple(f"data.sluice.{package}.deny" for package in PACKAGES)
COMPILE_SECONDS = 20.0

_ERROR = re.compile(r"\(error \d+:([^|\s]+)\|(\d+)\|\d+\s+\(errormsg \d+:(.*?)\)\n")


def input_shapes() -> dict[str, Shape]:
    """Return the documented shape of ``input`` for each package."""
    schema = json.loads(Path(__file__).with_name("input.schema.json").read_bytes())
    return {package: shape_of(schema, package) for package in PACKAGES}


def data_shape(schemas: Mapping[str, Mapping[str, Any]]) -> Shape:
    """Return the shape of ``data`` from the schema of each document."""
    return Shape("object", fields={name: shape_of(item) for name, item in schemas.items()})


async def compiled(
    worker: WorkerProcess, modules: Mapping[str, str], documents: Json, rules: Iterable[str]
) -> Plan:
    """Compile in ``worker``, which holds the result afterwards, and return the plan.

    Raises ``PolicyInvalid`` with what the compiler says. After ``PolicyInvalid`` the worker may
    have ended.
    """
    with TemporaryDirectory(prefix="sluice-policy-") as folder:
        body = build_message(modules, documents, rules, Path(folder))
        try:
            async with asyncio.timeout(COMPILE_SECONDS):
                answer = await worker.talk(body)
        except (WorkerGone, TimeoutError) as error:
            reason = f"the compiler gave up on these modules: {str(error) or 'it took too long'}"
            raise PolicyInvalid([Finding(path, 0, reason) for path in modules]) from error
        if not answer["ok"]:
            raise PolicyInvalid(_syntax(answer["error"], modules))
        return await asyncio.to_thread(partial(_read, Path(folder)))


def _read(folder: Path) -> Plan:
    try:
        return read_plan(json.loads((folder / "plan.json").read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        reason = f"the compiled form cannot be checked: {type(error).__name__} {error}"
        raise PolicyInvalid([Finding("plan.json", 0, reason)]) from error


def _syntax(error: str, modules: Mapping[str, str]) -> list[Finding]:
    found = []
    for path, offset, reason in _ERROR.findall(error):
        before = modules.get(path, "").encode()[: int(offset)]
        found.append(Finding(path, before.count(b"\n") + 1, f"does not compile: {reason}"))
    if not found:
        reason = re.search(r"errormsg \d+:(.*?)\)", error)
        text = reason[1] if reason else error.strip()[:200]
        found = [Finding(path, 0, f"does not compile: {text}") for path in modules]
    return found
