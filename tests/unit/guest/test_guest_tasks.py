"""Tasks from texts and back."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from typing import Any

import luigi
import pytest
from luigi.parameter import ParameterVisibility

from gateway.guest.failure import GuestError
from gateway.guest.tasks import Families


class Colour(enum.Enum):
    """For an EnumParameter."""

    RED = 1


class Many(luigi.Task):
    """A parameter of many types, and how absent values are written."""

    task_namespace = "texts"
    date = luigi.DateParameter()
    hour = luigi.DateHourParameter(default=dt.datetime(2026, 1, 2, 3))  # noqa: DTZ001 - Luigi knows none
    count = luigi.IntParameter(default=1)
    ratio = luigi.FloatParameter(default=0.1)
    flag = luigi.BoolParameter()
    names = luigi.ListParameter(default=["a", ["b"]])
    table = luigi.DictParameter(default={"k": [1]})
    colour = luigi.EnumParameter(enum=Colour, default=Colour.RED)
    span = luigi.TimeDeltaParameter(default=dt.timedelta(hours=36))
    absent = luigi.IntParameter(default=None)
    nothing = luigi.OptionalParameter(default=None)
    secret = luigi.Parameter(default="d", visibility=ParameterVisibility.PRIVATE)


def texts(task: luigi.Task) -> dict[str, str]:
    """Return all parameters as texts."""
    return {name: text for name, (text, _) in Families("/pipeline").texts(task).items()}


def code_of(family: str, parameters: Mapping[str, str]) -> tuple[str, str]:
    """Return code and message with which a task cannot be built."""
    with pytest.raises(GuestError) as caught:
        Families("/pipeline").build(family, parameters)
    return caught.value.code, caught.value.message


def test_tasks_survive_the_round_trip_whole() -> None:
    """Every value comes back equal, private ones, None and defaults included."""
    task = Many(date=dt.date(2026, 1, 2), secret="s3cret", names=["x"], flag=True)
    again = Families("/pipeline").build("texts.Many", texts(task))
    assert again.param_kwargs == task.param_kwargs
    assert again.secret == "s3cret"
    assert again.absent is None
    assert again.task_id == task.task_id


def test_tasks_parameters_that_are_left_out_take_their_defaults() -> None:
    """Only what was asked for is parsed."""
    task = Families("/pipeline").build("texts.Many", {"date": "2026-01-02"})
    assert (task.count, task.secret, task.nothing) == (1, "d", None)


@pytest.mark.parametrize(
    ("parameters", "code", "said"),
    [
        ({"date": "2026-01-02", "cuont": "1"}, "parameter_unknown", "did you mean count?"),
        ({}, "parameter_missing", "needs a value for date"),
        ({"date": "tomorrow"}, "parameter_invalid", "date cannot be read as DateParameter"),
    ],
)
def test_tasks_mistakes_are_explained(parameters: dict[str, str], code: str, said: str) -> None:
    """Unknown, missing, unreadable; the nearest name is named."""
    found, message = code_of("texts.Many", parameters)
    assert found == code
    assert said in message


def test_tasks_errors_do_not_repeat_a_value() -> None:
    """Python's own message quotes what it could not parse; ours names the parameter only."""
    _, message = code_of("texts.Many", {"date": "2026-01-02", "count": "hunter2"})
    assert "hunter2" not in message


def test_tasks_unknown_family_names_the_nearest() -> None:
    """As a person would want it."""
    code, message = code_of("texts.Mny", {})
    assert code == "family_unknown"
    assert "texts.Many" in message


def test_tasks_refuse_a_value_that_its_text_does_not_hold() -> None:
    """None in a plain Parameter would come back as the word; Luigi's own workers get it wrong."""

    class Sloppy(luigi.Task):
        task_namespace = "texts"
        name: Any = luigi.OptionalParameter()
        host: Any = luigi.Parameter()

    class Silent(luigi.Parameter):
        def serialize(self, x: object) -> str:
            return "x" if x else "y"

        def parse(self, x: str) -> str:
            return x[1:]

    class Lossy(luigi.Task):
        task_namespace = "texts"
        value: Any = Silent()

    with pytest.warns(UserWarning, match="host"):
        sloppy = Sloppy(name=None, host=None)
    with pytest.raises(GuestError, match=r"texts\.Sloppy\.host .*NoneType in a Parameter"):
        texts(sloppy)
    with pytest.raises(GuestError, match=r"texts\.Lossy\.value"):
        texts(Lossy(value="something"))


def test_tasks_two_classes_of_one_name_are_ambiguous() -> None:
    """Luigi could build either; so neither is built."""

    def make(number: int) -> type:
        class Twin(luigi.Task):
            task_namespace = "texts"
            n = luigi.IntParameter(default=number)

        return Twin

    assert make(1) is not make(2)
    assert code_of("texts.Twin", {})[0] == "family_ambiguous"
