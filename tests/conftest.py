"""Fixtures for the tests that need a whole gateway (``gateway_bed.py``)."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_bed import ROOT, Served, serve

from gateway.settings import (
    AdmitSettings,
    HttpSettings,
    IdentitySettings,
    PolicySettings,
    Settings,
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings for a gateway of its own, in the checkout's working directory."""
    monkeypatch.chdir(ROOT)
    return Settings(
        state_dir=tmp_path / "state",
        http=HttpSettings(port=0),
        identity=IdentitySettings(development_issuer=True),
        admit=AdmitSettings(launches_per_minute=10_000),
        policy=PolicySettings(directory=ROOT / "policies"),
    )


@pytest.fixture
async def served(settings: Settings) -> AsyncIterator[Served]:
    """Run a gateway for one test."""
    async with serve(settings) as found:
        yield found


@pytest.fixture(scope="session")
def open_data() -> Iterator[Any]:
    """Serve the open data that the example pipelines fetch."""
    with _opendata().OpenDataServer() as server:
        yield server


@pytest.fixture
def weather(open_data: Any) -> dict[str, Any]:
    """Return a launch body that policy allows outright."""
    parameters = {"source": open_data.url, "start": "2012-01", "months": 2}
    return {"pipeline": "city-weather", "parameters": parameters, "reason": "test"}


@pytest.fixture
def jobs(open_data: Any) -> dict[str, Any]:
    """Return a launch body that policy sends to people."""
    parameters = {"source": open_data.url, "year": 2009}
    return {"pipeline": "jobs-report", "parameters": parameters, "reason": "test"}


@pytest.fixture
def changed(settings: Settings) -> Callable[..., Settings]:
    """Return the settings with some fields replaced, by section: ``changed(http={...})``."""

    def change(**sections: Any) -> Settings:
        value = settings.model_dump()
        for name, fields in sections.items():
            value[name] = {**value[name], **fields} if isinstance(fields, dict) else fields
        return Settings.model_validate(value)

    return change


def _opendata() -> Any:
    spec = importlib.util.spec_from_file_location("opendata", ROOT / "examples" / "opendata.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
