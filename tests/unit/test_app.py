"""Starting: what this environment demands is there, or the gateway does not start (invariant 9)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from gateway_bed import ROOT, serve

from gateway.app import running
from gateway.errors import Misconfigured
from gateway.identity.development import DevIssuer
from gateway.settings import Settings

ISSUER = {"issuer": "https://id.example", "jwks_url": "https://id.example/keys"}


async def refusal(settings: Settings) -> str:
    """Start a gateway that must not start; return the code."""
    with pytest.raises(Misconfigured) as caught:
        async with running(settings):
            pass
    return caught.value.code


async def test_production_refuses_the_development_issuer(changed: Any) -> None:
    """Tokens that anybody on the machine can make are worth nothing in production."""
    production = changed(
        environment="production", identity={"development_issuer": True, "issuers": [ISSUER]}
    )
    assert await refusal(production) in {
        "development_issuer_in_production",
        "unsafe_binder_in_production",
    }


async def test_production_refuses_an_executor_that_enforces_nothing(changed: Any) -> None:
    """Without enforcement of network policy there is no production, whatever else is right."""
    identity = {"development_issuer": False, "issuers": [ISSUER]}
    production = changed(environment="production", identity=identity)
    assert await refusal(production) == "unsafe_binder_in_production"


async def test_a_development_row_in_the_table_is_refused_too(changed: Any, tmp_path: Path) -> None:
    """The development issuer does not come in by the table of issuers."""
    row = DevIssuer.open(tmp_path / "keys").row().model_dump()
    identity = {"development_issuer": False, "issuers": [row]}
    production = changed(environment="production", identity=identity)
    assert await refusal(production) in {
        "development_issuer_in_production",
        "unsafe_binder_in_production",
    }


async def test_no_issuer_no_start(changed: Any) -> None:
    """A gateway that nobody can speak to says so at once."""
    assert await refusal(changed(identity={"development_issuer": False})) == "no_issuer"


async def test_broken_policy_no_start(changed: Any, tmp_path: Path) -> None:
    """There is no gateway without a policy: nothing is allowed by default."""
    (tmp_path / "policies").mkdir()
    assert await refusal(changed(policy={"directory": tmp_path / "policies"})) == "policy_invalid"


async def test_taken_port_is_named(changed: Any) -> None:
    """A second gateway on one port says which address is taken."""
    async with serve(changed()) as served:
        port = int(served.gateway.url.rpartition(":")[2])
        other = changed(http={"port": port}, state_dir=served.settings.state_dir.parent / "other")
        assert await refusal(other) == "address_unavailable"


async def test_one_state_folder_one_gateway(changed: Any) -> None:
    """Two processes never write one log."""
    async with serve(changed()):
        assert await refusal(changed()) == "store_locked"


async def test_start_and_stop_are_in_the_log(changed: Any) -> None:
    """The log says when the gateway started, with which policy and walls, and what is unsafe."""
    async with serve(changed()):
        pass
    async with serve(changed()) as served:
        entries = await served.gateway.parts.log.entries(0, 50)
    names = [entry.value["event"] for entry in entries]
    assert names == [
        *("policy.loaded", "gateway.started", "enforcement.unsafe", "gateway.stopped"),
        *("policy.loaded", "gateway.started", "enforcement.unsafe"),
    ]


async def test_destinations_that_cannot_be_enforced_are_refused(
    changed: Any, tmp_path: Path
) -> None:
    """A destination of which no sound network policy can be made never reaches a decision."""
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    path = policies / "data" / "destinations.yaml"
    path.write_text(path.read_text().replace("host: 127.0.0.1", "host: 0.0.0.0/0"))
    assert await refusal(changed(policy={"directory": policies})) == "policy_invalid"
