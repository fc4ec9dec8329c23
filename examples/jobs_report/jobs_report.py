"""Jobs report: one year of employment in the United States, by sector and against the decade.

An ordinary Luigi pipeline. Only `FetchEmployment` opens connections, and says so with `egress`;
all other tasks read files and write files. Run it in any writable folder:

    luigi --local-scheduler --module jobs_report JobsReport --year 2009
"""

import csv
import hashlib
import json
import statistics
import urllib.request

import luigi
from luigi.format import UTF8, Nop

SECTORS = {  # these eleven add up to all jobs outside farms; the third name is spelt as in the file
    "education_and_health_services": "Education and health",
    "professional_and_business_services": "Professional and business",
    "trade_transportation_utilties": "Trade, transport, utilities",
    "leisure_and_hospitality": "Leisure and hospitality",
    "financial_activities": "Finance",
    "information": "Information",
    "other_services": "Other services",
    "government": "Government",
    "construction": "Construction",
    "manufacturing": "Manufacturing",
    "mining_and_logging": "Mining and logging",
}
ALL = "nonfarm"
LARGEST_DOWNLOAD = 8 * 1024 * 1024  # bytes


class InYear:
    """The parameters of every task that measures a year."""

    year = luigi.IntParameter(default=2009, description="the year that the report is about")
    baseline = luigi.ChoiceParameter(
        choices=("december", "average"),
        default="december",
        description="what stands for a year: its last month or the mean of its months;",
    )


class ForSectors:
    """The parameter of every task that looks at several sectors."""

    sectors = luigi.ListParameter(
        default=tuple(SECTORS), description="sectors to report on, as a JSON list of column names"
    )

    @property
    def chosen(self):
        """A short part of file names, the same for the same sectors in the same order."""
        return hashlib.sha256(json.dumps(self.sectors).encode()).hexdigest()[:8]


class FromOpenData:
    """The parameter of every task that stands on the downloaded file."""

    source = luigi.Parameter(
        default="http://127.0.0.1:8731",
        significant=False,
        description="base address of the open-data server",
    )


class FetchEmployment(FromOpenData, luigi.Task):
    """The table of employment by month and sector, as the open-data server has it."""

    egress = ("open-data",)
    retry_count = 3

    def output(self):
        return luigi.LocalTarget("raw/us-employment.csv", format=Nop)

    def run(self):
        url = f"{self.source}/data/us-employment.csv"
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is not an http address")
        with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - scheme checked
            body = response.read(LARGEST_DOWNLOAD + 1)
        if len(body) > LARGEST_DOWNLOAD:
            raise ValueError(f"{url} is larger than {LARGEST_DOWNLOAD} bytes")
        with self.output().open("w") as out:
            out.write(body)


class TidyEmployment(FromOpenData, luigi.Task):
    """The table with one row for each sector and month, in thousands, its sums checked."""

    def requires(self):
        return self.clone(FetchEmployment)

    def output(self):
        return luigi.LocalTarget("clean/employment.csv")

    def run(self):
        import pandas as pd

        with self.input().open() as raw:
            table = pd.read_csv(raw, parse_dates=["month"], index_col="month")
        gap = (table[list(SECTORS)].sum(axis=1) - table[ALL]).abs().max()
        if gap > 1:
            raise ValueError(f"the sectors differ from all jobs by up to {gap} thousand")
        tidy = table[[ALL, *SECTORS]].reset_index().melt("month", None, "sector", "thousands")
        with self.output().open("w") as out:
            tidy.to_csv(out, index=False, date_format="%Y-%m", lineterminator="\n")


class SectorYear(FromOpenData, InYear, luigi.Task):
    """What a year did to one sector."""

    sector = luigi.ChoiceParameter(choices=(ALL, *SECTORS), description="column of the table;")

    def requires(self):
        return self.clone(TidyEmployment)

    def output(self):
        return luigi.LocalTarget(f"sectors/{self.sector}-{self.year}-{self.baseline}.json")

    def run(self):
        series = read_series(self.input())[self.sector]
        before, after = (self.level(series, year) for year in (self.year - 1, self.year))
        first = next(iter(series.values()))
        write_json(
            self.output(),
            {
                "sector": self.sector,
                "label": SECTORS.get(self.sector, "All jobs outside farms"),
                "before": round(before, 1),
                "after": round(after, 1),
                "change": round(after - before, 1),
                "percent": round((after / before - 1) * 100, 2),
                "index": {month: round(value / first * 100, 2) for month, value in series.items()},
            },
        )

    def level(self, series, year):
        """Return the jobs of a year by the baseline that was asked for, in thousands."""
        values = [value for month, value in series.items() if month.startswith(f"{year}-")]
        if not values:
            covered = f"{min(series)} to {max(series)}"
            raise ValueError(
                f"{self.year} needs records of {year}: the data covers {covered}, "
                "so choose a year that has one before it"
            )
        return values[-1] if self.baseline == "december" else statistics.fmean(values)


