"""What a task declares about itself, read and checked: egress, may_yield, priority and the like."""

from __future__ import annotations

import re

import luigi

from .failure import GuestError, wrap
from .names import Task, TaskClass, Value
from .tasks import find

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def egress(owner: Task | TaskClass, family: str, tree: str) -> list[str]:
    """Return the sorted destination names of a task, or of a class in ``may_yield``."""
    try:
        value = getattr(owner, "egress", ())
    except BaseException as error:
        raise wrap("egress_invalid", f"{family}.egress", error, tree) from error
    if isinstance(value, str):
        raise GuestError(
            "egress_invalid", f'{family}.egress is one text; write a tuple: egress = ("{value}",)'
        )
    if isinstance(value, property):
        raise GuestError(
            "egress_invalid",
            f"{family} is named in may_yield: its egress must be a plain class attribute,"
            " because it is decided upon before such a task exists",
        )
    if not isinstance(value, tuple | list | set | frozenset):
        raise GuestError(
            "egress_invalid", f"{family}.egress must be a tuple of names of destinations"
        )
    for name in value:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise GuestError(
                "egress_invalid",
                f"{family}.egress: {str(name)[:80]!r} is not the name of a destination"
                " (lower-case letters, digits, '.', '_' and '-')",
            )
    return sorted(set(value))


def may_yield(owner: Task | TaskClass, family: str, tree: str) -> list[tuple[TaskClass, int]]:
    """Return the classes that a task may yield, each with how many tasks of it at the most."""
    try:
        value = getattr(owner, "may_yield", ())
    except BaseException as error:
        raise wrap("may_yield_invalid", f"{family}.may_yield", error, tree) from error
    if isinstance(value, str) or not isinstance(value, tuple | list):
        raise GuestError(
            "may_yield_invalid", f"{family}.may_yield must be a tuple of families: (Name,)"
        )
    found: dict[TaskClass, int] = {}
    for item in value:
        pair = item if isinstance(item, tuple | list) else (item, 1)
        try:
            named, limit = pair
        except ValueError:
            named, limit = None, 0
        if type(limit) is not int or limit < 1:
            raise GuestError(
                "may_yield_invalid",
                f"{family}.may_yield: write a family, or (family, largest number of tasks)",
            )
        cls = find(named) if isinstance(named, str) else named
        if not (isinstance(cls, type) and issubclass(cls, luigi.Task)):
            raise GuestError("may_yield_invalid", f"{family}.may_yield names something not a task")
        found[cls] = found.get(cls, 0) + limit
    return list(found.items())


def scheduling(task: Task, family: str, tree: str) -> dict[str, object]:
    """Return what Luigi's scheduler wants to know of a task."""
    try:
        resources = dict(task.process_resources())
        return {
            "priority": _whole(task.priority),
            "resources": {str(name): _whole(count) for name, count in resources.items()},
            "retry_count": _optional(task.retry_count),
            "worker_timeout": _optional(task.worker_timeout),
            "disabled": bool(task.disabled),
        }
    except BaseException as error:
        what = f"reading priority, resources, retry_count or worker_timeout of {family}"
        raise wrap("task_invalid", what, error, tree) from error


def _whole(value: Value) -> int:
    number = int(value)
    if number != value:
        message = f"{value!r} is not a whole number"
        raise ValueError(message)
    return number


def _optional(value: Value) -> int | None:
    return None if value is None else _whole(value)
