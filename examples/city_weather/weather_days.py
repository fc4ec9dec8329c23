"""What the daily records of Seattle say: months in figures, and the days that stand out."""

import datetime as dt
import statistics
from collections import Counter

import luigi
from weather_files import read_days, read_json, select_days, write_json
from weather_parameters import FromOpenData, InPeriod, InUnit, TopDays
from weather_sources import CleanWeather

EXTREMES = {  # what is looked at, and whether the largest or the smallest comes first
    "hottest": ("high", True),
    "coldest": ("low", False),
    "wettest": ("rain", True),
}
WET = 1.0  # millimetres: a day with as much counts as wet


class MonthSummary(FromOpenData, InUnit, luigi.Task):
    """One month in figures: mean highs and lows, rain, wind and kinds of sky."""

    month = luigi.MonthParameter(description="the month")

    def requires(self):
        return self.clone(CleanWeather)

    def output(self):
        return luigi.LocalTarget(f"months/{self.month:%Y-%m}-{self.unit.name.lower()}.json")

    def run(self):
        days = [
            day for day in read_days(self.input()) if day["date"].startswith(f"{self.month:%Y-%m}")
        ]
        degrees = self.unit.from_celsius
        summary = {
            "month": f"{self.month:%Y-%m}",
            "days": len(days),
            "high": round(degrees(statistics.fmean(day["high"] for day in days)), 1),
            "low": round(degrees(statistics.fmean(day["low"] for day in days)), 1),
            "rain": round(sum(day["rain"] for day in days), 1),
            "wet_days": sum(day["rain"] >= WET for day in days),
            "wind": round(statistics.fmean(day["wind"] for day in days), 1),
            "kinds": Counter(day["kind"] for day in days),
        }
        write_json(self.output(), summary)


class MonthlySummaries(FromOpenData, InUnit, InPeriod, luigi.Task):
    """The summaries of those months of the period that have records: known only when read."""

    may_yield = (("MonthSummary", 24),)

    def requires(self):
        return self.clone(CleanWeather)

    def output(self):
        return luigi.LocalTarget(f"months/{self.span}-{self.unit.name.lower()}.json")

    def run(self):
        days = select_days(self.input(), self.period)
        months = sorted({day["date"][:7] for day in days})
        summaries = yield [
            self.clone(MonthSummary, month=dt.date.fromisoformat(f"{month}-01")) for month in months
        ]
        write_json(self.output(), [read_json(summary) for summary in summaries])


class Extremes(FromOpenData, InUnit, InPeriod, TopDays, luigi.Task):
    """The most extreme days of the period."""

    measure = luigi.ChoiceParameter(choices=tuple(EXTREMES), description="extreme in what;")

    def requires(self):
        return self.clone(CleanWeather)

    def output(self):
        unit = self.unit.name.lower()
        return luigi.LocalTarget(f"extremes/{self.measure}-{self.top_days}-{self.span}-{unit}.json")

    def run(self):
        column, largest_first = EXTREMES[self.measure]
        in_unit = float if column == "rain" else self.unit.from_celsius
        days = select_days(self.input(), self.period)
        days.sort(key=lambda day: day[column], reverse=largest_first)  # stable: earlier days first
        extremes = [
            {"date": day["date"], "value": round(in_unit(day[column]), 1), "kind": day["kind"]}
            for day in days[: self.top_days]
        ]
        write_json(self.output(), extremes)
