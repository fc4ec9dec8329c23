"""Catalogue entries that tests start from, and how one is read."""

from __future__ import annotations

from gateway.network.destinations import NetworkDestination, parse_destination
from tests.fixtures.network.entries import Entry, api_server, cidr, fqdn, service

__all__ = ["Entry", "api_server", "cidr", "fqdn", "read", "service"]


def read(entry: Entry, name: str = "it") -> NetworkDestination:
    """Parse an entry."""
    return parse_destination(name, entry)
