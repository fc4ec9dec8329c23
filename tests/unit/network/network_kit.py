"""Catalogue entries that tests start from, each changed in one field."""

from __future__ import annotations

from typing import Any

from gateway.network.destinations import NetworkDestination, parse_destination

Entry = dict[str, Any]


def fqdn(host: str = "api.example.com", **more: Any) -> Entry:
    """A name on port 443."""
    return {"kind": "fqdn", "host": host, "ports": [443], "protocol": "https", **more}


def cidr(host: str = "10.0.0.0/8", **more: Any) -> Entry:
    """A range on port 5432."""
    return {"kind": "cidr", "host": host, "ports": [5432], "protocol": "tcp", **more}


def api_server(**more: Any) -> Entry:
    """The cluster's API server."""
    return {"kind": "kube-apiserver", "ports": [6443], "protocol": "https", **more}


def service(host: str = "data/warehouse", **more: Any) -> Entry:
    """A Service that planning has resolved: port 80 of it is port 8080 of its pods."""
    namespace, _, name = host.partition("/")
    resolved = {
        "namespace": namespace,
        "name": name,
        "type": "ClusterIP",
        "selector": {"app": name},
        "ports": [8080],
        **more.pop("service", {}),
    }
    entry: Entry = {"kind": "service", "host": host, "ports": [80], "protocol": "http"}
    return {**entry, "service": resolved, **more}


def read(entry: Entry, name: str = "it") -> NetworkDestination:
    """Parse an entry."""
    return parse_destination(name, entry)
