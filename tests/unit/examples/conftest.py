"""Each pipeline of ``examples/`` runs once, in a process of its own, with servers on loopback."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from examples_counterpart import Counterpart

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
DRIVER = Path(__file__).with_name("drive_pipeline.py")

HOSTILE = '</title><script>alert("x")</script>$\\frac{}{}$ & <img src=x onerror=y>'
SECRET = "correct-horse-battery-staple"
DATA_KEY = "open-sesame-for-data"


@dataclass(frozen=True)
class Example:
    """One pipeline as the tests launch it."""

    module: str
    family: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """What the driver reported, and the folder that the pipeline wrote to."""

    report: Mapping[str, Any]
    workspace: Path
    stderr: str


def environment(module: str, home: Path) -> dict[str, str]:
    """Return all that a pipeline's process gets to see: what a sandbox would give it."""
    return {
        "HOME": str(home),
        "MPLCONFIGDIR": str(home),
        "PYTHONPATH": str(EXAMPLES / module),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture(scope="session")
def opendata() -> ModuleType:
    """The module ``examples/opendata.py``, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("opendata", EXAMPLES / "opendata.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def open_data(opendata: ModuleType) -> Iterator[Any]:
    """The open-data server, asking for a key."""
    with opendata.OpenDataServer(0, key=DATA_KEY) as server:
        yield server


@pytest.fixture(scope="session")
def free_data(opendata: ModuleType) -> Iterator[Any]:
    """The open-data server as the demo starts it, asking for nothing."""
    with opendata.OpenDataServer(0) as server:
        yield server


@pytest.fixture(scope="session")
def counterpart() -> Iterator[Counterpart]:
    """The other end of the two pipelines that talk to more than open data."""
    with Counterpart() as server:
        yield server


@pytest.fixture(scope="session")
def examples(open_data: Any, free_data: Any, counterpart: Counterpart) -> dict[str, Example]:
    """The pipelines, with parameters that point at the servers of this session."""
    return {
        "city-weather": Example(
            "city_weather",
            "CityWeatherReport",
            {
                "start": "2012-11",
                "months": "3",
                "top_days": "4",
                "title": HOSTILE,
                "source": open_data.url,
                "api_key": DATA_KEY,
            },
        ),
        "jobs-report": Example(
            "jobs_report",
            "JobsReport",
            {"year": "2014", "title": HOSTILE, "source": free_data.url},
        ),
        "partner-export": Example(
            "partner_export",
            "PartnerExport",
            {
                "source": free_data.url,
                "partner_url": f"{counterpart.url}/partner",
                "partner_token": SECRET,
            },
        ),
        "customer-digest": Example(
            "customer_digest",
            "CustomerDigest",
            {
                "crm_url": f"{counterpart.url}/crm",
                "crm_token": SECRET,
                "publish_url": f"{counterpart.url}/web",
            },
        ),
    }


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder that the processes share, so that matplotlib lists the fonts once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def run(examples: dict[str, Example], home: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that runs a pipeline by name, once in the session."""
    outcomes: dict[str, Outcome] = {}

    def once(name: str) -> Outcome:
        if name not in outcomes:
            example, workspace = examples[name], tmp_path_factory.mktemp(name)
            done = subprocess.run(
                [
                    sys.executable,
                    str(DRIVER),
                    example.module,
                    example.family,
                    json.dumps(example.parameters),
                ],
                cwd=workspace,
                env=environment(example.module, home),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            outcomes[name] = Outcome(json.loads(done.stdout), workspace, done.stderr)
        return outcomes[name]

    return once


@pytest.fixture
def luigi_cli(home: Path, tmp_path: Path) -> Any:
    """A function that runs the plain `luigi` command in ``work`` below the test's folder."""
    work = tmp_path / "work"
    work.mkdir()

    def call(module: str, *arguments: str, cwd: Path = work) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "luigi", "--local-scheduler", "--module", module, *arguments],
            cwd=cwd,
            env=environment(module, home),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call
