"""Destinations: what security writes is what policy judges and what the packet filter gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.network.destinations import parse_destination, problems
from gateway.policy.catalogue import parse_data
from gateway.policy.data import Destination
from gateway.policy.overlap import overlap
from gateway.policy.snapshot import read_files
from tests.fixtures.network.place import one_place
from tests.fixtures.network.strategies import Entry, entries

POLICY = read_files(Path(__file__).parents[2] / "policies")
NETWORK = ("kind", "host", "except", "ports", "protocol", "server_names")

unhurried = settings(deadline=None, max_examples=60)


def written(entry: Entry, *classes: str) -> dict[str, Any]:
    """Return an entry as destinations.yaml has it, which emits these classes."""
    fields = {name: entry[name] for name in NETWORK if entry.get(name)}
    for name in ("ports", "except", "server_names"):
        if name in fields:
            unique = {json.dumps(item): item for item in fields[name]}
            fields[name] = list(unique.values())
    return {
        **fields,
        "title": "T",
        "tenancy": "internal",
        "emits": sorted({"public", *classes}),
        "accepts": [],
    }


def catalogue(**items: dict[str, Any]) -> dict[str, Destination]:
    """Return these destinations as the policy folder would give them."""
    changed = {
        "data/destinations.yaml": json.dumps(items).encode(),
        "data/pipelines.yaml": b"{}",
    }
    return dict(parse_data(POLICY | changed)[0].destinations)


@unhurried
@given(entries())
def test_destinations_reach_the_network_as_they_were_written(entry: Entry) -> None:
    """Nothing of an entry is lost or widened on its way through the catalogue."""
    shown = catalogue(d=written(entry))["d"].to_json()
    assert problems({"d": shown}) == ()
    resolved = {"service": entry["service"]} if "service" in entry else {}
    assert parse_destination("d", shown | resolved) == parse_destination("d", entry)


@unhurried
@given(entries(), entries())
def test_destinations_that_may_be_one_place_share_their_classes(a: Entry, b: Entry) -> None:
    """Classes are united wherever the network sees one place, and perhaps where it cannot see."""
    found = catalogue(a=written(a, "secret"), b=written(b))
    both = [parse_destination(name, found[name].to_json()) for name in "ab"]
    assert overlap(found["a"], found["b"]) == overlap(found["b"], found["a"])
    if one_place(*both):
        assert overlap(found["a"], found["b"])
    assert ("secret" in found["b"].emits) == overlap(found["a"], found["b"])


@unhurried
@given(st.lists(entries(), min_size=2, max_size=6))
def test_destinations_emit_alike_across_a_chain_of_overlaps(drawn: list[Entry]) -> None:
    """A place that overlaps two others is no bridge over which a class gets lost."""
    found = catalogue(**{f"d{n}": written(entry, f"class{n}") for n, entry in enumerate(drawn)})
    for a in found.values():
        for b in found.values():
            if overlap(a, b):
                assert a.emits == b.emits
