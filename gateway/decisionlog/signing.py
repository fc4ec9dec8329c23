"""The signer's process: it alone holds the key that signs checkpoints.

It is started by ``signer.CheckpointSigner``, with an empty environment, and reads the database
without being able to write to it. It signs a new head only after it has itself

1. read every entry since its last head, without a gap, each with a valid MAC of the writer;
2. grown its own tree by them, so that the new head continues the last one by construction;
3. found the same roots, at its last head and at the new one, in the tree that the gateway stored.

What it signed last is in a file outside the database: a log that shrank, or a backup put in its
place, is refused. After a start the whole log is read again up to that head. Once refused, it
refuses until somebody has looked and started the gateway anew.

It speaks JSON lines: each ``REQUEST`` is answered by one ``Answer``.
"""

from __future__ import annotations

import hmac
import sqlite3
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.canonical import Json, decode, encode
from gateway.decisionlog import note, record, tables
from gateway.decisionlog.merkle import Frontier
from gateway.decisionlog.verifier import Checkpoint
from gateway.decisionlog.verifier.proofs import EMPTY_ROOT, leaf_hash
from gateway.errors import GatewayError, IntegrityViolation, Misconfigured
from gateway.keys import secret, signing_key_path, verifier_key_path
from gateway.store import files
from gateway.store.connection import explained, open_reader, unavailable

