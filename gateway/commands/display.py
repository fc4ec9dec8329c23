"""How a terminal shows launches: a live table and a progress bar, or plain lines without one.

Texts that came from requesters, tasks or the network are escaped, control characters included: a
task cannot draw on the reader's terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gateway.commands.client import Event

_STYLES = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "pending": "dim",
    "succeeded": "bold green",
    "allow": "bold green",
    "deny": "bold red",
    "denied": "bold red",
    "awaiting_approval": "bold yellow",
    "needs_approval": "bold yellow",
    "cancelled": "yellow",
}


def safe(value: object) -> str:
    """Return text that a terminal shows as it is: control characters made visible."""
    text = "".join(c if c.isprintable() or c == " " else f"\\x{ord(c):02x}" for c in str(value))
    return escape(text)


def styled(word: str) -> str:
    """Return a state or a verdict in its colour."""
    style = _STYLES.get(word)
    return f"[{style}]{safe(word)}[/]" if style else safe(word)


class LiveRun:
    """Follows one launch's events on a terminal."""

    def __init__(self, console: Console, tasks: Sequence[Mapping[str, Any]]) -> None:
        """``tasks`` as in ``GET /v1/launches/ID``; tasks that are only possible are not counted."""
        self._console = console
        self._names = {task["key"]: str(task["family"]) for task in tasks}
        self._states = {t["key"]: str(t["state"]) for t in tasks if t["kind"] != "possible"}
        self._notes: dict[str, str] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._row = self._bar.add_task("tasks", total=len(self._states) or None)
        self._live = Live(console=console, refresh_per_second=8, transient=True)
        self._plain = not console.is_terminal

    def __enter__(self) -> Self:
        if not self._plain:
            self._live.start()
            self._draw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._plain:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Take one event in."""
        self._take(event.name, event.data.get("body", event.data))
        if not self._plain:
            self._draw()

    def _take(self, name: str, body: Mapping[str, Any]) -> None:
        key = body.get("task")
        match name:
            case "task.started":
                self._set(key, "running", f"attempt {body['attempt']}")
            case "task.finished":
                note = body["explanation"] if body["status"] == "FAILED" else ""
                self._set(key, str(body["status"]).lower(), str(note))
            case "task.refused":
                self._set(key, "failed", str(body["reason"]))
            case "task.yielded":
                self._add(body["nodes"])
            case "task.progress":
                self._notes[str(key)] = str(body.get("message") or f"{body.get('percent', '')}%")
            case "run.started" | "run.recovered":
                for done in body["complete_already"]:
                    self._set(done, "done", "complete already")

    def _add(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        for node in nodes:
            self._names[node["key"]] = str(node["family"])
            self._set(node["key"], "pending", "yielded at run time")

    def _set(self, key: object, state: str, note: str) -> None:
        name = str(key)
        self._states[name] = state
        self._notes[name] = note
        if self._plain and state in {"done", "failed", "running"}:
            label = safe(self._names.get(name, name[:12]))
            self._console.print(f"    {styled(state):<8} {label} {safe(note)}".rstrip())

    def _draw(self) -> None:
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        active = [k for k, state in self._states.items() if state in {"running", "failed"}]
        for key in active[:8]:
            name, note = self._names.get(key, key[:12]), self._notes.get(key, "")
            state = self._states[key]
            table.add_row(
                Text(f"    {state}", style=_STYLES.get(state, "")),
                Text.from_markup(safe(name)),
                Text.from_markup(safe(note[:100])),
            )
        done = sum(1 for state in self._states.values() if state == "done")
        self._bar.update(self._row, completed=done, total=len(self._states))
        self._live.update(Group(self._bar, table))
