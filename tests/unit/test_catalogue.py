"""The shipped catalogue fits the shipped examples."""

from pathlib import Path

import pytest

from gateway.graph.code import read_tree
from gateway.policy.snapshot import load_snapshot

ROOT = Path(__file__).parents[2]
PIPELINES = load_snapshot(ROOT / "policies").data.pipelines


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_source_exists_and_a_standing_approval_names_its_code(name: str) -> None:
    """A standing approval is for exactly the code that is in the tree; otherwise people decide."""
    pipeline = PIPELINES[name]
    digest = read_tree(ROOT / pipeline.source).digest
    if pipeline.standing_approval:
        assert pipeline.standing_approval.code_digest == digest, f"{name}: write {digest}"
