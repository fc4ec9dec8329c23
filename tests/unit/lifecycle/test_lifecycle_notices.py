"""What the network finds wrong with a policy folder, and where it says that it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.lifecycle.notices import network_findings
from gateway.network.dns import KUBE_DNS, NODE_LOCAL_DNS
from gateway.network.sites import Site
from gateway.policy.overlap import overlapping
from gateway.policy.snapshot import read_files, snapshot_of

POLICIES = Path(__file__).parents[3] / "policies"
ENTRY = """
extra:
  title: Extra
  kind: fqdn
  host: a.example
  ports:
    - 443
    - port: 8000
      endPort: 8080
  protocol: https
  tenancy: internal
  emits: [public]
  accepts: [public]
  server_names:
    - a.example
    - b.example
"""


def found(*changes: tuple[str, str]) -> list[tuple[int, str]]:
    """Return what is found in the shipped policy with one more entry, by line of that entry."""
    files = read_files(POLICIES)
    shipped = files["data/destinations.yaml"].decode()
    text = ENTRY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    files["data/destinations.yaml"] = (shipped + text).encode()
    findings = network_findings(snapshot_of(files))
    assert {finding.file for finding in findings} <= {"data/destinations.yaml"}
    return [(finding.line - shipped.count("\n"), finding.reason) for finding in findings]


def test_notices_find_nothing_wrong_with_what_ships() -> None:
    """The shipped destinations, and one that uses most fields, can be enforced."""
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "line", "reason"),
    [
        ([("host: a.example", "host: '*.com'")], 5, "destination extra: host needs a dot"),
        ([("protocol: https", "protocol: udp")], 14, "server_names needs protocol https or tcp"),
        ([("    - b.example", "    - b")], 16, "server_names[1] needs a dot"),
        (
            [("kind: fqdn", "kind: cidr"), ("host: a.example", "host: 10.0.0.1/8")],
            5,
            "host has host bits",
        ),
        (
            [
                ("kind: fqdn", "kind: cidr"),
                ("a.example\n  p", "10.0.0.0/8\n  except: [9.9.9.9]\n  p"),
            ],
            6,
            "except is not inside 10.0.0.0/8: 9.9.9.9",
        ),
        (
            [("kind: fqdn", "kind: cidr"), ("host: a.example", "host: 169.254.0.0/16")],
            5,
            "host holds metadata addresses; put into except: 169.254.169.254",
        ),
        (
            [("host: a.example", "host: db.data.svc.cluster.local")],
            5,
            "host is inside the cluster (cluster.local)",
        ),
    ],
)
def test_notices_name_the_line(changes: list[tuple[str, str]], line: int, reason: str) -> None:
    """Whoever wrote what Cilium would refuse or widen is sent to the very line."""
    ((at, said),) = found(*changes)
    assert (at, reason in said) == (line, True), (at, said)


def test_notices_know_the_cluster() -> None:
    """A range that holds the cluster's DNS servers is refused where they are addresses."""
    files = read_files(POLICIES)
    text = ENTRY.partition("  server_names")[0].replace("- 443", "- 53")
    text = text.replace("fqdn", "cidr").replace("a.example", "169.254.20.0/24")
    files["data/destinations.yaml"] += text.encode()
    snapshot = snapshot_of(files)
    assert network_findings(snapshot, Site(dns=KUBE_DNS)) == ()
    (found_there,) = network_findings(snapshot, Site(dns=NODE_LOCAL_DNS))
    assert "ports hold 53 of the cluster's DNS servers" in found_there.reason


def test_notices_tell_who_shares_an_address() -> None:
    """Two names for one place are found when the policy is loaded, for the log and for people."""
    files = read_files(POLICIES)
    text = ENTRY.partition("  server_names")[0].replace("fqdn", "cidr")
    text = text.replace("a.example", "127.0.0.0/24").replace("- 443", "- 8731")
    files["data/destinations.yaml"] += text.encode()
    data = snapshot_of(files).data
    assert overlapping(data.destinations) == [("extra", "open-data")]
    assert overlapping(snapshot_of(read_files(POLICIES)).data.destinations) == []
