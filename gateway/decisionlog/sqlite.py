"""The decision log in SQLite: entries, the tree above them, and the signed checkpoints.

An entry and the state change that belongs to it commit in one transaction. The tree's frontier is
kept in memory by the writer's thread alone, as a value: a batch that does not commit throws it
away, and the next append reads it back from what did.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from gateway.decisionlog import merkle, note, reading, record, tables
from gateway.decisionlog.log import Change, Entry, LogEntry
from gateway.decisionlog.merkle import Frontier, Node, ReadNode
from gateway.decisionlog.verifier.proofs import leaf_hash
from gateway.errors import IntegrityViolation, NotFound, Rejected
from gateway.keys import KeyRing
from gateway.model import Receipt
from gateway.store.database import Database

MAX_PAGE = 1000  # entries that one call returns


class SqliteDecisionLog:
    """See ``DecisionLog`` for what each method promises. Make one with ``open``."""

    def __init__(
        self, database: Database, keys: KeyRing, origin: str, labels: Mapping[str, str], size: int
    ) -> None:
        """Take a database whose head was checked; one log per database."""
        self._database = database
        self._key = keys.writer
        self._labels = record.clean(dict(labels))
        self._size = size
        self._tree: Frontier | None = None  # as of the open batch; None: ask the database
        self._nodes: list[Node] = []  # of the open batch
        self.origin = origin
        database.before_commit.append(self._store_nodes)
        database.after_commit.append(self._committed)
        database.after_rollback.append(self._rolled_back)

    @classmethod
    async def open(
        cls, database: Database, keys: KeyRing, *, origin: str, labels: Mapping[str, str]
    ) -> SqliteDecisionLog:
        """Create the tables when absent, and check the head of what is there.

        ``origin`` names the log in its checkpoints; ``labels`` go into every entry. Raises
        ``IntegrityViolation``: ``log_truncated`` (fewer entries than were signed),
        ``log_forked`` (others than were signed), ``log_damaged``, ``log_entry_forged``.
        """
        await database.schema(tables.SCHEMA)

        def check(connection: sqlite3.Connection) -> int:
            reading.check_checkpoint(connection, origin)
            return reading.checked_tree(connection, keys.writer).size

        return cls(database, keys, origin, labels, await database.read(check))

    @property
    def size(self) -> int:
        """The number of durable entries."""
        return self._size

    async def append(self, entry: Entry, *, change: Change | None = None) -> Receipt:
        """See ``DecisionLog.append``."""
        return (await self.append_all([entry], change=change))[0]

    async def append_all(
        self, entries: Sequence[Entry], *, change: Change | None = None
    ) -> list[Receipt]:
        """See ``DecisionLog.append_all``."""
        if not entries:
            raise ValueError("append_all needs at least one entry")
        cleaned = [record.clean_entry(entry) for entry in entries]

        def work(connection: sqlite3.Connection) -> list[Receipt]:
            tree = self._tree or reading.checked_tree(connection, self._key)
            if change is not None:
                change(connection, tree.size)
            receipts, nodes = [], []
            for entry in cleaned:
                receipt, tree, complete = self._insert(connection, tree, entry)
                receipts.append(receipt)
                nodes += complete
            # Last, where nothing can fail any more: undoing the savepoint must not have to undo it.
            self._tree = tree
            self._nodes += nodes
            return receipts

        return await self._database.write(work)

    def _insert(
        self, connection: sqlite3.Connection, tree: Frontier, entry: Entry
    ) -> tuple[Receipt, Frontier, list[Node]]:
        seq = tree.size
        entry_id, raw = record.encode_entry(entry, seq, self._labels)
        mac = record.authentication(self._key, seq, raw)
        row = (seq, entry_id, entry.event, entry.launch_id, entry.decision_id, mac, raw)
        try:
            connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError as error:
            raise IntegrityViolation(
                "log_forked",
                "something else has written to the decision log",
                step="record",
                diagnostics=f"entry {seq}: {error}",
            ) from error
        leaf = leaf_hash(raw)
        return Receipt(seq, entry_id, leaf.hex(), entry.event), *tree.append(leaf)

    # --- the writer's thread, around each batch --------------------------------------------------

    def _store_nodes(self, connection: sqlite3.Connection) -> None:
        if self._nodes:
            tables.add_nodes(connection, self._nodes)

    def _committed(self) -> None:
        self._nodes.clear()
        if self._tree is not None:
            self._size = self._tree.size

    def _rolled_back(self) -> None:
        self._nodes.clear()
        self._tree = None

    # --- reading ---------------------------------------------------------------------------------

    async def entry(self, seq: int) -> LogEntry:
        """See ``DecisionLog.entry``."""
        found = await self._select(reading.ONE, seq=seq)
        if not found:
            raise NotFound("entry_not_found", f"the decision log has no entry {seq}", field="seq")
        return found[0]

    async def receipt(self, seq: int) -> Receipt:
        """See ``DecisionLog.receipt``."""
        entry = await self.entry(seq)
        return Receipt(entry.seq, entry.value["id"], entry.leaf_hash, entry.value["event"])

    async def authentic(self, receipt: Receipt) -> LogEntry:
        """See ``DecisionLog.authentic``."""
        try:
            entry = await self.entry(receipt.seq)
        except NotFound as error:
            raise reading.forged(receipt.seq) from error
        found = Receipt(entry.seq, entry.value["id"], entry.leaf_hash, entry.value["event"])
        if found != receipt:
            raise reading.forged(receipt.seq)
        return entry

    async def entries(
        self,
        start: int,
        limit: int,
        *,
        launch_id: str | None = None,
        event_prefix: str | None = None,
    ) -> list[LogEntry]:
        """See ``DecisionLog.entries``."""
        page: dict[str, str | int] = {"start": start, "limit": min(limit, MAX_PAGE)}
        page["prefix"] = event_prefix or ""
        if launch_id is None:
            return await self._select(reading.FROM_START, **page)
        return await self._select(reading.OF_LAUNCH, launch_id=launch_id, **page)

    async def newest(self, limit: int, *, event_prefix: str | None = None) -> list[LogEntry]:
        """See ``DecisionLog.newest``."""
        limit = min(limit, MAX_PAGE)
        return await self._select(reading.NEWEST, limit=limit, prefix=event_prefix or "")

    async def find(self, decision_id: str) -> LogEntry | None:
        """See ``DecisionLog.find``."""
        found = await self._select(reading.OF_DECISION, decision_id=decision_id)
        return found[0] if found else None

    async def _select(self, query: str, **values: str | int) -> list[LogEntry]:
        key = self._key
        return await self._database.read(lambda c: reading.select(c, key, query, values))

    # --- proving ---------------------------------------------------------------------------------

    async def root(self, size: int | None = None) -> str:
        """See ``DecisionLog.root``."""
        at = self._within(self._size if size is None else size)
        return await self._database.read(lambda c: tables.frontier(c, at).root().hex())

    async def inclusion_proof(self, seq: int, size: int) -> list[str]:
        """See ``DecisionLog.inclusion_proof``."""
        if not 0 <= seq < self._within(size):
            raise Rejected("log_range", f"entry {seq} is not among the first {size}", field="seq")
        return await self._prove(merkle.inclusion_proof, seq, size)

    async def consistency_proof(self, size1: int, size2: int) -> list[str]:
        """See ``DecisionLog.consistency_proof``."""
        if not 0 <= size1 <= self._within(size2):
            raise Rejected("log_range", f"{size1} entries are not among {size2}", field="first")
        return await self._prove(merkle.consistency_proof, size1, size2)

    async def _prove(
        self, prove: Callable[[ReadNode, int, int], list[bytes]], first: int, second: int
    ) -> list[str]:
        def query(connection: sqlite3.Connection) -> list[str]:
            read = partial(tables.node, connection)
            return [value.hex() for value in prove(read, first, second)]

        return await self._database.read(query)

    def _within(self, size: int) -> int:
        if not 0 <= size <= self._size:
            raise Rejected("log_range", f"the decision log has {self._size} entries", field="size")
        return size

    # --- checkpoints -----------------------------------------------------------------------------

    async def checkpoint(self) -> str | None:
        """See ``DecisionLog.checkpoint``."""
        return await self._database.read(tables.newest_checkpoint)

    async def store_checkpoint(self, text: str) -> None:
        """Keep a checkpoint that the signer has signed; one of the same size is kept as it is."""
        size = note.parse(text).size
        await self._database.write(lambda c: tables.add_checkpoint(c, size, text))
