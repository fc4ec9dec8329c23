"""What a verification found, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MAX_FINDINGS = 100  # a report lists these; the others are counted


class DamagedError(ValueError):
    """Bytes that are not what the format says; the text tells what is wrong with them."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; ``seq`` and ``entry_id`` when it is wrong with one entry."""

    problem: str
    seq: int | None = None
    entry_id: str | None = None


@dataclass
class Report:
    """The first ``checkpoint_size`` of ``size`` entries are under a signature over ``root``."""

    size: int = 0
    checkpoint_size: int = 0
    root: str = ""
    findings: list[Finding] = field(default_factory=list)
    unlisted: int = 0  # findings beyond the first hundred

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def not_covered(self) -> int:
        """How many of the newest entries are not yet covered by a signature."""
        return self.size - self.checkpoint_size

    def add(self, problem: str, seq: int | None = None, entry_id: str | None = None) -> None:
        """Note a finding."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(problem, seq, entry_id))
        else:
            self.unlisted += 1

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {"ok": self.ok, "not_covered": self.not_covered, **asdict(self)}
