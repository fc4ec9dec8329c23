"""Verify a decision log without trusting the gateway that wrote it, or anybody who runs it.

This one file needs Python 3.11 and ``cryptography``, nothing else of Sluice: copy it anywhere and
run ``python verifier.py LOG PUBLIC_KEY [CHECKPOINTS]``. LOG is the gateway's SQLite database,
opened read-only, or an NDJSON export. CHECKPOINTS is a copy of ``checkpoints.log`` kept where the
gateway cannot write: with it, a log that was cut together with its checkpoints is caught too.

Everything is replayed: each entry's canonical form, the sequence, the Merkle tree (RFC 9162
section 2.1), and each signed checkpoint (C2SP signed-note and tlog-checkpoint). Where a signed
root does not match, the stored nodes are followed down from it, believing only what hashes to what
is already believed, to the entry that was changed. Damaged files give findings, never a traceback.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sqlite3
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EMPTY_ROOT = hashlib.sha256(b"").digest()
MAX_FINDINGS = 100  # a report lists; the others are counted
MAX_GAP = 10_000  # entries missing in a row that are listed one by one
ReadNode = Callable[[int, int], bytes | None]  # (level, index) of a complete subtree


class DamagedError(ValueError):
    """Bytes that are not what the format says; the text tells what is wrong with them."""


# --- hashes and proofs: RFC 9162 section 2.1 ------------------------------------------------------


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(low: int, high: int) -> int:
    """Return where a range of two or more leaves divides: the left part is the largest 2^k."""
    return low + (1 << (high - low - 1).bit_length() - 1)


def verify_inclusion(leaf: str, seq: int, size: int, proof: Sequence[str], root: str) -> bool:
    """Tell whether ``proof`` leads from leaf ``seq`` to ``root`` (section 2.1.3.2); hex hashes."""
    if not 0 <= seq < size or not all(map(is_hash, (leaf, root, *proof))):
        return False
    end = _climb(seq, size - 1, bytes.fromhex(leaf), proof)
    return end is not None and end[1].hex() == root


def verify_consistency(
    size1: int, size2: int, root1: str, root2: str, proof: Sequence[str]
) -> bool:
    """Tell whether the tree of ``size2`` begins with that of ``size1`` (section 2.1.4.2)."""
    if not 0 <= size1 <= size2 or not all(map(is_hash, (root1, root2, *proof))):
        return False
    if size1 in (0, size2):
        return not proof and root1 == (root2 if size1 == size2 else EMPTY_ROOT.hex())
    start, *path = (root1, *proof) if size1 & (size1 - 1) == 0 else (*proof,) or ("",)
    index, last = size1 - 1, size2 - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    end = _climb(index, last, bytes.fromhex(start), path)
    return end is not None and (end[0].hex(), end[1].hex()) == (root1, root2)


def _climb(index: int, last: int, start: bytes, path: Sequence[str]) -> tuple[bytes, bytes] | None:
    """Return the roots of the tree that ends at ``start``, and of the one of ``last + 1``."""
    old = new = start
    for item in map(bytes.fromhex, path):
        if last == 0:
            return None
        if index & 1 or index == last:
            old, new = node_hash(item, old), node_hash(item, new)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            new = node_hash(new, item)
        index, last = index >> 1, last >> 1
    return (old, new) if last == 0 else None


def is_hash(text: object) -> bool:
    """Tell whether ``text`` is a SHA-256 in the one form used here: 64 lower-case hex digits."""
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None


# --- checkpoints: C2SP signed-note and tlog-checkpoint --------------------------------------------


class Checkpoint(NamedTuple):
    """What a signed checkpoint says: the log's name, how many entries, and their root."""

    origin: str
    size: int
    root: bytes


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint without believing it. Raises ``DamagedError``."""
    match text.rpartition("\n\n")[0].split("\n"):
        case [origin, size, root, *_] if origin and re.fullmatch("0|[1-9][0-9]{0,15}", size):
            return Checkpoint(origin, int(size), _base64(root, 32))
    raise DamagedError("it is not a checkpoint")


@dataclass(frozen=True)
class VerifierKey:
    """The public key of a log's signer, as text ``name+hash+base64``."""

    name: str
    key_id: bytes
    public: Ed25519PublicKey

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a key. Raises ``DamagedError``."""
        name, claimed, encoded = (*text.strip().split("+", 2), "", "")[:3]
        data = _base64(encoded, 33)
        key_id = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
        if not name or data[:1] != b"\x01" or claimed != key_id.hex():
            raise DamagedError("it is not an Ed25519 verifier key")
        return cls(name, key_id, Ed25519PublicKey.from_public_bytes(data[1:]))

    def open(self, text: str) -> Checkpoint:
        """Return what this key signed. Raises ``DamagedError``."""
        checkpoint = parse_checkpoint(text)
        body, _, signatures = text.rpartition("\n\n")
        for line in re.findall(
            f"^\u2014 {re.escape(self.name)} (\\S+)\n", signatures, re.MULTILINE
        ):
            data = _base64(line, 68)
            if data[:4] == self.key_id and checkpoint.origin == self.name:
                try:
                    self.public.verify(data[4:], f"{body}\n".encode())
                except InvalidSignature:
                    break
                return checkpoint
        raise DamagedError("it has no valid signature by this key")


# --- what a file holds, before anything in it is believed ----------------------------------------


@dataclass
class Report:
    """What was found; ``findings`` are dicts of problem, seq and entry_id (None: not an entry's).

    The first ``checkpoint_size`` entries are covered by a signature, which is over ``root``.
    """

    size: int = 0
    checkpoint_size: int = 0
    root: str = ""
    findings: list[dict[str, Any]] = field(default_factory=list)
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
            self.findings.append({"seq": seq, "entry_id": entry_id, "problem": problem})
        else:
            self.unlisted += 1

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {"ok": self.ok, "not_covered": self.not_covered, **asdict(self)}


class Source(NamedTuple):
    """A log as found: entries with the place and the columns they claim, nodes, checkpoints."""

    entries: Iterable[tuple[int, bytes, Mapping[str, Any]]]
    stored: ReadNode
    checkpoints: list[str]


def open_readonly(path: Path) -> sqlite3.Connection:
    """Open a database without changing a byte of it; a live write-ahead log is seen."""
    live = path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?{'mode=ro' if live else 'immutable=1'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.text_factory = lambda data: data.decode(errors="replace")
    connection.execute("BEGIN")  # one snapshot for all that is read
    return connection


def _from_sqlite(connection: sqlite3.Connection, report: Report) -> Source:
    def stored(level: int, index: int) -> bytes | None:
        query = "SELECT hash FROM nodes WHERE level = ? AND idx = ?"
        (node,) = connection.execute(query, (level, index)).fetchone() or (None,)
        return node if isinstance(node, bytes) else None

    for (problem,) in connection.execute("PRAGMA integrity_check(10)"):
        if problem != "ok":
            report.add(f"the database is damaged: {problem}")
    found = connection.execute(
        "SELECT seq, bytes, id, event, launch_id, decision_id FROM entries ORDER BY seq"
    )
    names = [column[0] for column in found.description[2:]]
    entries = ((seq, bytes(raw), dict(zip(names, rest, strict=True))) for seq, raw, *rest in found)
    texts = connection.execute("SELECT text FROM checkpoints ORDER BY size")
    return Source(entries, stored, [text for (text,) in texts])


def _from_export(path: Path, report: Report) -> Source:
    lists: dict[str, list[Any]] = {"format": [], "size": [], "leaf_hashes": [], "checkpoint": []}
    for number, line in enumerate(_lines(path), 1):
        try:
            for key, value in parse(line).items() if line.startswith(_NOT_ENTRIES) else ():
                lists[key] += value if isinstance(value, list) else [value]
        except (DamagedError, KeyError) as error:
            report.add(f"line {number}: {error}")
    leaves = [bytes.fromhex(item) if is_hash(item) else b"" for item in lists["leaf_hashes"]]
    if (lists["format"], lists["size"]) != (["sluice-log-v1"], [len(leaves)]):
        report.add(f"the header is not that of a log of {len(leaves)} entries in this format")
    levels = [leaves]
    while len(low := levels[-1]) > 1:
        levels.append([node_hash(low[at], low[at + 1]) for at in range(0, len(low) - 1, 2)])
    nodes = {(level, at): node for level, row in enumerate(levels) for at, node in enumerate(row)}
    lines = (line for line in _lines(path) if not line.startswith(_NOT_ENTRIES))
    entries = ((_claimed(line), line, {}) for line in lines)
    return Source(entries, lambda *at: nodes.get(at), [str(text) for text in lists["checkpoint"]])


_NOT_ENTRIES = (b'{"format":', b'{"leaf_hashes":', b'{"checkpoint":')


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n")


def _claimed(line: bytes) -> int:
    try:
        return int(parse(line)["seq"])
    except (DamagedError, KeyError, TypeError, ValueError):
        return -1


def parse(data: bytes) -> dict[str, Any]:
    """Read a canonical JSON object. Raises ``DamagedError``."""
    try:
        value = json.loads(data, parse_float=_refuse, parse_constant=_refuse)
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        if isinstance(value, dict) and text.encode() == data:
            return value
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is not canonical JSON ({error})") from error
    raise DamagedError("it is not a canonical JSON object")


def _refuse(text: str) -> NoReturn:
    raise DamagedError(f"{text} is not allowed")


def _base64(text: str, length: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if len(data) != length or base64.b64encode(data).decode() != text:
        raise DamagedError(f"it has something else where base64 of {length} bytes belongs")
    return data


# --- the replay -----------------------------------------------------------------------------------


class _Replay:
    """Builds the tree again from the entries, and remembers where what is stored differs."""

    def __init__(self, source: Source, report: Report, wanted: set[int]) -> None:
        self.source, self.report, self.wanted = source, report, wanted
        self.frontier: list[bytes] = []
        self.roots = {0: EMPTY_ROOT}  # at the sizes that are wanted
        self.differs: dict[tuple[int, int], bytes] = {}  # computed, where it is not what is stored
        self.ids: dict[int, str] = {}
        self.seen: set[str] = set()
        self.blamed: set[int] = set()

    def run(self) -> None:
        stored = self.source.stored
        try:
            for claimed, raw, columns in self.source.entries:
                leaf, here = leaf_hash(raw), self.report.size
                # after a gap: an entry of further on, by its hash and not by its word alone
                if here < claimed < here + MAX_GAP and stored(0, here) != leaf == stored(
                    0, claimed
                ):
                    for missing in range(here, claimed):
                        self.report.add("it is missing", missing)
                        self.grow(stored(0, missing) or bytes(32))
                if problem := self.problem(claimed, raw, columns):
                    self.report.add(problem, self.report.size, self.ids.get(self.report.size))
                self.grow(leaf)
        except sqlite3.Error as error:
            self.report.add(
                f"the database cannot be read after entry {self.report.size - 1}: {error}"
            )
        if stored(0, self.report.size) is not None:
            self.report.add("it is missing", self.report.size)

    def problem(self, claimed: int, raw: bytes, columns: Mapping[str, Any]) -> str | None:
        """Return what is wrong with an entry by itself."""
        seq = self.report.size
        try:
            value = parse(raw)
            self.ids[seq] = entry_id = str(value["id"])
            others = [name for name, column in columns.items() if column != value[name]]
        except (DamagedError, KeyError) as error:
            return f"it is not an entry: {error}"
        if not value.get("seq") == claimed == seq:
            return f"it claims to be entry {value.get('seq')}, and is stored as {claimed}"
        if entry_id in self.seen:
            return "its id was used before"
        self.seen.add(entry_id)
        return f"the database lists it under another {', '.join(others)}" if others else None

    def grow(self, leaf: bytes) -> None:
        """Add a leaf to the tree."""
        level, index, value = 0, self.report.size, leaf
        while True:
            if self.source.stored(level, index) != value:
                self.differs[level, index] = value
            if not index & 1:
                break
            value, level, index = node_hash(self.frontier.pop(), value), level + 1, index >> 1
        self.frontier.append(value)
        self.report.size += 1
        if self.report.size in self.wanted:
            root = reduce(lambda low, high: node_hash(high, low), self.frontier[::-1])
            self.roots[self.report.size] = root

    def computed(self, level: int, index: int) -> bytes | None:
        """Return a node as the entries have it."""
        return self.differs.get((level, index)) or self.source.stored(level, index)

    def blame(self, low: int, high: int, authentic: bytes) -> None:
        """Find the entries that are wrong below a root that is right."""
        if _range_root(self.computed, low, high) == authentic:
            return
        if high - low == 1:
            self.blamed.add(low)
            self.report.add("its bytes are not the ones that were signed", low, self.ids.get(low))
            return
        middle, sides = split(low, high), (self.source.stored, self.computed)
        for left in [_range_root(side, low, middle) for side in sides]:
            for right in [_range_root(side, middle, high) for side in sides]:
                if left and right and node_hash(left, right) == authentic:
                    self.blame(low, middle, left)
                    self.blame(middle, high, right)
                    return
        self.blamed.update(range(low, high))
        self.report.add(
            f"entries {low} to {high - 1} are not all as they were signed, and the stored nodes "
            "that would tell which of them were changed too"
        )

    def judge_nodes(self) -> None:
        """Report stored nodes that no wrong entry explains."""
        blamed = sorted(self.blamed)
        for level, index in sorted(self.differs):
            explained = {(level - 1, 2 * index), (level - 1, 2 * index + 1)} & self.differs.keys()
            low, high = (bisect_left(blamed, at << level) for at in (index, index + 1))
            if explained or low != high:
                continue
            if level == 0 and index >= self.report.checkpoint_size:
                problem = "it is not what its stored hash says, and no signature covers it yet"
                self.report.add(problem, index, self.ids.get(index))
            else:
                self.report.add(f"the stored node {level}/{index} is missing or wrong")


def _range_root(read: ReadNode, low: int, high: int) -> bytes | None:
    width = high - low
    if width & (width - 1) == 0:
        return read(width.bit_length() - 1, low // width)
    middle = split(low, high)
    left, right = _range_root(read, low, middle), _range_root(read, middle, high)
    return node_hash(left, right) if left and right else None


# --- the verdicts ---------------------------------------------------------------------------------


def verify(path: Path, public_key: str, witness: Path | None = None) -> Report:
    """Verify a whole log: a SQLite database or an NDJSON export. Never raises for its content."""
    report = Report()
    try:
        key = VerifierKey.parse(public_key)
        with path.open("rb") as file:
            exported = file.read(1) == b"{"
        with nullcontext() if exported else closing(open_readonly(path)) as connection:
            source = _from_sqlite(connection, report) if connection else _from_export(path, report)
            if witness:
                source.checkpoints.extend(str(parse(at)["checkpoint"]) for at in _lines(witness))
            _judge(source, key, report)
    except (DamagedError, KeyError, TypeError, OSError, sqlite3.Error) as error:
        report.add(f"{path} cannot be read: {error}")
    return report


def _judge(source: Source, key: VerifierKey, report: Report) -> None:
    signed = []
    for text in source.checkpoints:
        try:
            signed.append(key.open(text))
        except DamagedError as error:
            report.add(f"the checkpoint {text!r}: {error}")
    signed.sort(key=lambda checkpoint: -checkpoint.size)
    replay = _Replay(source, report, {checkpoint.size for checkpoint in signed})
    replay.run()
    if signed and signed[0].size > report.size:
        report.add(f"{signed[0].size} entries were signed: the newest were removed")
    held = [checkpoint for checkpoint in signed if checkpoint.size <= report.size]
    if held:
        report.checkpoint_size, report.root = held[0].size, held[0].root.hex()
        if replay.roots[held[0].size] != held[0].root:
            replay.blame(0, held[0].size, held[0].root)
    for _, size, root in held[1:]:
        if replay.roots[size] != root and min(replay.blamed, default=size) >= size:
            report.add(f"the checkpoint of size {size} signed another history")
    replay.judge_nodes()


def verify_proof(proof: Mapping[str, Any], public_key: str) -> Report:
    """Verify what ``sluice log prove`` wrote: one entry, its inclusion proof and a checkpoint."""
    report = Report()
    try:
        checkpoint = VerifierKey.parse(public_key).open(str(proof["checkpoint"]))
        report.size, report.root = checkpoint.size, checkpoint.root.hex()
        report.checkpoint_size = checkpoint.size
        raw, path = str(proof["entry"]).encode(), list(proof["inclusion"])
        seq, leaf = int(parse(raw)["seq"]), leaf_hash(raw).hex()
        if not verify_inclusion(leaf, seq, checkpoint.size, path, report.root):
            report.add("the proof does not lead from this entry to the signed root", seq)
    except (KeyError, TypeError, ValueError) as error:
        report.add(f"the proof cannot be read: {error}")
    return report


if __name__ == "__main__":
    if len(sys.argv) not in {3, 4}:
        sys.exit(__doc__)
    result = verify(Path(sys.argv[1]), sys.argv[2], *map(Path, sys.argv[3:]))
    sys.stdout.write(json.dumps(result.to_json(), indent=2) + "\n")
    sys.exit(not result.ok)
