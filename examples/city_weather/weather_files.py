"""Reading and writing what the tasks hand to each other: each file whole, or not at all."""

import csv
import json

import luigi
from luigi.format import UTF8, Nop


def read_days(target):
    """Read the checked daily records."""
    with target.open() as rows:
        return [
            {
                name: value if name in {"date", "kind"} else float(value)
                for name, value in row.items()
            }
            for row in csv.DictReader(rows)
        ]


def select_days(target, period):
    """Read the daily records of a period; raise ValueError where it has none."""
    first, end = (day.isoformat() for day in period)
    everything = read_days(target)
    days = [day for day in everything if first <= day["date"] < end]
    if not days:
        covered = f"{everything[0]['date']} to {everything[-1]['date']}"
        raise ValueError(f"no records from {first} to {end}: the data covers {covered}")
    return days


def read_json(target):
    """Read a target that holds JSON."""
    with target.open() as file:
        return json.load(file)


def write_json(target, value):
    """Write a target as JSON, at once or not at all."""
    with target.open("w") as out:
        json.dump(value, out, indent=1)


def chart_files(name):
    """Return the two targets of a chart: pixels for messages, vectors for the page."""
    return {
        "png": luigi.LocalTarget(f"reports/{name}.png", format=Nop),
        "svg": luigi.LocalTarget(f"reports/{name}.svg", format=UTF8),
    }


def write_chart(targets, chart):
    """Write both forms of a chart."""
    png, svg = chart
    with targets["png"].open("w") as out:
        out.write(png)
    with targets["svg"].open("w") as out:
        out.write(svg)
