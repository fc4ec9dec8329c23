"""Quantities as the API server keeps them. These pairs came back from one of Kubernetes 1.35."""

from __future__ import annotations

import pytest

from gateway.policy.quantities import canonical, memory_bytes, millicores


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("500m", "500m"),
        ("1000m", "1"),
        ("0.25", "250m"),
        ("2000", "2k"),
        ("1024", "1024"),
        ("1024Ki", "1Mi"),
        ("1024Gi", "1Ti"),
        ("1.5Gi", "1536Mi"),
        ("1000Ki", "1000Ki"),
        ("1.5G", "1500M"),
        ("0.5Ki", "512"),
        ("0.9765625Ki", "1k"),
        ("0", "0"),
    ],
)
def test_policy_quantities_have_the_spelling_of_the_api_server(written: str, kept: str) -> None:
    """A pod that is read back compares equal to what was planned."""
    assert canonical(written) == kept


def test_policy_quantities_are_counted_in_small_whole_units() -> None:
    """Rules and limits compare integers: thousandths of a core, and bytes."""
    assert [millicores(text) for text in ("1m", "0.5", "2", "1k")] == [1, 500, 2000, 1_000_000]
    assert [memory_bytes(text) for text in ("1", "1k", "1Ki", "0.5Mi")] == [1, 1000, 1024, 524_288]


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "01", ".5", "5.", "1 Gi", "1gi", "1KB", "1n", "0x1", "\u0661"]
)
def test_policy_quantities_other_spellings_are_refused(text: str) -> None:
    """What Kubernetes reads in a way of its own, or not at all, is not read here."""
    with pytest.raises(ValueError, match="is no quantity"):
        canonical(text)
