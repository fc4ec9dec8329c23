"""The parameters that the tasks of this pipeline share, as plain mix-in classes."""

import datetime as dt
import enum
import operator

import luigi
from luigi.parameter import ParameterVisibility


class Unit(enum.Enum):
    """A unit of temperature, and its sign."""

    CELSIUS = "°C"
    FAHRENHEIT = "°F"

    def from_celsius(self, degrees):
        """Convert what the daily records hold."""
        return degrees if self is Unit.CELSIUS else degrees * 9 / 5 + 32

    def from_fahrenheit(self, degrees):
        """Convert what the hourly records hold."""
        return degrees if self is Unit.FAHRENHEIT else (degrees - 32) * 5 / 9


class InPeriod:
    """The parameters of every task that looks at some months of the daily records."""

    start = luigi.MonthParameter(
        default=dt.date(2012, 1, 1), description="first month of the report"
    )
    months = luigi.NumericalParameter(
        default=12,
        var_type=int,
        min_value=1,
        max_value=24,
        right_op=operator.le,
        description="how many months the report covers;",
    )

    @property
    def period(self):
        """The first day, and the day after the last."""
        month = self.start.month - 1 + self.months
        return self.start, dt.date(self.start.year + month // 12, month % 12 + 1, 1)

    @property
    def span(self):
        """The period as a part of file names."""
        return f"{self.start:%Y-%m}-{self.months}m"


class InUnit:
    """The parameter of every task that writes temperatures for people."""

    unit = luigi.EnumParameter(
        enum=Unit, default=Unit.CELSIUS, description="unit of temperatures: CELSIUS or FAHRENHEIT"
    )


class TopDays:
    """The parameter of every task that lists extreme days."""

    top_days = luigi.NumericalParameter(
        default=5,
        var_type=int,
        min_value=1,
        max_value=31,
        right_op=operator.le,
        description="how many days each list of extremes has;",
    )


class FromOpenData:
    """The parameters of every task that stands, at whatever distance, on downloaded files."""

    source = luigi.Parameter(
        default="http://127.0.0.1:8731",
        significant=False,
        description="base address of the open-data server",
    )
    api_key = luigi.Parameter(
        default="",
        significant=False,
        visibility=ParameterVisibility.PRIVATE,
        description="key for the open-data server, where it asks for one",
    )
