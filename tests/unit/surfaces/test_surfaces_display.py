"""What a terminal shows: other people's text is data, and cannot draw."""

import io

import pytest
from rich.console import Console

from gateway.commands.client import Event
from gateway.commands.display import LiveRun, safe


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\rb", "a\nb", "\x9b2J", "\u202eabc", "a\x00"])
def test_control_characters_are_made_visible(text: str) -> None:
    """Escape sequences, line breaks and direction overrides from a task reach nobody's terminal."""
    shown = safe(text)
    assert all(c.isprintable() for c in shown)


def test_markup_is_escaped() -> None:
    """A task named like our own markup is shown as it is written."""
    out = io.StringIO()
    Console(file=out, width=80).print(safe("[bold red]denied[/]"))
    assert out.getvalue().strip() == "[bold red]denied[/]"


def test_plain_output_names_each_task_once_per_state() -> None:
    """Without a terminal the run is shown as lines, for CI logs."""
    out = io.StringIO()
    tasks = [{"key": "k1", "family": "Fetch", "state": "pending", "kind": "task"}]
    with LiveRun(Console(file=out, width=100), tasks) as live:
        live.show(Event("task.started", {"body": {"task": "k1", "attempt": 1}}, "1"))
        body = {"task": "k1", "attempt": 1, "status": "FAILED", "explanation": "boom\x1b[2J"}
        live.show(Event("task.finished", {"body": body}, "2"))
    text = out.getvalue()
    assert "running" in text
    assert "failed" in text
    assert "Fetch" in text
    assert "\x1b" not in text