class SectorTable(FromOpenData, InYear, ForSectors, luigi.Task):
    """All sectors that were asked for, the largest loss first, and all jobs for comparison."""

    def requires(self):
        return {sector: self.clone(SectorYear, sector=sector) for sector in (ALL, *self.sectors)}

    def output(self):
        name = f"sectors/table-{self.year}-{self.baseline}-{self.chosen}.json"
        return luigi.LocalTarget(name)

    def run(self):
        rows = {sector: read_json(target) for sector, target in self.input().items()}
        total = rows.pop(ALL)
        if not rows:
            raise ValueError("no sector was asked for")
        ranked = sorted(rows.values(), key=lambda row: (row["change"], row["label"]))
        write_json(self.output(), {"total": total, "sectors": ranked})


class Months(FromOpenData, luigi.Task):
    """All jobs month by month, and how they changed from the month before, in thousands."""

    def requires(self):
        return self.clone(TidyEmployment)

    def output(self):
        return luigi.LocalTarget("clean/months.json")

    def run(self):
        series = read_series(self.input())[ALL]
        previous = [None, *series.values()]
        months = [
            {"month": month, "jobs": jobs, "change": None if before is None else jobs - before}
            for (month, jobs), before in zip(series.items(), previous, strict=False)
        ]
        write_json(self.output(), months)


class DecadeChart(FromOpenData, luigi.Task):
    """All jobs and their monthly changes over the whole record, the year set off."""

    year = luigi.IntParameter(description="the year to set off")

    def requires(self):
        return self.clone(Months)

    def output(self):
        return chart_files(f"decade-{self.year}")

    def run(self):
        import jobs_charts

        write_chart(self.output(), jobs_charts.decade(read_json(self.input()), self.year))


class SectorChart(FromOpenData, InYear, ForSectors, luigi.Task):
    """Each sector's change in the year, beside its course over the whole record."""

    def requires(self):
        return self.clone(SectorTable)

    def output(self):
        return chart_files(f"sectors-{self.year}-{self.baseline}-{self.chosen}")

    def run(self):
        import jobs_charts

        rows = read_json(self.input())["sectors"]
        write_chart(self.output(), jobs_charts.sectors(rows, self.year))


class JobsReport(FromOpenData, InYear, ForSectors, luigi.Task):
    """The page that people read: one HTML file that needs nothing else."""

    title = luigi.Parameter(
        default="Jobs in the United States", significant=False, description="heading of the report"
    )

    def requires(self):
        return {
            "months": self.clone(Months),
            "table": self.clone(SectorTable),
            "decade": self.clone(DecadeChart),
            "sectors": self.clone(SectorChart),
        }

    def output(self):
        name = f"reports/jobs-{self.year}-{self.baseline}-{self.chosen}.html"
        return luigi.LocalTarget(name, format=UTF8)

    def run(self):
        import jobs_page

        inputs = self.input()
        charts = {}
        for name in ("decade", "sectors"):
            with inputs[name]["svg"].open() as svg:
                charts[name] = svg.read()
        page = jobs_page.render(
            title=self.title,
            year=self.year,
            baseline=self.baseline,
            source=self.source,
            months=[
                month
                for month in read_json(inputs["months"])
                if month["month"].startswith(f"{self.year}-")
            ],
            table=read_json(inputs["table"]),
            charts=charts,
        )
        with self.output().open("w") as out:
            out.write(page)


def read_series(target):
    """Read the tidy table: for each sector its months in order, with thousands of jobs."""
    series = {}
    with target.open() as rows:
        for row in csv.DictReader(rows):
            series.setdefault(row["sector"], {})[row["month"]] = float(row["thousands"])
    return series


def read_json(target):
    """Read a target that holds JSON."""
    with target.open() as file:
        return json.load(file)


def write_json(target, value):
    """Write a target as JSON: whole, or not at all."""
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
