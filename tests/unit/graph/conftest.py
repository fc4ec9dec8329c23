"""The real resolver, for pipelines that tests name or write."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from graph_resolving import KEY, PIPELINES, SETTINGS, Resolve

from gateway.graph.resolver import Resolution, SandboxResolver
from gateway.sandbox.spec import LAYERS
from gateway.settings import SandboxSettings


@pytest.fixture
def resolve(tmp_path: Path) -> Resolve:
    """Resolve a fixture pipeline by name, or some code that is given."""

    async def call(
        name: str = "pipe",
        family: str = "Job",
        parameters: Mapping[str, str] | None = None,
        *,
        code: str | None = None,
        shown: frozenset[str] = frozenset({"date", "n", "level"}),
        settings: SandboxSettings = SETTINGS,
        **more: Any,
    ) -> Resolution:
        source = PIPELINES / name
        if code is not None:
            source = tmp_path / "source"
            source.mkdir(exist_ok=True)
            (source / f"{name}.py").write_text("import luigi\n" + textwrap.dedent(code))
        resolver = SandboxResolver(settings, tmp_path / "state" / "code", KEY, frozenset(LAYERS))
        given = {"emits": {"warehouse": {"pii"}, "bucket": {"internal"}}, **more}
        return await resolver.resolve(
            source=source,
            module=name,
            family=family,
            parameters=parameters or {},
            shown=shown,
            **given,
        )

    return call
