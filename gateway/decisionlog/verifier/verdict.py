"""Answer the two questions: is this log what its signer signed, and does it hold this entry."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from .checkpoints import Checkpoint, VerifierKey
from .proofs import leaf_hash, verify_inclusion
from .replay import Replay
from .report import DamagedError, Report
from .sources import Source, from_export, from_sqlite, lines, open_readonly, parse


def verify(path: Path, public_key: str, witness: Path | None = None) -> Report:
    """Verify a whole log: a SQLite database or an NDJSON export.

    ``witness`` is a copy of ``checkpoints.log`` kept elsewhere. Whatever is wrong, unreadable
    files included, is a finding and not an exception.
    """
    report = Report()
    try:
        key = VerifierKey.parse(public_key)
        with path.open("rb") as file:
            exported = file.read(1) == b"{"
        with nullcontext() if exported else closing(open_readonly(path)) as connection:
            source = from_sqlite(connection, report) if connection else from_export(path, report)
            if witness is not None:
                source.checkpoints.extend(_witnessed(witness, report))
            _judge(source, key, report)
    except (OSError, ValueError, sqlite3.Error) as error:  # a damaged name is no UTF-8 either
        report.add(f"{path} cannot be verified: {error}")
    return report


def verify_proof(proof: Mapping[str, Any], public_key: str) -> Report:
    """Verify what ``sluice log prove`` wrote: one entry, its inclusion proof and a checkpoint."""
    report = Report()
    try:
        checkpoint = VerifierKey.parse(public_key).open(str(proof["checkpoint"]))
        report.size = report.checkpoint_size = checkpoint.size
        report.root = checkpoint.root.hex()
        raw, path = str(proof["entry"]).encode(), list(proof["inclusion"])
        seq, leaf = int(parse(raw)["seq"]), leaf_hash(raw).hex()
        if (proof["v"], proof["seq"]) != (1, seq):
            report.add(f"it is not a proof about entry {seq}", seq)
        if not verify_inclusion(leaf, seq, checkpoint.size, path, report.root):
            report.add("the proof does not lead from this entry to the signed root", seq)
    except (KeyError, TypeError, ValueError) as error:
        report.add(f"the proof cannot be read: {error!r}")
    return report


def _witnessed(path: Path, report: Report) -> Iterator[str]:
    for number, line in enumerate(lines(path), 1):
        try:
            yield str(parse(line)["checkpoint"])
        except (DamagedError, KeyError) as error:
            report.add(f"{path}, line {number}: {error}")


def _judge(source: Source, key: VerifierKey, report: Report) -> None:
    signed: list[Checkpoint] = []
    for text in source.checkpoints:
        try:
            signed.append(key.open(text))
        except DamagedError as error:
            report.add(f"the checkpoint {text!r}: {error}")
    signed.sort(key=lambda checkpoint: -checkpoint.size)
    replay = Replay(source, report, {checkpoint.size for checkpoint in signed})
    replay.run()
    if signed and signed[0].size > report.size:
        report.add(f"{signed[0].size} entries were signed: the newest were removed")
    held = [checkpoint for checkpoint in signed if checkpoint.size <= report.size]
    if held:
        newest = held[0]
        report.checkpoint_size, report.root = newest.size, newest.root.hex()
        if replay.roots[newest.size] != newest.root:
            replay.blame(0, newest.size, newest.root)
    for _, size, root in held[1:]:
        if replay.roots[size] != root and min(replay.blamed, default=size) >= size:
            report.add(f"the checkpoint of size {size} signed another history")
    replay.judge_nodes(report.checkpoint_size)
