"""Reads a profile back from its canonical form, so that its policy can be made again.

What is stored beside a name is believed only because the name is made of it: whoever changes the
form in the database, or in a policy's annotation, has changed the name as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.canonical import Json, decode, encode, sha256
from gateway.errors import GatewayError, IntegrityViolation
from gateway.network import addresses
from gateway.network.peers import Addresses, ApiServer, Name, Peer, Pods
from gateway.network.ports import Ports
from gateway.network.profiles import GENERATOR, Profile
from gateway.network.rules import Rule
from gateway.network.sites import Site


def form(profile: Profile) -> str:
    """Return all of the canonical form, as text."""
    return encode(profile.canonical).decode()


def read_form(name: str, text: str, site: Site) -> Profile | None:
    """Return the profile of that name.

    ``None`` for one that another version of the generator made, or that belongs to another site:
    what its policy would have to be is not known here. Raises ``IntegrityViolation``
    (``profile_forged``) when the name is not made of this text.
    """
    if name != f"p-{sha256(text.encode())[:32]}":
        raise _forged(name)
    try:
        value: Any = decode(text.encode())
        if value["generator"] != GENERATOR or {**site.to_json()} != _site(value):
            return None
        rules = tuple(_rule(item) for item in value["rules"])
        found = Profile(name, (), site, rules, tuple(value["dns_names"]))
    except (KeyError, TypeError, ValueError, AttributeError, GatewayError) as error:
        raise _forged(name) from error
    if form(found) != text:
        raise _forged(name)
    return found


def _site(value: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value[key] for key in ("namespace", "dns")}


def _rule(value: Mapping[str, Any]) -> Rule:
    return Rule(
        _peer(value["peer"]),
        value["protocol"],
        tuple(Ports(first, last) for first, last in value["ports"]),
        tuple(value["server_names"]),
    )


def _peer(value: Mapping[str, Any]) -> Peer:
    if "name" in value:
        return Name(value["name"])
    if "cidr" in value:
        holes = tuple(addresses.parse_network(hole) for hole in value["except"])
        return Addresses(addresses.parse_network(value["cidr"]), holes)
    if "labels" in value:
        labels = tuple(sorted(value["labels"].items()))
        return Pods(value["namespace"], labels, value["account"])
    if "entity" in value:
        return ApiServer()
    raise ValueError("a peer of no known form")


def _forged(name: str) -> IntegrityViolation:
    return IntegrityViolation(
        "profile_forged",
        f"what is stored as {name} is not what that name is made of",
        step="bind",
    )
