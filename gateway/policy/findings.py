"""What is wrong with a policy: file, line and reason, for people who have to change it.

Nothing here decides anything. A finding never quotes more than a short piece of the file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.errors import Misconfigured

_SHOWN = 5


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing to change. ``file`` is relative to the policy folder; ``line`` counts from 1.

    ``line`` 0 stands for the file as a whole.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.reason}"
            if self.line
            else f"{self.file}: {self.reason}"
        )


class PolicyInvalid(Misconfigured):
    """A policy that may not be used. ``findings`` are in the order of file and line."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        """Keep every finding; the message shows the first few."""
        self.findings = tuple(sorted(set(findings)))
        shown = "; ".join(str(finding) for finding in self.findings[:_SHOWN])
        more = len(self.findings) - _SHOWN
        super().__init__(
            "policy_invalid",
            f"the policy is not usable: {shown}" + (f"; and {more} more" if more > 0 else ""),
            step="decide",
        )


def refuse(findings: Iterable[Finding]) -> None:
    """Raise ``PolicyInvalid`` when there are findings."""
    if found := tuple(findings):
        raise PolicyInvalid(found)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like ``name``, or None when nothing is like it."""
    found = difflib.get_close_matches(name, sorted(known), 1, 0.5)
    return found[0] if found else None


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Say that ``name`` is not a known ``what``, and which one may have been meant."""
    close = nearest(name, known)
    return f"no {what} is called {name!r}" + (f"; did you mean {close!r}?" if close else "")