REQUEST: Json = {"op": "sign"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the process says: a text (its public key at first, then checkpoints), or an error.

    A ``violation`` is final; ``misconfigured`` ends the process; ``unavailable`` may pass.
    """

    kind: Literal["text", "violation", "misconfigured", "unavailable"]
    text: str
    code: str = ""

    @classmethod
    def of(cls, error: GatewayError) -> Answer:
        """Return the answer that carries ``error``."""
        kind: Literal["violation", "misconfigured", "unavailable"] = "unavailable"
        if isinstance(error, IntegrityViolation):
            kind = "violation"
        elif isinstance(error, Misconfigured):
            kind = "misconfigured"
        return cls(kind, error.public_message, error.code)

    @classmethod
    def read(cls, line: bytes) -> Answer:
        """Read a line of the process. Raises ``ValueError`` or ``Rejected``."""
        match decode(line.removesuffix(b"\n")):
            case {
                "kind": ("text" | "violation" | "misconfigured" | "unavailable") as kind,
                "text": str(text),
                "code": str(code),
            }:
                return cls(kind, text, code)
        raise ValueError("not an answer")


@dataclass(frozen=True, slots=True)
class Head:
    """What was signed last."""

    size: int = 0
    root: bytes = EMPTY_ROOT

    def to_bytes(self) -> bytes:
        """Return what the state file holds."""
        return encode({"v": 1, "size": self.size, "root": self.root.hex()})

    @classmethod
    def read(cls, data: bytes) -> Head:
        """Read the state file. Raises ``ValueError`` or ``Rejected``."""
        match decode(data):
            case {"v": 1, "size": int(size), "root": str(root)}:
                return cls(size, bytes.fromhex(root))
        raise ValueError("not a head")


class Signer:
    """Signs heads of one log. ``public_key`` is the text that verifies them."""

    def __init__(self, database: Path, keys_directory: Path, origin: str) -> None:
        """Read keys and memory, creating both at the very first start.

        Raises ``Misconfigured``: one without the other means that memory was lost.
        """
        self._database = database
        self._origin = origin
        self._writer_key = secret(keys_directory / "writer.key")
        self._state = keys_directory / "log-signer.json"
        self._key, self._head = _open(signing_key_path(keys_directory), self._state)
        self._tree = Frontier()  # what this process has read itself
        self._refusal: IntegrityViolation | None = None
        self.public_key = note.verifier_key(origin, self._key)
        files.replace(
            verifier_key_path(keys_directory), f"{self.public_key}\n".encode(), mode=0o644
        )

    def sign(self) -> str:
        """Return a checkpoint of the log as it is now.

        Raises ``IntegrityViolation``, from then on each time, or ``Retryable``.
        """
        if self._refusal is not None:
            raise IntegrityViolation(self._refusal.code, self._refusal.public_message)
        try:
            with closing(open_reader(self._database)) as connection:
                connection.execute("BEGIN")  # one snapshot
                head = self._next_head(connection)
        except IntegrityViolation as error:
            self._refusal = error
            raise
        except sqlite3.Error as error:
            raise explained(error) or unavailable(error) from error
        self._remember(head)  # before it is given out
        return note.sign(Checkpoint(self._origin, head.size, head.root), self._key)

    def _remember(self, head: Head) -> None:
        if head == self._head:
            return
        try:
            files.replace(self._state, head.to_bytes(), mode=0o600)
        except OSError as error:
            raise unavailable(error) from error
        self._head = head

    def _next_head(self, connection: sqlite3.Connection) -> Head:
        size = tables.size(connection)
        if size < self._head.size:
            raise IntegrityViolation(
                "log_truncated", f"{self._head.size} entries were signed and only {size} are here"
            )
        self._read_new(connection)
        if tables.frontier(connection, self._head.size).root() != self._head.root:
            raise _forked(self._head.size)
        root = self._tree.root()
        if tables.frontier(connection, self._tree.size).root() != root:
            raise _forked(self._tree.size)
        return Head(self._tree.size, root)

    def _read_new(self, connection: sqlite3.Connection) -> None:
        tree = self._tree
        query = "SELECT seq, bytes, mac FROM entries WHERE seq >= ? ORDER BY seq"
        for seq, raw, mac in connection.execute(query, (tree.size,)):
            if seq != tree.size:
                raise IntegrityViolation("log_damaged", f"entry {tree.size} is missing")
            if not hmac.compare_digest(mac, record.authentication(self._writer_key, seq, raw)):
                raise IntegrityViolation(
                    "log_entry_forged", f"entry {seq} was not written by the gateway"
                )
            tree, _ = tree.append(leaf_hash(raw))
            if tree.size == self._head.size and tree.root() != self._head.root:
                raise _forked(tree.size)
        self._tree = tree


def _forked(size: int) -> IntegrityViolation:
    return IntegrityViolation(
        "log_forked", f"the log's first {size} entries and its stored tree are not what was signed"
    )


def _open(key: Path, state: Path) -> tuple[Ed25519PrivateKey, Head]:
    """Read the key and the memory. The memory is created first: a key never stands without it."""
    if key.exists() and not state.exists():
        raise Misconfigured(
            "signer_without_memory",
            f"{state} is missing, so nobody knows what {key} signed last: restore it. Deleting "
            "both starts anew under another public key, which every verifier will notice",
        )
    if not state.exists():
        files.create_once(state, Head().to_bytes(), mode=0o600)
    try:
        head = Head.read(state.read_bytes())
    except (OSError, ValueError, GatewayError) as error:
        raise Misconfigured("signer_memory_damaged", f"{state} cannot be read: {error}") from error
    if head.size and not key.exists():
        raise Misconfigured(
            "signer_without_key", f"{key} is missing, and it has signed {head.size} entries"
        )
    return Ed25519PrivateKey.from_private_bytes(secret(key)), head


def serve(database: Path, keys_directory: Path, origin: str, pipe: BinaryIO, out: BinaryIO) -> None:
    """Answer requests until the gateway closes the pipe."""

    def say(answer: Answer) -> None:
        out.write(encode(asdict(answer)) + b"\n")
        out.flush()

    try:
        signer = Signer(database, keys_directory, origin)
    except GatewayError as error:
        say(Answer.of(error))
        return
    say(Answer("text", signer.public_key))
    for line in pipe:
        if decode(line.removesuffix(b"\n")) != REQUEST:
            return
        try:
            say(Answer("text", signer.sign()))
        except GatewayError as error:
            say(Answer.of(error))


if __name__ == "__main__":
    database_path, keys_path, name = sys.argv[1:]
    serve(Path(database_path), Path(keys_path), name, sys.stdin.buffer, sys.stdout.buffer)
