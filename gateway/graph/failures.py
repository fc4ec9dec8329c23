"""Why a pipeline has no graph: one error for the caller, a closed table of reasons behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from gateway.errors import Unprocessable

DETAILS: Mapping[str, str] = {
    "source_unusable": "correct the pipeline's source folder",
    "source_too_large": "keep data and virtual environments out of the pipeline's source folder",
    "code_changed": "launch again",
    "import_failed": "correct the module; it is imported without network and without credentials",
    "family_unknown": "correct the name of the task",
    "family_ambiguous": "give one of the two a task_namespace",
    "parameter_unknown": "correct the name of the parameter",
    "parameter_missing": "give it, or declare a default",
    "parameter_invalid": "correct the value, or use a parameter type that can hold it",
    "task_invalid": "correct the task",
    "requires_failed": "correct requires(); it runs without network and without credentials",
    "egress_invalid": "correct the declaration of egress",
    "may_yield_invalid": "correct the declaration of may_yield",
    "too_many_tasks": "split the pipeline, or ask an operator to raise sandbox.max_nodes",
    "too_many_edges": "split the pipeline, or ask an operator to raise sandbox.max_edges",
    "cycle": "remove one of these dependencies",
    "luigi_id_collision": "make the parameters significant, or give both tasks the same values",
    "memory": "build the graph with less memory, or ask an operator for sandbox.resolve_memory_mb",
    "resolve_timeout": "do the work in run(), not at import or in requires()",
    "resolve_cpu": "do the work in run(), not at import or in requires()",
    "result_too_large": "split the pipeline, or shorten its parameters",
    "result_invalid": "keep names plain ASCII, values short, and the resolver's descriptors alone",
    "ended_early": "do not end the process at import or in requires()",
}

_MESSAGE_LENGTH = 1_000
_SHORT = 4  # a shorter value is hidden as a whole word only: it may be part of any word
_HIDDEN = "(hidden)"
_SPELLED = 16  # characters of a value in Luigi's id of a task: task_id_str, Luigi 3.8.1
_UNSPELLED = re.compile(r"[^A-Za-z0-9_]")  # what is an underscore there


class Unresolvable(Unprocessable):
    """The pipeline has no graph. ``detail`` is a key of ``DETAILS``; ``where`` a line of theirs."""

    def __init__(self, detail: str, message: str, where: str = "", diagnostics: str = "") -> None:
        """Join what is wrong, where, and the way out into ``public_message``."""
        place = f" ({where})" if where else ""
        super().__init__(
            "graph_unresolvable",
            f"{message}{place}; {DETAILS[detail]}",
            step="resolve",
            diagnostics=f"{detail}: {diagnostics}" if diagnostics else detail,
        )
        self.detail = detail
        self.reason = message
        self.where = where


class Secrets:
    """The values that no text may repeat: those of a launch that are not allow-listed."""

    def __init__(self, values: Iterable[str]) -> None:
        """Keep the values, and their forms in Python's messages and in Luigi's task ids."""
        forms = {form for value in values if value for form in _forms(value)}
        patterns = [
            re.escape(form) if len(form) >= _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in sorted(forms, key=lambda form: (-len(form), form))
        ]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def hide(self, text: str) -> str:
        """Return ``text`` without the values."""
        return self._pattern.sub(_HIDDEN, text) if self._pattern else text


def _forms(value: str) -> tuple[str, ...]:
    spelled = _UNSPELLED.sub("_", value[:_SPELLED])
    telling = (spelled,) if spelled.strip("_") else ()  # underscores stand everywhere
    return value, repr(value)[1:-1], *telling


def from_guest(error: object, secrets: Secrets) -> Unresolvable:
    """Turn the guest's word on why there is no graph into an error; the guest may lie."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(error, dict) and isinstance(code, str) and code in DETAILS:
        message, where = (
            _printable(secrets.hide(str(error.get(name, "")))) for name in ("message", "where")
        )
        return Unresolvable(code, message or "the pipeline gave no reason", where)
    return Unresolvable("result_invalid", "the pipeline's process gave no usable answer")


def _printable(text: str) -> str:
    """Return a text of one line, without controls that a terminal or a browser would obey."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(plain.split())[:_MESSAGE_LENGTH]
