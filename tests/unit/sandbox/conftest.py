"""Fixtures for code behind the walls."""

from __future__ import annotations

from pathlib import Path

import pytest
from sandbox_bench import Inside, run_inside


@pytest.fixture
def inside() -> Inside:
    """Run Python code in a sandbox to its end."""
    return run_inside


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return a file as our keys are: mode 0600, in a folder of mode 0700."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    path = folder / "installation.key"
    path.write_text("the installation key")
    path.chmod(0o600)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder of pipeline code that anybody could write to, were it not for the walls."""
    folder = tmp_path / "tree"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "module.py").write_text("x = 1")
    (folder / "module.py").chmod(0o666)
    return folder
