"""`sluice network baseline`: what an installation begins with, and what is offered besides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gateway.cli import main
from gateway.network.baseline import (
    ENFORCE_ALWAYS_EXPLANATION,
    INIT_DENY_EXPLANATION,
    baseline,
    init_deny,
)

DEPLOY = Path(__file__).parents[3] / "deploy"


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Return what the command prints."""
    assert main(["network", "baseline", *options]) == 0
    return capsys.readouterr().out


def comments(text: str) -> str:
    """Return the comments of a YAML stream as one line."""
    return " ".join(line.strip("# ") for line in text.splitlines() if line.startswith("#"))


def test_baseline_is_what_an_installation_begins_with(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the namespace that is named, or of the one that ``deploy/`` makes."""
    assert list(yaml.safe_load_all(printed(capsys))) == list(baseline("sluice-tasks"))
    found = list(yaml.safe_load_all(printed(capsys, "--namespace", "tasks")))
    assert found == list(baseline("tasks"))
    assert json.loads(printed(capsys, "--json", "--namespace", "tasks")) == found


def test_baseline_explains_what_it_does_not_apply(capsys: pytest.CaptureFixture[str]) -> None:
    """Both clusterwide settings are told about in comments: who applies the output applies none."""
    text = printed(capsys)
    for explanation in (INIT_DENY_EXPLANATION, ENFORCE_ALWAYS_EXPLANATION):
        assert explanation in comments(text)
    assert "CiliumClusterwideNetworkPolicy" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_baseline_prints_the_clusterwide_policy_when_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Behind its explanation, and as ``deploy/clusterwide`` has it."""
    text = printed(capsys, "--clusterwide")
    *fixed, offered = yaml.safe_load_all(text)
    assert fixed == list(baseline("sluice-tasks"))
    assert (
        offered
        == init_deny()
        == yaml.safe_load((DEPLOY / "clusterwide" / "init-deny.yaml").read_text())
    )
    assert text.index("reserved:init") < text.index("kind: CiliumClusterwideNetworkPolicy")
    assert json.loads(printed(capsys, "--clusterwide", "--json")) == [*fixed, offered]


def test_baseline_of_no_namespace_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that no namespace can have gives an error and no policy."""
    assert main(["network", "baseline", "--namespace", "Tasks"]) == 1
    assert "---" not in capsys.readouterr().out
