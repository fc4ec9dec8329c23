"""What the hourly temperatures of two cities say."""

import luigi
from weather_files import write_json
from weather_parameters import FromOpenData, InUnit
from weather_sources import CITIES, FetchDataset


class HourlyClimate(FromOpenData, InUnit, luigi.Task):
    """A city's temperatures as a table: a row for each day of the year, a column for each hour."""

    city = luigi.ChoiceParameter(choices=tuple(CITIES), description="which city;")

    def requires(self):
        return self.clone(FetchDataset, name=CITIES[self.city][0])

    def output(self):
        return luigi.LocalTarget(f"hours/{self.city}-{self.unit.name.lower()}.csv")

    def run(self):
        import pandas as pd

        with self.input().open() as raw:
            records = pd.read_csv(raw, parse_dates=["date"])
        when = records["date"].dt
        records = records.assign(day=when.strftime("%m-%d"), hour=when.hour)
        hours = records.pivot_table(index="day", columns="hour", values="temp")
        hours = hours.interpolate(axis=1)  # one hour of March is missing in the files
        with self.output().open("w") as out:
            self.unit.from_fahrenheit(hours).round(2).to_csv(out, lineterminator="\n")


class CityComparison(FromOpenData, InUnit, luigi.Task):
    """What the hours of the year say about each city."""

    def requires(self):
        return {city: self.clone(HourlyClimate, city=city) for city in CITIES}

    def output(self):
        return luigi.LocalTarget(f"hours/comparison-{self.unit.name.lower()}.json")

    def run(self):
        import pandas as pd

        comparison = {}
        for city, target in self.input().items():
            with target.open() as table:
                hours = pd.read_csv(table, index_col="day")
            by_hour = hours.melt(var_name="hour", ignore_index=False).set_index(
                "hour", append=True
            )["value"]
            warmest, coldest = by_hour.idxmax(), by_hour.idxmin()
            comparison[city] = {
                "mean": round(float(by_hour.mean()), 1),
                "swing": round(float((hours.max(axis=1) - hours.min(axis=1)).mean()), 1),
                "warmest": [*warmest, round(float(by_hour[warmest]), 1)],
                "coldest": [*coldest, round(float(by_hour[coldest]), 1)],
                "mild_hours": int((by_hour >= self.unit.from_celsius(15)).sum()),
            }
        write_json(self.output(), comparison)
