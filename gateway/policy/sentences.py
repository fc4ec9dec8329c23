"""What a rule's code means to the person who asked: what is wrong, and what would change it.

Rules return codes and values; the sentences are here. Values come from requests, graphs and data:
they are shown, never interpreted. Control characters, direction marks and line ends are escaped,
and length is bounded. A rule that has no sentence here gets one made of its code and its values.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from string import Formatter
from typing import NamedTuple

from gateway.canonical import Json

MOST = 200  # characters of one value
_MOST_ITEMS = 10


class Sentences(NamedTuple):
    """What is wrong, and the way out."""

    message: str
    remediation: str


_RULES: Mapping[str, Sentences] = {
    # admit
    "pipeline_unknown": Sentences(
        "no pipeline is called {pipeline}",
        "{nearest}`sluice pipelines` lists those that can be launched",
    ),
    "launcher_not_in_group": Sentences(
        "{account} is in none of the groups that may launch {pipeline}: {launchers}",
        "ask {owner}, who own the pipeline, or have {account} added to one of these groups",
    ),
    "agent_not_allowed": Sentences(
        "agents may not take part in a launch of {pipeline}, and {account} is one",
        "launch it yourself, or ask {owner} to set agents_allowed for the pipeline",
    ),
    "agent_owner_unknown": Sentences(
        "nobody answers for the agent {account}",
        "have its owner listed under owns_agents in policies/data/persons.yaml",
    ),
    "principal_unknown_kind": Sentences(
        "{account} is of kind {kind}, about which policy says nothing",
        "tell whoever keeps the policy",
    ),
    "too_many_running": Sentences(
        "{running} launches of yours are queued or running, and {most} are allowed at once",
        "wait for one of them to end, or cancel one",
    ),
    # task
    "destination_unknown": Sentences(
        "{task} wants to reach {destination}, which is not in the catalogue",
        "{nearest}correct `egress`, or have the destination added to "
        "policies/data/destinations.yaml",
    ),
    "destination_not_allowed": Sentences(
        "{task} wants to reach {destination}, which {pipeline} may not",
        "remove {destination} from `egress`, or have it added to the pipeline's destinations in "
        "policies/data/pipelines.yaml",
    ),
    "destination_not_for_agents": Sentences(
        "{task} reaches {destination}, which is closed to launches in which agents take part",
        "launch it without the agent, or have `agents: true` set for {destination}",
    ),
    "class_not_accepted": Sentences(
        "{task} carries {class} data, which {destination} does not accept",
        "keep {class} data away from {task} and everything before it, or send the result to a "
        "destination that accepts it",
    ),
    "class_leaves_tenancy": Sentences(
        "{task} carries {class} data to {destination}, where strangers hold accounts too",
        "only public data may go there",
    ),
    "workspace_class": Sentences(
        "{task} carries {class} data, which the kept workspace of {pipeline} may not hold",
        "have {class} added to the workspace's classes, or stop keeping the workspace",
    ),
    # launch
    "too_many_tasks": Sentences(
        "the launch has {tasks} tasks, and tier {tier} allows {most}",
        "narrow the parameters, or launch in parts",
    ),
    "enforcement_required": Sentences(
        "{pipeline} is of tier {tier} and network policy is not enforced here",
        "launch it through a gateway whose cluster enforces network policy",
    ),
    "tier_needs_people": Sentences(
        "each launch of {pipeline} waits for people, because it is of tier {tier}",
        "",
    ),
    "content_never_approved": Sentences(
        "this code of {pipeline} has never been approved",
        "",
    ),
    "more_violations": Sentences(
        "{count} more reasons are left out here",
        "change what the others name, then ask again",
    ),
}


def render(
    rule: str,
    values: Mapping[str, Json],
    about: Mapping[str, Json] | None = None,
    nearest: str | None = None,
) -> Sentences:
    """Return the sentences of a rule.

    ``about`` holds what the question was about (account, pipeline, task); ``nearest`` is a known
    name that may have been meant.
    """
    shown = {name: show(value) for name, value in {**(about or {}), **values}.items()}
    shown["nearest"] = f"did you mean {show(nearest)}? " if nearest else ""
    known = _RULES.get(rule)
    if known and _fields(known) <= set(shown):
        return Sentences(*(part.format_map(shown).strip() for part in known))
    message = f"policy rule {show(rule)} refuses this{_listed(values)}"
    return Sentences(message, "ask whoever keeps the policy")


def render_need(rule: str, values: Mapping[str, Json], about: Mapping[str, Json]) -> str:
    """Return why people have to agree."""
    if rule in _RULES:
        return render(rule, values, about).message
    return f"policy rule {show(rule)} asks for people's agreement{_listed(values)}"


def show(value: Json) -> str:
    """Return a value as text that stays on its line and cannot pretend to be anything else."""
    if isinstance(value, str):
        text = "".join(c if _harmless(c) else f"\\u{{{ord(c):x}}}" for c in value[: MOST + 1])
        return text if len(text) <= MOST else text[: MOST - 1] + "…"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return show(", ".join(f"{show(key)} {show(value[key])}" for key in sorted(value)))
    items = [show(item) for item in value[:_MOST_ITEMS]]
    more = len(value) - len(items)
    return show(", ".join(items) + (f" and {more} more" if more else "") or "nothing")


def _listed(values: Mapping[str, Json]) -> str:
    return f" ({show(values)})" if values else ""


def _harmless(character: str) -> bool:
    """Say whether a character is no control, format, surrogate, private or separator character."""
    return character == " " or unicodedata.category(character)[0] not in "CZ"


def _fields(sentences: Sentences) -> set[str]:
    return {
        name for part in sentences for _, name, _, _ in Formatter().parse(part) if name is not None
    }
