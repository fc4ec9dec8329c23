"""`sluice network render`: the policies that tasks would get, as YAML, without a cluster.

Reads a plan (the answer of `sluice plan --json`) or names of destinations, and the catalogue. It
prints what the gateway would create, byte for byte, or says why it cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from rich.console import Console

from gateway.errors import Conflict, Rejected, Unprocessable
from gateway.network.baseline import baseline
from gateway.network.cilium import Manifest, policy, to_yaml
from gateway.network.dns import flavour
from gateway.network.profiles import Catalogue, Profile, profile
from gateway.network.sites import Site
from gateway.policy.findings import unknown
from gateway.policy.snapshot import load_snapshot

Read = TypeVar("Read")


class _Task(BaseModel):
    egress: tuple[str, ...]


class _Plan(BaseModel):
    profiles: tuple[str, ...]


class _Answer(BaseModel):
    """What is needed of the answer of `sluice plan --json`."""

    plan: _Plan | None
    tasks: tuple[_Task, ...]


_ANSWER = TypeAdapter(_Answer)
_SERVICES = TypeAdapter(dict[str, dict[str, object]])


async def render(arguments: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 -- every command has both
    """Print the policy of each profile; with ``--baseline``, of the namespace first."""
    site = Site(arguments.namespace, flavour(arguments.dns))
    catalogue = await asyncio.to_thread(_catalogue, arguments.policies, arguments.services)
    if arguments.file is None:
        found = [_profile(tuple(arguments.destination), catalogue, site)]
    else:
        answer = await asyncio.to_thread(_read, arguments.file, _ANSWER, "--file")
        found = _planned(answer, catalogue, site)
    fixed = baseline(site.namespace) if arguments.baseline else ()
    rendered = [(item, policy(item)) for item in sorted(found, key=lambda item: item.name)]
    if arguments.json:
        print(json.dumps([*fixed, *(manifest for _, manifest in rendered)], indent=2))  # noqa: T201 -- a command's output
    else:
        print(_text(fixed, rendered), end="")  # noqa: T201 -- a command's output
    return 0


def _text(fixed: Iterable[Manifest], rendered: Iterable[tuple[Profile, Manifest]]) -> str:
    parts = [to_yaml(fixed)]
    for item, manifest in rendered:
        parts.append(f"# {item.name}: {', '.join(item.destinations) or 'no destination'}\n")
        parts.append(to_yaml([manifest]))
    return "".join(parts)


def _planned(answer: _Answer, catalogue: Catalogue, site: Site) -> list[Profile]:
    """Return the profiles of a plan. They have to be those that the plan names."""
    if answer.plan is None:
        raise Rejected("plan_missing", "that answer has no plan: the request was denied")
    egress = {task.egress for task in answer.tasks}
    found = {item.name: item for item in (_profile(names, catalogue, site) for names in egress)}
    if set(found) != set(answer.plan.profiles):
        raise Conflict(
            "profiles_differ",
            "the plan names other profiles than these destinations give here; use the --policies, "
            "--services, --namespace and --dns of the gateway that planned",
            diagnostics=f"plan: {sorted(answer.plan.profiles)}; here: {sorted(found)}",
        )
    return list(found.values())


def _profile(names: tuple[str, ...], catalogue: Catalogue, site: Site) -> Profile:
    for name in names:
        if name not in catalogue:
            raise Unprocessable("destination_unknown", unknown("destination", name, catalogue))
    return profile(names, catalogue, site)


def _catalogue(policies: Path, services: Path | None) -> Catalogue:
    """Return the destinations of a policy folder, with the Services that a file resolves."""
    data = load_snapshot(policies).data
    catalogue: dict[str, Mapping[str, object]] = {
        name: item.to_json() for name, item in data.destinations.items()
    }
    resolved = {} if services is None else _read(services, _SERVICES, "--services")
    for name, value in resolved.items():
        if name not in catalogue:
            raise Unprocessable("destination_unknown", unknown("destination", name, catalogue))
        catalogue[name] = {**catalogue[name], "service": value}
    return catalogue


def _read(file: Path, shape: TypeAdapter[Read], what: str) -> Read:
    try:
        return shape.validate_json(file.read_bytes())
    except OSError as error:
        raise Rejected("file_unreadable", f"cannot read {file}: {error.strerror}") from error
    except ValidationError as error:
        raise Rejected(
            "file_unreadable", f"{file} is not what {what} reads", diagnostics=str(error)
        ) from error
