"""What an attempt says of itself, read as what it is: bytes from code that we did not write.

Bounded in size, parsed strictly, cut where a text is long. Whatever is not understood makes the
attempt fail, with a reason that names it. The protocol is ``gateway/guest``'s.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.runs.executor import Outcome, Progress

MAX_LINE = 2 * 1024 * 1024  # bytes; a result that yields 5,000 tasks has about 1.5 MB
MAX_EXPLANATION = 10_000  # characters; the end is kept, where a traceback says what happened
MAX_TEXT = 2_000
MAX_OUTPUTS = 1_000
MAX_OUTPUT_BYTES = 32_768  # of all together; an entry of the log holds 256 KiB

_STATUSES = ("DONE", "FAILED", "PENDING")
_FIELDS = frozenset({"status", "explanation", "outputs", "yields"})


@dataclass(frozen=True, slots=True)
class Limit:
    """The limits whose breach is told in words."""

    cpu_seconds: int
    memory_mb: int


@dataclass(frozen=True, slots=True)
class End:
    """How the process of an attempt ended; ``lost`` says why there is neither code nor signal."""

    code: int | None = None
    signal: int | None = None
    lost: str | None = None


class NonsenseError(Exception):
    """What was said is not of the protocol."""


class Report:
    """Collects the lines of one attempt, passing progress on as it comes."""

    def __init__(self, progress: Callable[[Progress], None]) -> None:
        """``progress`` is called for each well-formed line of progress."""
        self._progress = progress
        self._rest = b""
        self._last: Mapping[str, Any] | None = None
        self._nonsense: str | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes as they come. Never raises; the first nonsense is kept for the end."""
        if self._nonsense:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            for line in lines:
                self._line(line)
        except NonsenseError as error:
            self._nonsense, self._rest = str(error), b""
        if len(self._rest) > MAX_LINE:
            self._nonsense, self._rest = f"it reported more than {MAX_LINE >> 20} MB", b""

    def outcome(self, end: End, limit: Limit) -> Outcome:
        """Return how a ``run`` ended."""
        broken = _broken(end, limit)
        try:
            result = self._final("result")
        except NonsenseError as error:
            return Outcome("FAILED", broken or str(error))
        try:
            outcome = _outcome(result)
        except NonsenseError as error:
            return Outcome("FAILED", f"its report makes no sense: {error}")
        if outcome.status == "FAILED" and outcome.explanation.rstrip().endswith("MemoryError"):
            return Outcome(
                "FAILED", f"{outcome.explanation.rstrip()} (the limit is {limit.memory_mb} MB)"
            )
        if outcome.status != "FAILED" and broken:
            return Outcome("FAILED", broken)
        return outcome

    def answers(self, count: int, end: End, limit: Limit) -> list[bool | str]:
        """Return how a ``probe`` of ``count`` tasks ended: a text where nothing is known."""
        try:
            return _answers(self._final("complete"), count)
        except NonsenseError as error:
            return [_broken(end, limit) or str(error)] * count

    def _line(self, line: bytes) -> None:
        if self._last is not None:
            raise NonsenseError("it went on reporting after its result")
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise NonsenseError("its report is not JSON") from error
        match said:
            case {"progress": int(percent)} if len(said) == 1 and type(percent) is int:
                self._progress(Progress(percent=max(0, min(100, percent))))
            case {"message": str(text)} if len(said) == 1:
                self._progress(Progress(message=_text(text, MAX_TEXT)))
            case {"tracking_url": str(url)} if len(said) == 1:
                if url.startswith(("https://", "http://")):  # no other is safe to show as a link
                    self._progress(Progress(tracking_url=_text(url, MAX_TEXT)))
            case {"result": _} | {"complete": _} if len(said) == 1:
                self._last = said
            case _:
                raise NonsenseError("its report has an unknown line")

    def _final(self, name: str) -> object:
        if self._nonsense:
            raise NonsenseError(self._nonsense)
        if self._last is None or name not in self._last or self._rest:
            raise NonsenseError("the task's process ended without a result")
        return self._last[name]


def _answers(said: object, count: int) -> list[bool | str]:
    if not isinstance(said, list) or len(said) != count:
        raise NonsenseError("the answer of complete() makes no sense")
    return [item if isinstance(item, bool) else _text(item, MAX_TEXT) for item in said]


def _outcome(said: object) -> Outcome:
    if not isinstance(said, dict) or said.keys() != _FIELDS:
        raise NonsenseError("unknown fields")
    status, outputs, yields = said["status"], said["outputs"], said["yields"]
    if status not in _STATUSES:
        raise NonsenseError("unknown status")
    if not isinstance(outputs, list) or len(outputs) > MAX_OUTPUTS:
        raise NonsenseError("outputs")
    if (status == "PENDING") != _is_yield(yields):
        raise NonsenseError("what it yields")
    return Outcome(
        status=status,
        explanation=_text(said["explanation"], MAX_EXPLANATION),
        outputs=within((_text(path, MAX_TEXT) for path in outputs), MAX_OUTPUT_BYTES),
        yields=yields,
    )


def within(texts: Iterable[str], most: int) -> tuple[str, ...]:
    """Return as many texts as fit into ``most`` bytes, in order: a log entry has to hold them."""
    found, size = [], 0
    for text in texts:
        size += len(text.encode(errors="replace"))
        if size > most:
            break
        found.append(text)
    return tuple(found)


def _is_yield(value: object) -> bool:
    """Whether the shape is right; whether it may be yielded is decided by who knows the graph."""
    if value is None:
        return False
    if not isinstance(value, dict) or value.keys() != {"roots", "nodes"}:
        raise NonsenseError("what it yields")
    return all(isinstance(value[name], list) and value[name] for name in ("roots", "nodes"))


def _text(value: object, limit: int) -> str:
    """Return a text that can be stored anywhere: no lone surrogates, cut at its start."""
    if not isinstance(value, str):
        raise NonsenseError("not a text")
    kept = value if len(value) <= limit else "..." + value[-limit:]
    return kept.encode("utf-8", "replace").decode()


def _broken(end: End, limit: Limit) -> str | None:
    """Say in words how a process ended that did not end well."""
    if end.lost is not None:
        return end.lost
    if end.signal == signal.SIGXCPU:
        return f"the task used more than {limit.cpu_seconds} s of CPU time"
    if end.signal == signal.SIGKILL:
        return (
            "the task's process was killed (signal 9), as happens beyond "
            f"{limit.memory_mb} MB of memory or {limit.cpu_seconds} s of CPU time"
        )
    if end.signal is not None:
        return f"the task's process ended with signal {end.signal}{_signal_name(end.signal)}"
    return f"the task's process ended with exit code {end.code}" if end.code else None


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""


def bounded_text(value: object, limit: int = MAX_TEXT) -> str:
    """Return ``value`` as a text that may be shown, whatever it is."""
    return _text(value if isinstance(value, str) else repr(value)[:limit], limit)


def named(keys: Sequence[str], answers: Sequence[bool | str]) -> dict[str, bool | str]:
    """Pair what was asked with what was answered."""
    return dict(zip(keys, answers, strict=True))
