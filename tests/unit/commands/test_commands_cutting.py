"""`sluice cut`: what it asks of the gateway, what it prints, and its exit status."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from typing import Any

import pytest
from gateway_bed import Served
from rich.console import Console

from gateway.cli import _parse
from gateway.commands import cutting
from gateway.commands.client import ClientError


def parsed(served: Served, subject: str, *words: str) -> Namespace:
    """Return the arguments as the command gets them."""
    return _parse(["cut", *words, "--url", served.gateway.url, "--token", served.token(subject)])


async def test_it_says_what_lost_its_network(served: Served, jobs: dict[str, Any]) -> None:
    """One line for each launch with tasks and milliseconds; nothing to cut is no failure."""
    async with served.client("ada") as ada:
        launch = (await ada.post("/v1/launches", jobs))["id"]
    shown = Console(file=io.StringIO(), width=200)
    arguments = parsed(served, "chloe", "--pipeline", "jobs-report", "--reason", "drill")
    assert await cutting.cut(arguments, shown) == 0
    assert await cutting.cut(arguments, shown) == 0
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert f"launch {launch}  0 tasks lost the network after" in text
    assert " ms  cancelled" in text
    assert "nothing of that is under way" in text
    with pytest.raises(ClientError, match="reviewers"):
        await cutting.cut(parsed(served, "ada", "--pipeline", "jobs-report"), shown)


async def test_json_is_the_gateways_answer(
    served: Served, jobs: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A program gets the document, and nothing else on standard output."""
    async with served.client("ada") as ada:
        launch = (await ada.post("/v1/launches", jobs))["id"]
    capsys.readouterr()
    arguments = parsed(served, "ada", launch, "--json")
    assert await cutting.cut(arguments, Console(file=io.StringIO())) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["kind"] == "cut"
    assert [item["launch_id"] for item in said["launches"]] == [launch]


@pytest.mark.parametrize("words", [(), ("LAUNCH", "--pipeline", "p"), ("--principal",)])
def test_one_thing_is_cut(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Without exactly one thing to cut it is a usage error, status 2."""
    with pytest.raises(SystemExit) as caught:
        _parse(["cut", *words])
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err
