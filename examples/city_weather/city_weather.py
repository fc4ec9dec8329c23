"""City weather: Seattle day by day, and the hours of its year beside San Francisco's.

An ordinary Luigi pipeline; this module holds its end: the charts and the report. Only
`weather_sources.FetchDataset` opens connections, and says so with `egress`; all other tasks read
files and write files. Run it in any writable folder:

    luigi --local-scheduler --module city_weather CityWeatherReport --start 2012-01 --months 12
"""

import csv

import luigi
from luigi.format import UTF8
from weather_days import EXTREMES, Extremes, MonthlySummaries
from weather_files import chart_files, read_json, select_days, write_chart
from weather_hours import CityComparison, HourlyClimate
from weather_parameters import FromOpenData, InPeriod, InUnit, TopDays
from weather_sources import CITIES, CleanWeather, Stations


class AlmanacChart(FromOpenData, InUnit, InPeriod, luigi.Task):
    """Each day's range of temperature, its rain and its sky, with the months' means."""

    def requires(self):
        return {"days": self.clone(CleanWeather), "months": self.clone(MonthlySummaries)}

    def output(self):
        return chart_files(f"almanac-{self.span}-{self.unit.name.lower()}")

    def run(self):
        from almanac_chart import almanac

        days = select_days(self.input()["days"], self.period)
        for day in days:
            day["low"], day["high"] = map(self.unit.from_celsius, (day["low"], day["high"]))
        months = read_json(self.input()["months"])
        write_chart(self.output(), almanac(days, months, self.unit.value))


class HoursChart(FromOpenData, InUnit, luigi.Task):
    """Each city's year by hour and day, with sunrise and sunset."""

    def requires(self):
        hours = {city: self.clone(HourlyClimate, city=city) for city in CITIES}
        return {"stations": self.clone(Stations), "hours": hours}

    def output(self):
        return chart_files(f"hours-{self.unit.name.lower()}")

    def run(self):
        from hours_chart import hours

        tables = {}
        for city, target in self.input()["hours"].items():
            with target.open() as table:
                rows = list(csv.reader(table))[1:]
            tables[city] = [[float(value) for value in row[1:]] for row in rows]
        stations = read_json(self.input()["stations"])
        write_chart(self.output(), hours(tables, stations, self.unit.value))


class Charts(FromOpenData, InUnit, InPeriod, luigi.WrapperTask):
    """Both charts. Its output is what its parts put out."""

    def requires(self):
        return {"almanac": self.clone(AlmanacChart), "hours": self.clone(HoursChart)}

    def output(self):
        return self.input()


class CityWeatherReport(FromOpenData, InUnit, InPeriod, TopDays, luigi.Task):
    """The page that people read: one HTML file that needs nothing else."""

    title = luigi.Parameter(
        default="Seattle, day by day", significant=False, description="heading of the report"
    )

    def requires(self):
        return {
            "charts": self.clone(Charts),
            "months": self.clone(MonthlySummaries),
            "comparison": self.clone(CityComparison),
            "stations": self.clone(Stations),
            "extremes": {name: self.clone(Extremes, measure=name) for name in EXTREMES},
        }

    def output(self):
        name = f"city-weather-{self.span}-{self.unit.name.lower()}-top{self.top_days}"
        return luigi.LocalTarget(f"reports/{name}.html", format=UTF8)

    def run(self):
        import weather_page

        inputs = self.input()
        charts = {}
        for name, files in inputs["charts"].items():
            with files["svg"].open() as svg:
                charts[name] = svg.read()
        page = weather_page.render(
            title=self.title,
            unit=self.unit.value,
            source=self.source,
            months=read_json(inputs["months"]),
            extremes={name: read_json(target) for name, target in inputs["extremes"].items()},
            comparison=read_json(inputs["comparison"]),
            stations=read_json(inputs["stations"]),
            charts=charts,
        )
        with self.output().open("w") as out:
            out.write(page)
