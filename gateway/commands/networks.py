"""`sluice network render|baseline`: the policies that tasks would get, as YAML, without a cluster.

`render` reads a plan (the answer of `sluice plan --json`) or names of destinations, and the
catalogue. It prints what the gateway would create, byte for byte, or says why it cannot.

`baseline` prints what an administrator installs before, and explains what the whole cluster could
have besides. It never prints a clusterwide policy that was not asked for: output gets applied.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from rich.console import Console

from gateway.errors import Conflict, Rejected, Unprocessable
from gateway.network.baseline import (
    ENFORCE_ALWAYS_EXPLANATION,
    INIT_DENY_EXPLANATION,
    baseline,
    init_deny,
)
from gateway.network.cilium import Manifest, policy, to_yaml
from gateway.network.dns import flavour
from gateway.network.profiles import Catalogue, Profile, profile
from gateway.network.sites import Site
from gateway.policy.findings import unknown
from gateway.policy.snapshot import load_snapshot
from gateway.settings import load

Read = TypeVar("Read")


class _Task(BaseModel):
    egress: tuple[str, ...]


class _Plan(BaseModel):
    profiles: tuple[str, ...]
    services: dict[str, dict[str, object]] = {}


class _Answer(BaseModel):
    """What is needed of the answer of `sluice plan --json`."""

    plan: _Plan | None
    tasks: tuple[_Task, ...]


_ANSWER = TypeAdapter(_Answer)
_SERVICES = TypeAdapter(dict[str, dict[str, object]])


async def render(arguments: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 -- every command has both
    """Print the policy of each profile; with ``--baseline``, of the namespace first."""
    site = _site(arguments)
    services = {}
    if arguments.services is not None:
        services = await asyncio.to_thread(_read, arguments.services, _SERVICES, "--services")
    if arguments.file is None:
        catalogue = await asyncio.to_thread(_catalogue, arguments.policies, services)
        found = [_profile(tuple(arguments.destination), catalogue, site)]
    else:
        answer = await asyncio.to_thread(_read, arguments.file, _ANSWER, "--file")
        if answer.plan is None:
            raise Rejected("plan_missing", "that answer has no plan: the request was denied")
        known = {**answer.plan.services, **services}
        catalogue = await asyncio.to_thread(_catalogue, arguments.policies, known)
        found = _planned(answer.plan, answer.tasks, catalogue, site)
    fixed = baseline(site.namespace) if arguments.baseline else ()
    rendered = [(item, policy(item)) for item in sorted(found, key=lambda item: item.name)]
    if arguments.json:
        print(json.dumps([*fixed, *(manifest for _, manifest in rendered)], indent=2))  # noqa: T201 -- a command's output
    else:
        print(_text(fixed, rendered), end="")  # noqa: T201 -- a command's output
    return 0


async def show_baseline(arguments: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 -- every command has both
    """Print a namespace's own policies and the offers; with ``--clusterwide``, that policy too.

    Raises ``Misconfigured`` when ``--namespace`` is not the name of one.
    """
    fixed = baseline(arguments.namespace)
    offered = (init_deny(),) if arguments.clusterwide else ()
    if arguments.json:
        print(json.dumps([*fixed, *offered], indent=2))  # noqa: T201 -- a command's output
    else:
        print(to_yaml(fixed) + _offers(offered), end="")  # noqa: T201 -- a command's output
    return 0


def _offers(asked_for: Iterable[Manifest]) -> str:
    """Return what touches every tenant, explained, behind the policies that are asked for of it."""
    way = "`--clusterwide` prints the policy; deploy/clusterwide holds it."
    return "".join(
        (
            "#\n# Offered, for the cluster's administrators to decide.\n",
            _comment(ENFORCE_ALWAYS_EXPLANATION),
            _comment(f"{INIT_DENY_EXPLANATION} {way}"),
            to_yaml(asked_for),
        )
    )


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, 96, break_on_hyphens=False)
    return "".join(("#\n", *(f"# {line}\n" for line in lines)))


def _text(fixed: Iterable[Manifest], rendered: Iterable[tuple[Profile, Manifest]]) -> str:
    parts = [to_yaml(fixed)]
    for item, manifest in rendered:
        parts.append(f"# {item.name}: {', '.join(item.destinations) or 'no destination'}\n")
        parts.append(to_yaml([manifest]))
    return "".join(parts)


def _site(arguments: argparse.Namespace) -> Site:
    """Return the place that the options name, where they do not that of the gateway's settings."""
    settings = load(arguments.config).cluster
    dns = arguments.dns or settings.dns
    return Site(arguments.namespace or settings.namespace, flavour(dns))


def _planned(
    plan: _Plan, tasks: Iterable[_Task], catalogue: Catalogue, site: Site
) -> list[Profile]:
    """Return the profiles of a plan. They have to be those that the plan names."""
    egress = {task.egress for task in tasks}
    found = {item.name: item for item in (_profile(names, catalogue, site) for names in egress)}
    if set(found) != set(plan.profiles):
        raise Conflict(
            "profiles_differ",
            "the plan names other profiles than these destinations give here; use the --policies "
            "and the --config (or --namespace and --dns) of the gateway that planned",
            diagnostics=f"plan: {sorted(plan.profiles)}; here: {sorted(found)}",
        )
    return list(found.values())


def _profile(names: tuple[str, ...], catalogue: Catalogue, site: Site) -> Profile:
    for name in names:
        if name not in catalogue:
            raise Unprocessable("destination_unknown", unknown("destination", name, catalogue))
    return profile(names, catalogue, site)


def _catalogue(policies: Path, services: Mapping[str, Mapping[str, object]]) -> Catalogue:
    """Return the destinations of a policy folder, with the Services that are resolved."""
    data = load_snapshot(policies).data
    catalogue: dict[str, Mapping[str, object]] = {
        name: item.to_json() for name, item in data.destinations.items()
    }
    for name, value in services.items():
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
