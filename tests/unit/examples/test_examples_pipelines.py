"""The example pipelines are ordinary Luigi that does real work, and says where it connects to."""

from __future__ import annotations

import ast
import base64
import gzip
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = ("city-weather", "jobs-report", "partner-export", "customer-digest")
REPORTS = ("city-weather", "jobs-report")
DESTINATIONS = {
    "city-weather": {"FetchDataset": ["open-data"]},
    "jobs-report": {"FetchEmployment": ["open-data"]},
    "partner-export": {"FetchAirports": ["open-data"], "SendToPartner": ["partner-api"]},
    "customer-digest": {"LoadCustomers": ["crm"], "PublishDigest": ["public-web"]},
}
NOWHERE = ("--source", "http://127.0.0.1:9")  # nobody listens there
SIZES = {"city-weather": 17, "jobs-report": 19, "partner-export": 5, "customer-digest": 6}


class Page(HTMLParser):
    """What a browser would load or run: tags, attributes and the texts of headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.headings: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag, what it loads and what it would run."""
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        """Note the texts of headings."""
        if self.tags and self.tags[-1] == "h1":
            self.headings.append(data)


@pytest.mark.parametrize("name", NAMES)
def test_runs_to_success_with_plain_luigi(run: Any, name: str) -> None:
    """Luigi's own scheduler and worker run each pipeline to the end, without a failure."""
    assert run(name).report["first"] == "SUCCESS"


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_does_nothing(run: Any, name: str) -> None:
    """Outputs say truthfully that a task is complete: running again starts no task at all."""
    report = run(name).report
    assert (report["again"], report["ran_again"]) == ("SUCCESS", [])


@pytest.mark.parametrize("name", NAMES)
def test_graph_has_the_size_that_the_readme_says(run: Any, name: str) -> None:
    """Every task of the graph is found without running, and the number is the documented one."""
    assert len(run(name).report["resolved"]) == SIZES[name]
    row = next(line for line in readme().splitlines() if f"| `{name}` |" in line)
    assert re.search(rf"\| {SIZES[name]}[ ,]", row)


@pytest.mark.parametrize("name", NAMES)
def test_egress_is_declared_exactly_where_connections_are_opened(run: Any, name: str) -> None:
    """The interpreter's audit events see connections in the declaring tasks and nowhere else."""
    report = run(name).report
    assert report["egress"] == DESTINATIONS[name]
    assert report["connected"] == sorted(DESTINATIONS[name])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_gateway_is_imported(run: Any, name: str) -> None:
    """Pipelines owe the gateway nothing: neither its modules nor its names."""
    assert run(name).report["gateway"] == []
    for path in (EXAMPLES / name.replace("-", "_")).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not [found for found in names if found.split(".")[0] == "gateway"], path


@pytest.mark.parametrize("name", NAMES)
def test_resolving_imports_nothing_heavy(run: Any, name: str) -> None:
    """Finding the graph takes no pandas and no matplotlib: only the tasks that need them pay."""
    assert run(name).report["heavy"] == []


@pytest.mark.parametrize("name", NAMES)
def test_readme_lists_every_parameter(run: Any, name: str) -> None:
    """The README's table is what Luigi says: name, type, default, description, privacy, order."""
    report = run(name).report
    rows = []
    for parameter in report["parameters"]:
        default = f"`{parameter['default']}`" if parameter["default"] else ""
        if parameter["type"] == "ListParameter":
            default = "all eleven"
        cells = (
            f"`{parameter['name']}`",
            f"`{parameter['type']}`",
            default,
            parameter["description"],
            "yes" if parameter["private"] else "no",
        )
        rows.append("".join(f"| {cell} " if cell else "| " for cell in cells) + "|")
    section = readme().split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("| `")] == rows
    assert report["undescribed"] == []


def test_months_are_yielded_within_the_declared_bound(run: Any) -> None:
    """The months are found at run time: one task each, no more than `may_yield` declares."""
    report = run("city-weather").report
    months = [task for task in report["ran"] if task.startswith("MonthSummary_")]
    assert report["may_yield"] == {"MonthlySummaries": {"MonthSummary": 24}}
    assert [month[13:20] for month in months] == ["2012_11", "2012_12", "2013_01"]
    assert "MonthSummary" not in report["families"]


@pytest.mark.parametrize("name", REPORTS)
def test_report_is_one_page_that_loads_and_runs_nothing(run: Any, examples: Any, name: str) -> None:
    """The page holds its style and its pictures, and a hostile title stays a text."""
    (path,) = (run(name).workspace / "reports").glob("*.html")
    page = Page(path.read_text())
    assert "".join(page.headings).startswith(examples[name].parameters["title"])
    assert set(page.tags) & {"script", "link", "iframe", "object", "form"} == set()
    assert page.handlers == []
    assert page.tags.count("img") == 2
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    for link in page.links:
        ET.fromstring(base64.b64decode(link.split(",")[1]))  # noqa: S314 - our own chart


