"""Where the data comes from: the only connections of this pipeline, and the checks behind them."""

import csv
import datetime as dt
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import luigi
from luigi.format import Nop
from weather_files import write_json
from weather_parameters import FromOpenData

KINDS = ("sun", "fog", "drizzle", "rain", "snow")
LARGEST_DOWNLOAD = 32 * 1024 * 1024  # bytes

CITIES = {  # where its hourly temperatures are, and the airport where they were measured
    "seattle": ("seattle-temps.csv", "SEA"),
    "san-francisco": ("sf-temps.csv", "SFO"),
}


class FetchDataset(FromOpenData, luigi.Task):
    """One file of the open-data server, as it is."""

    egress = ("open-data",)
    retry_count = 3

    name = luigi.Parameter(description="file name on the server")

    def output(self):
        return luigi.LocalTarget(f"raw/{self.name}", format=Nop)

    def run(self):
        url = f"{self.source}/data/{self.name}"
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is not an http address")
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - scheme checked above
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - same
            body = response.read(LARGEST_DOWNLOAD + 1)
        if len(body) > LARGEST_DOWNLOAD:
            raise ValueError(f"{url} is larger than {LARGEST_DOWNLOAD} bytes")
        with self.output().open("w") as out:
            out.write(body)


class ShippedAirports(luigi.ExternalTask):
    """The table of airports that the installed package `vega_datasets` ships: nobody makes it."""

    def output(self):
        package = find_spec("vega_datasets")  # finds it without importing it
        if package is None:
            raise ModuleNotFoundError("the package vega-datasets is not installed")
        return luigi.LocalTarget(str(Path(package.origin).with_name("_data") / "airports.csv"))


class Stations(luigi.Task):
    """Where the temperatures of each city were measured."""

    def requires(self):
        return ShippedAirports()

    def output(self):
        return luigi.LocalTarget("clean/stations.json")

    def run(self):
        with self.input().open() as rows:
            airports = {row["iata"]: row for row in csv.DictReader(rows)}
        stations = {
            city: {
                "iata": iata,
                "name": airports[iata]["name"],
                "city": airports[iata]["city"],
                "latitude": float(airports[iata]["latitude"]),
                "longitude": float(airports[iata]["longitude"]),
            }
            for city, (_, iata) in CITIES.items()
        }
        write_json(self.output(), stations)


class CleanWeather(FromOpenData, luigi.Task):
    """The daily records, checked: one row a day without gaps, known kinds, numbers in °C and mm."""

    def requires(self):
        return self.clone(FetchDataset, name="seattle-weather.csv")

    def output(self):
        return luigi.LocalTarget("clean/seattle-weather.csv")

    def run(self):
        with self.input().open() as raw:
            rows = list(csv.DictReader(raw.read().decode().splitlines()))
        previous = None
        with self.output().open("w") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(("date", "low", "high", "rain", "wind", "kind"))
            for row in rows:
                date = dt.date.fromisoformat(row["date"].replace("/", "-"))
                low, high = float(row["temp_min"]), float(row["temp_max"])
                if previous and date - previous != dt.timedelta(days=1):
                    raise ValueError(f"days are missing between {previous} and {date}")
                if row["weather"] not in KINDS or low > high:
                    raise ValueError(f"{date} has a record that makes no sense: {row}")
                rain, wind = float(row["precipitation"]), float(row["wind"])
                writer.writerow((date, low, high, rain, wind, row["weather"]))
                previous = date
