"""Dockerfile, compose file, Makefile and CI say the same as the code."""

import re
from pathlib import Path

import yaml

from gateway.settings import CLIENT_VARIABLES, known_keys

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def key_of(variable: str) -> str:
    """Return the setting that an environment variable sets."""
    return variable.removeprefix("SLUICE_").lower().replace("__", ".")


def test_container_sets_only_settings_that_exist() -> None:
    """A renamed setting breaks this test and not a deployment."""
    variables = set(re.findall(r"\b(SLUICE_[A-Z_]+)=", DOCKERFILE))
    for service in COMPOSE["services"].values():
        variables |= set(service.get("environment", {}))
    assert variables
    assert {key_of(name) for name in variables - CLIENT_VARIABLES} <= set(known_keys())


def test_image_runs_as_nobody_in_particular() -> None:
    """The image ends as an ordinary user, and its dependencies are pinned by hash."""
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert "--require-hashes" in DOCKERFILE


def test_compose_is_reachable_from_this_machine_only() -> None:
    """The example deployment trusts a development issuer, so it listens on loopback alone."""
    for service in COMPOSE["services"].values():
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:")
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"]


def test_lock_has_hashes_and_no_addresses() -> None:
    """Every locked package is pinned by hash, and no index is named."""
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE)
    assert len(pins) > 30
    assert lock.count("--hash=sha256:") >= len(pins)
    assert "://" not in lock


def test_ci_calls_what_the_readme_names() -> None:
    """CI and users run the same targets."""
    ci, readme = (ROOT / ".ci" / "run").read_text(), (ROOT / "README.md").read_text()
    for target in ("make demo", "make test"):
        assert target in ci
        assert target in readme
