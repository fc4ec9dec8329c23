"""What a task may declare about itself, and what its author is told about mistakes."""

from __future__ import annotations

from typing import Any

import luigi
import pytest

from gateway.guest import declared
from gateway.guest.failure import GuestError


class Declaring:
    """Something with attributes, as a task has."""

    def __init__(self, **attributes: Any) -> None:
        """Take them as they come."""
        self.__dict__.update(attributes)


def egress(value: Any) -> list[str]:
    """Read an egress."""
    return declared.egress(Declaring(egress=value), "Orders", "/pipeline")


def may_yield(value: Any) -> list[tuple[Any, int]]:
    """Read a may_yield."""
    return declared.may_yield(Declaring(may_yield=value), "Orders", "/pipeline")


@pytest.mark.parametrize("value", [("b", "a"), ["a", "b", "a"], {"a", "b"}, frozenset("ab")])
def test_declared_egress_is_a_sorted_set_of_names(value: Any) -> None:
    """Order and repetition mean nothing."""
    assert egress(value) == ["a", "b"]


def test_declared_nothing_is_no_egress() -> None:
    """A task that declares nothing reaches nothing, and yields nothing."""
    assert declared.egress(Declaring(), "Orders", "/pipeline") == []
    assert declared.may_yield(Declaring(), "Orders", "/pipeline") == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("warehouse", r"""write a tuple: egress = \("warehouse",\)"""),
        (None, "must be a tuple"),
        ({"warehouse": 1}, "must be a tuple"),
        (("Ware House",), "'Ware House' is not the name"),
        ((7,), "'7' is not the name"),
        (("x" * 64,), "is not the name"),
    ],
)
def test_declared_egress_mistakes_are_explained(value: Any, said: str) -> None:
    """A bare text, another type, a name that no destination can have."""
    with pytest.raises(GuestError, match=said) as caught:
        egress(value)
    assert caught.value.code == "egress_invalid"


def test_declared_egress_may_be_a_property() -> None:
    """It may depend on the task's parameters; what it raises is told."""

    class Property(luigi.Task):
        n = luigi.IntParameter()

        @property
        def egress(self) -> tuple[str, ...]:
            return ("even",) if self.n % 2 == 0 else (str(1 // (self.n - 1)),)

    assert declared.egress(Property(n=2), "Property", "/pipeline") == ["even"]
    with pytest.raises(GuestError, match="ZeroDivisionError"):
        declared.egress(Property(n=1), "Property", "/pipeline")
    with pytest.raises(GuestError, match="plain class attribute"):
        declared.egress(Property, "Property", "/pipeline")


class Known(luigi.Task):
    """A family to yield."""

    task_namespace = "declared"


@pytest.mark.parametrize(
    "value", [(Known,), ["declared.Known"], ((Known, 1),), (["declared.Known", 1],)]
)
def test_declared_may_yield_takes_classes_and_names(value: Any) -> None:
    """Alone a family means one task."""
    assert may_yield(value) == [(Known, 1)]


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        ("declared.Known", "may_yield_invalid", "must be a tuple of families"),
        (((Known, 0),), "may_yield_invalid", "largest number of tasks"),
        (((Known, True),), "may_yield_invalid", "largest number of tasks"),
        (((Known, 1, 2),), "may_yield_invalid", "largest number of tasks"),
        ((str,), "may_yield_invalid", "not a task"),
        ((7,), "may_yield_invalid", "not a task"),
        (("declared.Know",), "family_unknown", "did you mean declared.Known"),
    ],
)
def test_declared_may_yield_mistakes_are_explained(value: Any, code: str, said: str) -> None:
    """Wrong forms and unknown families, the nearest one named."""
    with pytest.raises(GuestError, match=said) as caught:
        may_yield(value)
    assert caught.value.code == code


def test_declared_scheduling_is_read_from_the_task() -> None:
    """Priority, resources (as ``process_resources`` says), retries, time-out, disabled."""

    class Heavy(luigi.Task):
        priority = 3
        retry_count = 2
        worker_timeout = 60
        disabled = True

        def process_resources(self) -> dict[str, int]:
            return {"gpu": 2}

    assert declared.scheduling(Heavy(), "Heavy", "/pipeline") == {
        "priority": 3,
        "resources": {"gpu": 2},
        "retry_count": 2,
        "worker_timeout": 60,
        "disabled": True,
    }


def test_declared_scheduling_mistakes_are_explained() -> None:
    """Half a priority is no priority."""

    class Half(luigi.Task):
        priority = 0.5

    with pytest.raises(GuestError, match=r"0\.5 is not a whole number") as caught:
        declared.scheduling(Half(), "Half", "/pipeline")
    assert caught.value.code == "task_invalid"
