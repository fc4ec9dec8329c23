"""Tasks from texts and back: every parameter explicit, private ones included.

Luigi's ``to_str_params`` leaves private parameters out, so a round trip through it returns their
defaults (Luigi 3.8.1, task.py). Here each value goes through its own Parameter.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import luigi
from luigi.parameter import ParameterVisibility
from luigi.task_register import Register, TaskClassAmbigiousException, TaskClassNotFoundException

from .failure import GuestError, describe, place, wrap
from .names import Parameter, Task, TaskClass, Value

_NO_DEFAULT = object()


def find(family: str) -> TaskClass:
    """Return the task class of a family; raises ``GuestError`` with the nearest name."""
    try:
        return Register.get_task_cls(family)
    except TaskClassAmbigiousException:
        raise GuestError(
            "family_ambiguous", f"two task classes are called {family}: give one a namespace"
        ) from None
    except TaskClassNotFoundException:
        hint = _nearest(family, Register.task_names())
        raise GuestError("family_unknown", f"the module defines no task {family}{hint}") from None


class Families:
    """What is the same for all tasks of a class, looked up once."""

    def __init__(self, tree: str) -> None:
        self.tree = tree
        self._parameters: dict[TaskClass, list[tuple[str, Parameter, bool]]] = {}
        self._defaults: dict[Any, Any] = {}
        self._rebuilt: dict[tuple[int, str], Any] = {}

    def parameters(self, cls: TaskClass) -> list[tuple[str, Parameter, bool]]:
        """Return name, Parameter and whether it is private, for each parameter of a class."""
        known = self._parameters.get(cls)
        if known is None:
            known = [
                (name, item, item.visibility != ParameterVisibility.PUBLIC)
                for name, item in cls.get_params()
            ]
            self._parameters[cls] = known
        return known

    def build(self, family: str, texts: Mapping[str, str]) -> Task:
        """Make the task that ``texts`` describe; what they leave out takes its default.

        Raises ``GuestError``: ``family_...``, ``parameter_...``, ``task_invalid``.
        """
        cls = find(family)
        parameters = self.parameters(cls)
        names = [name for name, _, _ in parameters]
        for name in texts:
            if name not in names:
                hint = _nearest(name, names)
                raise GuestError("parameter_unknown", f"{family} has no parameter {name}{hint}")
        values = {}
        for name, item, _ in parameters:
            if name in texts:
                values[name] = self._read(cls, name, item, texts[name])
            elif self._default(cls, name, item) is _NO_DEFAULT:
                raise GuestError("parameter_missing", f"{family} needs a value for {name}")
        try:
            return cls(**values)
        except BaseException as error:
            raise wrap("task_invalid", f"making {family}", error, self.tree) from error

    def texts(self, task: Task) -> dict[str, tuple[str, bool]]:
        """Return text and privacy of each parameter.

        Raises ``GuestError`` (``parameter_invalid``) where the text could not be read back.
        """
        family = task.get_task_family()
        found = {}
        for name, item, private in self.parameters(type(task)):
            value = task.param_kwargs[name]
            try:
                text = item.serialize(value)
            except Exception as error:
                raise wrap(
                    "parameter_invalid", f"writing {family}.{name} as text", error, self.tree
                ) from error
            if not isinstance(text, str) or not self._says_all(type(task), name, item, value, text):
                raise GuestError(
                    "parameter_invalid",
                    f"{family}.{name} has a value that cannot be read back from its text"
                    f" ({type(value).__name__} in a {type(item).__name__})",
                )
            found[name] = (text, private)
        return found

    def _read(self, cls: TaskClass, name: str, item: Parameter, text: str) -> Value:
        """Parse one text. The text of the default is the default: ``None`` is written as a word."""
        default = self._default(cls, name, item)
        if default is not _NO_DEFAULT and _serialized(item, default) == text:
            return default
        try:
            return item.parse(text)
        except Exception as error:
            # Never the error's own text: it quotes the value, which may be masked.
            message = f"{cls.get_task_family()}.{name} cannot be read as {type(item).__name__}"
            raise GuestError("parameter_invalid", message, place(error, self.tree)) from error

    def _says_all(
        self, cls: TaskClass, name: str, item: Parameter, value: Value, text: str
    ) -> bool:
        key = (id(item), text)
        if key not in self._rebuilt:
            try:
                self._rebuilt[key] = item.serialize(item.normalize(item.parse(text))) == text
            except Exception:  # noqa: BLE001 - a parser may raise anything
                self._rebuilt[key] = False
        if self._rebuilt[key] and value is not None:
            return True
        default = self._default(cls, name, item)
        if default is not _NO_DEFAULT and _serialized(item, default) == text:
            return True
        try:
            return bool(value is None and item.parse(text) is None)
        except Exception:  # noqa: BLE001 - a parser may raise anything
            return False

    def _default(self, cls: TaskClass, name: str, item: Parameter) -> Value:
        key = (cls, name)
        if key not in self._defaults:
            family = cls.get_task_family()
            try:
                has = item.has_task_value(family, name)
                self._defaults[key] = item.task_value(family, name) if has else _NO_DEFAULT
            except Exception as error:
                raise GuestError(
                    "parameter_invalid",
                    f"the default of {family}.{name} fails: {describe(error)}",
                    place(error, self.tree),
                ) from error
        return self._defaults[key]


def kind(task: Task) -> str:
    """Return ``external``, ``wrapper`` or ``task``, as Luigi's worker would treat it.

    A wrapper with a ``run`` or ``complete`` of its own does work, so it is a task.
    """
    if task.run is None or task.run == NotImplemented:
        return "external"
    cls = type(task)
    if (
        isinstance(task, luigi.WrapperTask)
        and cls.run is luigi.Task.run
        and cls.complete is luigi.WrapperTask.complete
    ):
        return "wrapper"
    return "task"


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _serialized(item: Parameter, value: Value) -> str | None:
    try:
        text = item.serialize(value)
    except Exception:  # noqa: BLE001 - a serializer may raise anything
        return None
    return text if isinstance(text, str) else None
