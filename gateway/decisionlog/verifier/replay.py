"""Build the tree once more from every entry, and find what is wrong where it differs.

The stored nodes tell which entry was changed, though an attacker may have changed them as well:
they are followed down from a signed root, and a node is believed only when it and its neighbour
hash to what is believed already.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Mapping
from functools import reduce

from .proofs import EMPTY_ROOT, leaf_hash, node_hash, split
from .report import DamagedError, Report
from .sources import Found, ReadNode, Source, parse

MAX_GAP = 10_000  # entries missing in a row that are listed one by one
KEYS = frozenset(
    {"v", "seq", "id", "timestamp", "code", "event", "labels"}
    | {"launch_id", "decision_id", "requested_by", "body"}
)


class Replay:
    """One pass over a log. ``roots`` holds the tree's root at each of the sizes in ``wanted``."""

    def __init__(self, source: Source, report: Report, wanted: set[int]) -> None:
        """Take the log as found and the report to fill."""
        self.roots = {0: EMPTY_ROOT}
        self.blamed: set[int] = set()
        self._source = source
        self._report = report
        self._wanted = wanted
        self._frontier: list[bytes] = []  # the complete subtrees so far, largest first
        self._differs: dict[tuple[int, int], bytes] = {}  # as computed, where stored otherwise
        self._ids: dict[int, str] = {}
        self._seen: set[str] = set()

    def run(self) -> None:
        """Replay every entry."""
        report, stored = self._report, self._source.stored
        try:
            for found in self._source.entries:
                leaf = leaf_hash(found.raw)
                for missing in self._gap_before(found.seq, leaf):
                    report.add("it is missing", missing)
                    self._grow(stored(0, missing) or bytes(len(leaf)))
                if problem := self._problem(found):
                    report.add(problem, report.size, self._ids.get(report.size))
                self._grow(leaf)
        except (ValueError, sqlite3.Error) as error:
            report.add(f"the database cannot be read after entry {report.size - 1}: {error}")
        if stored(0, report.size) is not None:
            report.add("it is missing, with all that may have followed", report.size)

    def _gap_before(self, claimed: int, leaf: bytes) -> range:
        """Return the places skipped by an entry of further on: by its hash, not by its word."""
        here, stored = self._report.size, self._source.stored
        if here < claimed < here + MAX_GAP and stored(0, here) != leaf == stored(0, claimed):
            return range(here, claimed)
        return range(0)

    def _problem(self, found: Found) -> str | None:
        """Return what is wrong with an entry by itself."""
        seq = self._report.size
        try:
            value = parse(found.raw)
        except DamagedError as error:
            return str(error)
        if set(value) != KEYS or value["v"] != 1:
            return "it is not an entry of this format"
        self._ids[seq] = entry_id = str(value["id"])
        if not value["seq"] == found.seq == seq:
            return f"it claims another place: {value['seq']}, in row {found.seq}"
        if entry_id in self._seen:
            return "its id was used before"
        self._seen.add(entry_id)
        return _misplaced(found.columns, value)

    def _grow(self, leaf: bytes) -> None:
        level, index, value = 0, self._report.size, leaf
        while True:
            if self._source.stored(level, index) != value:
                self._differs[level, index] = value
            if not index & 1:
                break
            value, level, index = node_hash(self._frontier.pop(), value), level + 1, index >> 1
        self._frontier.append(value)
        self._report.size += 1
        if self._report.size in self._wanted:
            root = reduce(lambda low, high: node_hash(high, low), reversed(self._frontier))
            self.roots[self._report.size] = root

    def blame(self, low: int, high: int, authentic: bytes) -> None:
        """Find the entries that are wrong below a root that is right."""
        if _range_root(self._computed, low, high) == authentic:
            return
        if high - low == 1:
            self.blamed.add(low)
            self._report.add("its bytes are not the ones that were signed", low, self._ids.get(low))
            return
        middle, sides = split(low, high), (self._source.stored, self._computed)
        for left in [_range_root(side, low, middle) for side in sides]:
            for right in [_range_root(side, middle, high) for side in sides]:
                if left and right and node_hash(left, right) == authentic:
                    self.blame(low, middle, left)
                    self.blame(middle, high, right)
                    return
        self.blamed.update(range(low, high))
        self._report.add(
            f"entries {low} to {high - 1} are not all as they were signed, and the stored nodes "
            "that would tell which of them were changed too"
        )

    def _computed(self, level: int, index: int) -> bytes | None:
        return self._differs.get((level, index)) or self._source.stored(level, index)

    def judge_nodes(self, covered: int) -> None:
        """Report stored nodes that no wrong entry explains; a signature covers ``covered``."""
        blamed = sorted(self.blamed)
        for level, index in sorted(self._differs):
            low, high = (bisect_left(blamed, at << level) for at in (index, index + 1))
            below = {(level - 1, 2 * index), (level - 1, 2 * index + 1)}
            if low != high or below & self._differs.keys():
                continue
            if level == 0 and index >= covered:
                problem = "it is not what its stored hash says, and no signature covers it yet"
                self._report.add(problem, index, self._ids.get(index))
            else:
                self._report.add(f"the stored node {level}/{index} is missing or wrong")


def _misplaced(columns: Mapping[str, object], value: Mapping[str, object]) -> str | None:
    wrong = [name for name, column in columns.items() if column != value[name]]
    return f"the database lists it under another {', '.join(wrong)}" if wrong else None


def _range_root(read: ReadNode, low: int, high: int) -> bytes | None:
    width = high - low
    if width & (width - 1) == 0:
        return read(width.bit_length() - 1, low // width)
    middle = split(low, high)
    left, right = _range_root(read, low, middle), _range_root(read, middle, high)
    return node_hash(left, right) if left and right else None
