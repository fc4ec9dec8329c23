"""`sluice network render`: what the gateway would create, from files alone."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from gateway.commands.networks import render
from gateway.errors import Conflict, GatewayError
from gateway.network.cilium import policy
from gateway.network.dns import flavour
from gateway.network.profiles import profile
from gateway.network.sites import Site
from gateway.policy.snapshot import load_snapshot

POLICIES = Path(__file__).parents[3] / "policies"
CATALOGUE = {
    name: item.to_json() for name, item in load_snapshot(POLICIES).data.destinations.items()
}


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of a test: neither of the environment nor of the working folder."""
    for name in [name for name in os.environ if name.startswith("SLUICE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


async def run(**given: Any) -> int:
    """Run the command as the command line would."""
    arguments: dict[str, Any] = {
        "file": None,
        "destination": [],
        "policies": POLICIES,
        "services": None,
        "config": None,
        "namespace": None,
        "dns": None,
        "baseline": False,
        "json": False,
    }
    return await render(argparse.Namespace(**arguments | given), Console())


def plan(tmp_path: Path, *egress: list[str], **more: Any) -> Path:
    """Write the answer of `sluice plan --json` for tasks with these destinations."""
    names = sorted({profile(found, CATALOGUE).name for found in egress})
    tasks = [{"family": "T", "egress": found} for found in egress]
    answer = {"decision": {}, "plan": {"pipeline": "p", "profiles": names}, "tasks": tasks}
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(answer | more))
    return file


async def test_network_render_destinations(capsys: pytest.CaptureFixture[str]) -> None:
    """Names of destinations are those of one task: one policy, with its name and its parts."""
    assert await run(destination=["warehouse", "crm"]) == 0
    out = capsys.readouterr().out
    wanted = profile(["crm", "warehouse"], CATALOGUE)
    assert out.startswith(f"# {wanted.name}: crm, warehouse\n---\n")
    assert yaml.safe_load(out) == policy(wanted)


async def test_network_render_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each distinct set of destinations of a plan is one policy, sorted by name."""
    file = plan(tmp_path, ["crm"], [], ["crm"], ["crm", "warehouse"])
    assert await run(file=file, json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 3
    assert found == sorted(found, key=lambda manifest: manifest["metadata"]["name"])
    assert policy(profile(["crm"], CATALOGUE)) in found


async def test_network_render_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--baseline`` the namespace's own policies come first, in the namespace asked for."""
    assert await run(baseline=True, namespace="tasks", dns="openshift", destination=["crm"]) == 0
    first, cut, second = yaml.safe_load_all(capsys.readouterr().out)
    assert first["metadata"] | {"labels": None} == {
        "name": "sluice-baseline",
        "namespace": "tasks",
        "labels": None,
    }
    assert cut["metadata"]["name"] == "sluice-cut"
    assert {found["metadata"]["namespace"] for found in (first, cut, second)} == {"tasks"}
    assert second["spec"]["egress"][0]["toPorts"][0]["ports"][0]["port"] == "5353"


async def test_network_render_refuses_another_plan(tmp_path: Path) -> None:
    """A policy under another name than the approved one would not be what was approved."""
    with pytest.raises(Conflict, match="--namespace") as refused:
        await run(file=plan(tmp_path, ["crm"]), namespace="elsewhere")
    assert refused.value.code == "profiles_differ"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "file_unreadable"),
        ('{"plan": null, "tasks": []}', "plan_missing"),
        ('{"plan": {}, "tasks": []}', "file_unreadable"),
        ('{"plan": {"profiles": []}, "tasks": [{"egress": ["nobody"]}]}', "destination_unknown"),
    ],
)
async def test_network_render_explains_bad_files(tmp_path: Path, content: str, code: str) -> None:
    """A file that is no plan, or names what the catalogue lacks, is refused with a code."""
    file = tmp_path / "plan.json"
    file.write_text(content)
    with pytest.raises(GatewayError) as refused:
        await run(file=file)
    assert refused.value.code == code


async def test_network_render_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(GatewayError, match=r"absent\.json"):
        await run(file=tmp_path / "absent.json")


async def test_network_render_as_configured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Namespace and DNS are those of the gateway's file, unless options name others."""
    file = tmp_path / "sluice.toml"
    file.write_text('[cluster]\nnamespace = "elsewhere"\ndns = "openshift"\n')
    there = Site("elsewhere", flavour("openshift"))
    assert await run(destination=["crm"], config=file) == 0
    assert yaml.safe_load(capsys.readouterr().out) == policy(profile(["crm"], CATALOGUE, there))
    assert await run(destination=["crm"], config=file, namespace="here", dns="kube-dns") == 0
    assert yaml.safe_load(capsys.readouterr().out) == policy(
        profile(["crm"], CATALOGUE, Site("here"))
    )


def with_a_service(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a policy folder that has the Service ``lake``, and what it is resolved to."""
    policies = tmp_path / "policies"
    policies.mkdir()
    for source in POLICIES.rglob("*"):
        if source.is_file():
            copy = policies / source.relative_to(POLICIES)
            copy.parent.mkdir(exist_ok=True, parents=True)
            copy.write_bytes(source.read_bytes())
    entries = policies / "data" / "destinations.yaml"
    entries.write_text(
        f"{entries.read_text()}\nlake:\n  title: Lake\n  kind: service\n  host: data/lake\n"
        "  ports: [80]\n  protocol: http\n  tenancy: internal\n  emits: [public]\n  accepts: []\n"
    )
    resolved = {
        "namespace": "data",
        "name": "lake",
        "type": "ClusterIP",
        "selector": {"app": "lake"},
        "ports": [8080],
    }
    return policies, resolved


async def test_network_render_services(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--services`` gives what planning would have read from the cluster."""
    policies, resolved = with_a_service(tmp_path)
    services = tmp_path / "services.json"
    services.write_text(json.dumps({"lake": resolved}))
    with pytest.raises(GatewayError, match="--services"):
        await run(policies=policies, destination=["lake"])
    assert await run(policies=policies, destination=["lake"], services=services) == 0
    rule = yaml.safe_load(capsys.readouterr().out)["spec"]["egress"][-1]
    assert rule["toEndpoints"][0]["matchLabels"]["k8s:app"] == "lake"
    assert rule["toPorts"][0]["ports"] == [{"port": "8080", "protocol": "TCP"}]


async def test_network_render_plan_with_a_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan says what its Services were: nothing else is needed, and an account is never lost."""
    policies, resolved = with_a_service(tmp_path)
    entries = policies / "data" / "destinations.yaml"
    entries.write_text(
        entries.read_text().replace("host: data/lake", "host: data/lake\n  service_account: loader")
    )
    data = load_snapshot(policies).data
    entry = data.destinations["lake"].to_json()
    wanted = profile(
        ["lake"], {"lake": entry | {"service": resolved | {"service_account": "loader"}}}
    )
    answer: dict[str, Any] = {
        "plan": {"profiles": [wanted.name], "services": {"lake": resolved}},
        "tasks": [{"egress": ["lake"]}],
    }
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(answer))
    assert await run(policies=policies, file=file) == 0
    assert yaml.safe_load(capsys.readouterr().out) == policy(wanted)
    answer["plan"]["services"]["lake"] = resolved | {"service_account": "other"}
    file.write_text(json.dumps(answer))
    with pytest.raises(GatewayError, match="is another one than loader"):
        await run(policies=policies, file=file)
