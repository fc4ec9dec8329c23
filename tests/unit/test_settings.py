"""Settings: where they come from, and what a careless operator is told."""

import re
from pathlib import Path

import pytest

from gateway import settings
from gateway.errors import Misconfigured

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def test_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """Defaults < TOML < environment, key by key."""
    config = tmp_path / "sluice.toml"
    config.write_text("[http]\nport = 1\nhost = '::1'\n")
    found = settings.load(config, {"SLUICE_HTTP__PORT": "2"})
    assert (found.http.port, found.http.host) == (2, "::1")
    assert found.http.max_body_bytes == 262_144


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("SLUICE_HTTP__PRT", "http.port"),
        ("SLUICE_ENVIROMENT", "environment"),
        ("SLUICE_RUNS__PARALEL_TASKS", "runs.parallel_tasks"),
    ],
)
def test_unknown_key_names_the_nearest(name: str, nearest: str) -> None:
    """A misspelt key stops the start and says what was probably meant."""
    with pytest.raises(Misconfigured, match=re.escape(f"did you mean {nearest}?")):
        settings.load(environ={name: "1"})


def test_wrong_value_names_the_key() -> None:
    """A value of the wrong type is refused with its key, not its neighbour's."""
    with pytest.raises(Misconfigured, match=r"http\.port"):
        settings.load(environ={"SLUICE_HTTP__PORT": "many"})


def test_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A file that was asked for and cannot be read never means defaults."""
    with pytest.raises(Misconfigured, match="cannot read"):
        settings.load(tmp_path / "absent.toml", {})


def test_client_variables_are_not_settings() -> None:
    """SLUICE_URL and SLUICE_TOKEN speak to commands and do not upset the server."""
    assert settings.load(environ={"SLUICE_URL": "http://x", "SLUICE_TOKEN": "t"})


def test_document_lists_every_setting() -> None:
    """docs/settings.md has exactly one row for each key that exists, and no other."""
    top, _, rows = DOCUMENT.read_text().partition("## `[[identity.issuers]]`")
    assert sorted(re.findall(r"^\| `([a-z_.]+)` \|", top, re.MULTILINE)) == sorted(
        settings.known_keys()
    )
    columns = sorted(re.findall(r"^\| `([a-z_]+)` \|", rows, re.MULTILINE))
    assert columns == sorted(settings.IssuerSettings.model_fields)
