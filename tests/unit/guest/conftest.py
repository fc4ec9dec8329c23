"""Pipelines in pods; and Luigi, imported once before the tests: it warns of a default we pin."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from guest_bench import copy_of
from guest_pod import ODD, PodBench

from gateway.model import TaskGraph

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import luigi  # noqa: F401 - for its side effect


@pytest.fixture
def shop(tmp_path: Path) -> PodBench:
    """Return the shop in pods."""
    return PodBench(tmp_path, copy_of("shop", tmp_path / "source"))


@pytest.fixture
def fresh(tmp_path: Path) -> PodBench:
    """Return a pipeline of tasks that misbehave, in pods."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "odd.py").write_text(ODD)
    return PodBench(tmp_path, source)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> PodBench:
    """Return the same pipeline, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("odd")
    source = folder / "source"
    source.mkdir()
    (source / "odd.py").write_text(ODD)
    return PodBench(folder, source)


@pytest.fixture(scope="module")
def graph(odd: PodBench) -> TaskGraph:
    """Return the graph of all of its tasks."""
    return odd.resolve("odd", "All", ("name",))