@pytest.mark.parametrize("name", REPORTS)
def test_charts_are_pictures_of_a_useful_size(run: Any, name: str) -> None:
    """Each chart is a whole PNG, wide enough for a page, with more than a few colours."""
    charts = sorted((run(name).workspace / "reports").glob("*.png"))
    assert len(charts) == 2
    for chart in charts:
        with Image.open(BytesIO(chart.read_bytes())) as image:
            image.load()
            assert image.width >= 1600
            assert image.height >= 600
            assert len(image.convert("RGB").getcolors(10_000_000)) > 200


def test_weather_figures_are_those_of_the_data(run: Any) -> None:
    """The month's figures are the data's: Seattle's November 2012 had 210.5 mm of rain."""
    workspace = run("city-weather").workspace
    months = json.loads((workspace / "months" / "2012-11-3m-celsius.json").read_text())
    assert months[0]["rain"] == 210.5
    assert sum(months[0]["kinds"].values()) == months[0]["days"] == 30
    extremes = workspace / "extremes" / "wettest-4-2012-11-3m-celsius.json"
    days = json.loads(extremes.read_text())
    assert days[0] == {"date": "2012-11-19", "value": 54.1, "kind": "rain"}
    assert len(days) == 4


def test_job_figures_are_those_of_the_data(run: Any) -> None:
    """The sectors' changes add up to the change of all jobs, within the table's rounding."""
    (path,) = (run("jobs-report").workspace / "sectors").glob("table-*.json")
    table = json.loads(path.read_text())
    assert abs(sum(row["change"] for row in table["sectors"]) - table["total"]["change"]) < 1
    assert (table["total"]["before"], table["total"]["after"]) == (137_376, 140_381)


@pytest.mark.parametrize("name", ["city-weather", "partner-export", "customer-digest"])
def test_private_values_are_written_nowhere(run: Any, examples: Any, name: str) -> None:
    """A private parameter reaches the connection it is for, and no file, page or message."""
    outcome = run(name)
    parameters = examples[name].parameters
    (secret,) = (value for key, value in parameters.items() if key.endswith(("_key", "_token")))
    files = [path for path in outcome.workspace.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert secret not in outcome.stderr


def test_partner_gets_the_export(run: Any, counterpart: Any) -> None:
    """The partner receives Washington's airports once, compressed, under a key for repetition."""
    run("partner-export")
    (request,) = counterpart.at("/partner")
    export = json.loads(gzip.decompress(request["body"]))
    assert {"SEA", "GEG"} <= {airport["code"] for airport in export["airports"]}
    assert request["headers"]["Authorization"] == "Bearer correct-horse-battery-staple"
    assert re.fullmatch("[0-9a-f]{64}", request["headers"]["Idempotency-Key"])


def test_digest_publishes_figures_and_no_person(run: Any, counterpart: Any) -> None:
    """Personal records go in; what goes out counts people, doubles once and small groups as one."""
    run("customer-digest")
    (asked,) = counterpart.at("/crm")
    assert asked["path"].endswith("/customers?joined_from=2026-11-16&joined_before=2026-11-23")
    (published,) = counterpart.at("/web")
    assert b"@" not in published["body"]
    assert b"Person" not in published["body"]
    numbers = json.loads(published["body"])["numbers"]
    assert numbers["customers"] == 21
    assert numbers["country"] == {"SE": 12, "NO": 6, "other": 3}
    assert sum(numbers["plan"].values()) == 21


def test_command_line_finds_everything_complete(run: Any, examples: Any, luigi_cli: Any) -> None:
    """The plain `luigi` command takes the same parameters, and runs nothing a second time."""
    outcome, example = run("partner-export"), examples["partner-export"]
    flags = [
        text
        for name, value in example.parameters.items()
        for text in (f"--{name.replace('_', '-')}", value)
    ]
    done = luigi_cli("partner_export", "PartnerExport", *flags, cwd=outcome.workspace)
    assert done.returncode == 0, done.stderr
    assert "1 complete ones were encountered" in done.stderr
    assert "ran successfully" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("partner_export", "PartnerExport", "--source", "file:///etc"), "not an http address"),
        (("jobs_report", "JobsReport", "--sectors", '["../etc"]', *NOWHERE), "not a valid choice"),
        (("city_weather", "CityWeatherReport", "--months", "25"), "not in the set of int"),
    ],
)
def test_bad_parameters_are_refused(
    luigi_cli: Any, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """A scheme that reads local files, a name that is a path and a number out of range all fail."""
    done = luigi_cli(*arguments)
    assert message in done.stderr
    assert "This progress looks :)" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("city_weather", "CityWeatherReport", "--start", "2019-01"),
            "the data covers 2012-01-01 to 2015-12-31",
        ),
        (("jobs_report", "JobsReport", "--year", "2006"), "the data covers 2006-01 to 2015-12"),
        (("partner_export", "PartnerExport", "--state", "../x"), "no airports of the state"),
    ],
)
def test_data_that_is_not_there_is_named(
    luigi_cli: Any, free_data: Any, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Asking for what the data lacks fails with a sentence, without a report or a stray file."""
    done = luigi_cli(*arguments, "--source", free_data.url)
    assert message in done.stderr
    assert not list(tmp_path.rglob("*.html"))
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def readme() -> str:
    """Return the README of the examples."""
    return (EXAMPLES / "README.md").read_text()
