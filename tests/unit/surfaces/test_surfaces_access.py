"""What tasks say reaches an agent only where the launch carries nothing kept from agents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.model import Member, Principal, TaskGraph, TaskNode
from gateway.states import LaunchState
from gateway.store.launches import LaunchRecord, TaskRow
from gateway.surfaces import access, views

ADA = Member("https://i", "ada", "human")
HUMAN = Principal(ADA, "human")
AGENT = Principal(ADA, "agent", actors=(Member("https://i", "copilot", "agent"),))
RECORD = LaunchRecord(
    "l", LaunchState.FAILED, "p", {}, "", "http", AGENT, "t", "t",
    outcome="SSN 078-05-1120", outputs=("078-05-1120.txt",), classes=("personal", "public"),
)  # fmt: skip
NODE = TaskNode("k", "m", "F", "t", "task", {}, carries=("personal",))
GRAPH = TaskGraph("k", {"k": NODE}, "c", "d")
ROW = TaskRow("k", 1, "failed", "SSN 078-05-1120", ("078-05-1120.txt",), "t")


@pytest.mark.parametrize(
    ("principal", "classes", "withheld"),
    [
        (AGENT, ("personal",), True),
        (AGENT, ("public", "internal"), False),
        (AGENT, (), False),
        (HUMAN, ("personal",), False),
    ],
)
def test_who_is_told(principal: Principal, classes: tuple[str, ...], *, withheld: bool) -> None:
    """People are told; agents only what is public or internal."""
    assert access.withheld(principal, replace(RECORD, classes=classes)) == withheld


def test_nothing_that_a_task_wrote_is_left() -> None:
    """Outcome, outputs, explanations and event bodies: each could carry what was read."""
    shown = str(views.launch(RECORD, "", withhold=True))
    shown += str(views.tasks(GRAPH, {"k": ROW}, withhold=True))
    told = {"task": "k", "status": "FAILED", "explanation": ROW.explanation}
    more = {"reason": ROW.explanation, "outputs": list(ROW.outputs), "message": ROW.explanation}
    shown += str(views.event_body({**told, **more}))
    assert "078-05-1120" not in shown
    assert "FAILED" in shown
