"""From Luigi tasks to records: real tasks, walked in this process."""

from __future__ import annotations

import datetime as dt
import time

import luigi
import pytest
from luigi.parameter import ParameterVisibility

from gateway.guest.failure import GuestError
from gateway.guest.walk import Record, Walk

DAY = dt.date(2026, 1, 2)


def walk(*roots: luigi.Task, max_nodes: int = 100, max_edges: int = 100) -> list[Record]:
    """Return the records of some tasks; the root comes first."""
    walker = Walk("/pipeline", max_nodes, max_edges)
    assert walker.add(roots) == list(range(len(roots)))
    return walker.records


def code_of(*roots: luigi.Task, **bounds: int) -> str:
    """Return the code with which the walk fails."""
    with pytest.raises(GuestError) as caught:
        walk(*roots, **bounds)
    return caught.value.code


class Plain(luigi.Task):
    """A task with parameters of each visibility."""

    task_namespace = "walk"
    shown = luigi.DateParameter()
    hidden = luigi.Parameter(default="h", visibility=ParameterVisibility.HIDDEN)
    private = luigi.Parameter(default="p", visibility=ParameterVisibility.PRIVATE)
    insignificant = luigi.IntParameter(default=7, significant=False)


class Missing(luigi.ExternalTask):
    """Somebody else's data."""

    task_namespace = "walk"


class Wrapper(luigi.WrapperTask):
    """Nothing of its own."""

    task_namespace = "walk"

    def requires(self) -> list[luigi.Task]:
        """One of each."""
        return [Missing(), Busy()]


class Busy(luigi.WrapperTask):
    """A wrapper that does work after all."""

    task_namespace = "walk"

    def run(self) -> None:
        """Work."""


def test_walk_records_every_parameter_with_its_privacy() -> None:
    """Private, hidden and insignificant parameters are all there: each decides what runs."""
    (record,) = walk(Plain(shown=DAY, private="secret"))
    assert record["family"] == "walk.Plain"
    assert record["module"] == __name__
    assert record["task_id"].startswith("walk.Plain_2026_01_02_")
    assert record["parameters"] == {
        "shown": {"value": "2026-01-02", "private": False},
        "hidden": {"value": "h", "private": True},
        "private": {"value": "secret", "private": True},
        "insignificant": {"value": "7", "private": False},
    }


def test_walk_tells_kinds_as_luigi_treats_them() -> None:
    """No run method: external. A wrapper with a run of its own is a task."""
    kinds = {record["family"]: record["kind"] for record in walk(Wrapper())}
    assert kinds == {"walk.Wrapper": "wrapper", "walk.Missing": "external", "walk.Busy": "task"}


def test_walk_never_asks_complete_and_never_runs() -> None:
    """Neither method is called, on any task."""

    class Tripwire(luigi.Task):
        def complete(self) -> bool:
            raise AssertionError

        def run(self) -> None:
            raise AssertionError

    assert walk(Tripwire())[0]["kind"] == "task"


def test_walk_asks_what_luigis_worker_asks() -> None:
    """``_requires``, which templates override, counts as much as ``requires``."""

    class Template(luigi.Task):
        def _requires(self) -> list[luigi.Task]:
            return [Missing()]

    records = walk(Template())
    assert [records[index]["family"] for index in records[0]["deps"]] == ["walk.Missing"]


def test_walk_visits_each_task_once() -> None:
    """A diamond of 25 levels has 33 million paths and 51 tasks; this takes milliseconds."""

    class Diamond(luigi.Task):
        level = luigi.IntParameter()
        side = luigi.IntParameter(default=0)

        def requires(self) -> list[luigi.Task]:
            if not self.level:
                return []
            return [Diamond(level=self.level - 1, side=side) for side in (0, 1)]

    began = time.monotonic()
    records = walk(Diamond(level=25))
    assert len(records) == 51
    assert sum(len(record["deps"]) for record in records) == 50 + 48
    assert time.monotonic() - began < 20


def test_walk_keeps_tasks_apart_that_luigi_takes_for_one() -> None:
    """Two tasks that differ in an insignificant parameter are two records with one task id."""

    class Two(luigi.WrapperTask):
        def requires(self) -> list[luigi.Task]:
            return [Plain(shown=DAY, insignificant=number) for number in (1, 2)]

    _, one, other = walk(Two())
    assert one["task_id"] == other["task_id"]
    assert one["parameters"] != other["parameters"]


def test_walk_stops_at_its_bounds() -> None:
    """An endless chain ends at the number of tasks, a dense graph at the number of edges."""

    class Chain(luigi.Task):
        n = luigi.IntParameter(default=0)

        def requires(self) -> luigi.Task:
            return Chain(n=self.n + 1)

    class Dense(luigi.Task):
        n = luigi.IntParameter(default=20)

        def requires(self) -> list[luigi.Task]:
            return [Dense(n=n) for n in range(self.n)]

    assert code_of(Chain()) == "too_many_tasks"
    assert code_of(Dense()) == "too_many_edges"


def test_walk_says_where_requires_failed() -> None:
    """The message names the method and the exception; a wrong type is told as well."""

    class Raises(luigi.Task):
        def requires(self) -> None:
            message = "no such table"
            raise LookupError(message)

    class Odd(luigi.Task):
        def requires(self) -> str:
            return "Raises"

    with pytest.raises(GuestError, match=r"Raises\.requires\(\) raised LookupError: no such"):
        walk(Raises())
    with pytest.raises(GuestError, match=r"Odd\.requires\(\) gave a str, not a task"):
        walk(Odd())


def test_walk_makes_one_node_of_a_family_that_may_be_yielded() -> None:
    """By class or by name, from wherever; what that family may yield in turn is there too."""

    class Leaf(luigi.Task):
        task_namespace = "walkyield"
        n = luigi.IntParameter()
        egress = ("bucket",)

    class Middle(luigi.Task):
        task_namespace = "walkyield"
        n = luigi.IntParameter()
        may_yield = ("walkyield.Leaf", ("walkyield.Middle", 9))

    class Top(luigi.Task):
        task_namespace = "walkyield"
        may_yield = (Middle, (Leaf, 5), (Leaf, 2))

    top, middle, leaf = walk(Top())
    assert top["may_yield"] == [["walkyield.Middle", 1], ["walkyield.Leaf", 7]]
    assert top["deps"] == [1, 2]
    assert middle["kind"] == leaf["kind"] == "possible"
    assert middle["may_yield"] == [["walkyield.Leaf", 1], ["walkyield.Middle", 9]]
    assert middle["deps"] == [2]
    assert leaf["egress"] == ["bucket"]
    assert leaf["parameters"] == {}


def test_walk_refuses_a_task_that_is_not_complete_as_an_object() -> None:
    """A constructor that forgets Luigi's own is named, instead of an AttributeError."""

    class Forgetful(luigi.Task):
        def __init__(self) -> None:
            pass

    assert code_of(Forgetful()) == "task_invalid"
