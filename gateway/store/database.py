"""One SQLite database, written by one thread in groups.

Whoever awaits ``write`` shares a transaction, and so one sync of the disk, with everybody who
waits at that moment. Promises:

- ``write`` returns only when its work is durable;
- a work that raises is undone alone (its own savepoint) and its error reaches its own caller;
- a work can neither end the transaction nor stop the thread;
- a caller that gives up, by timeout or cancellation, tears nothing: its work still runs whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from gateway.errors import GatewayError, OutcomeUnknown, Retryable
from gateway.store.connection import explained, lock, open_reader, open_writer, unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

MAX_BATCH = 512  # works that share one transaction
MAX_WAITING = 10_000  # works in the queue; more are turned away
READERS = 4

# Texts of our own, so that a work's "COMMIT" is never the prepared statement that may commit.
_BEGIN = "BEGIN IMMEDIATE /* batch */"
_COMMIT = "COMMIT /* batch */"
_ROLLBACK = "ROLLBACK /* batch */"


class _Waiting(NamedTuple):
    work: Work[Any]
    future: asyncio.Future[Any]


class _Outcome(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: Exception | None


@dataclass(frozen=True, slots=True)
class _Files:
    """What ``open`` acquires, all or nothing."""

    path: Path
    lock: int
    writer: sqlite3.Connection
    readers: tuple[sqlite3.Connection, ...]

    @classmethod
    def open(cls, path: Path) -> _Files:
        path = path.absolute()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = lock(path)
        opened: list[sqlite3.Connection] = []
        try:
            opened.append(open_writer(path))
            opened.extend(open_reader(path) for _ in range(READERS))
        except BaseException as error:
            for connection in opened:
                connection.close()
            os.close(held)
            if isinstance(error, sqlite3.Error):
                raise explained(error) or unavailable(error) from error
            raise
        return cls(path, held, opened[0], tuple(opened[1:]))

    def close(self) -> None:
        for connection in (*self.readers, self.writer):  # the last to close tidies the WAL away
            connection.close()
        os.close(self.lock)


class Database:
    """The gateway's SQLite file. Make one with ``open``; it belongs to the event loop of then.

    ``before_commit`` runs once per batch inside its transaction, and fails the batch by raising.
    ``after_commit`` and ``after_rollback`` tell whoever keeps a part of the database in memory
    which way the batch went; they must not raise. All three run in the writer's thread.
    """

    def __init__(self, files: _Files, within_seconds: float) -> None:
        """Start the writer's thread on files that ``open`` has made ready."""
        self.path = files.path
        self.before_commit: list[Callable[[sqlite3.Connection], None]] = []
        self.after_commit: list[Callable[[], None]] = []
        self.after_rollback: list[Callable[[], None]] = []
        self._files = files
        self._within = within_seconds
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = False
        self._in_work = False
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for reader in files.readers:
            self._idle.put(reader)
        files.writer.set_authorizer(self._authorize)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sluice-store-reader")
        self._writer = threading.Thread(
            target=self._write_batches, name="sluice-store-writer", daemon=True
        )
        self._writer.start()

    @classmethod
    async def open(cls, path: Path, *, within_seconds: float) -> Database:
        """Open ``path``, creating it when absent.

        ``within_seconds`` bounds how long ``write`` waits to be confirmed. Raises
        ``Misconfigured`` (``store_locked``, ``store_without_wal``), ``IntegrityViolation``
        (``store_damaged``) or ``Retryable`` (``store_unavailable``).
        """
        return cls(await asyncio.to_thread(_Files.open, path), within_seconds)

    async def schema(self, statements: Sequence[str]) -> None:
        """Execute ``CREATE ... IF NOT EXISTS`` statements, all or none."""

        def create(connection: sqlite3.Connection) -> None:
            for statement in statements:
                connection.execute(statement)

        await self.write(create)

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in the writer's thread and return its result once that is durable.

        Whatever ``work`` raises comes back after its changes were undone. Raises ``Retryable``
        (``store_unavailable``: the batch could not be committed; ``store_busy``: too many wait;
        ``store_closed``) when nothing was recorded, and ``OutcomeUnknown`` when no answer came in
        time: the work may still commit.
        """
        if self._closed:
            raise _closed()
        if self._queue.qsize() >= MAX_WAITING:
            raise Retryable(
                "store_busy",
                "too many changes wait to be recorded; nothing was recorded: ask again",
                step="record",
                retry_after=1,
            )
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Waiting(work, future))
        try:
            async with asyncio.timeout(self._within) as bound:
                return await future
        except TimeoutError as error:
            if not bound.expired():
                raise  # the work's own
            raise OutcomeUnknown(
                "outcome_unknown",
                f"not confirmed within {self._within:g} s, and it may still be recorded: "
                "ask again with the same idempotency key",
                step="record",
            ) from error

    async def read(self, query: Work[T]) -> T:
        """Run ``query`` on a read-only connection, in a thread, in one consistent snapshot."""
        if self._closed:
            raise _closed()
        return await self._loop.run_in_executor(self._readers, self._query, query)

    async def close(self) -> None:
        """Do what is queued, then stop the threads and close the connections."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown()
        self._files.close()

    def _query(self, query: Work[T]) -> T:
        connection = self._idle.get()
        try:
            connection.execute("BEGIN")
            try:
                return query(connection)
            finally:
                connection.rollback()
        except (sqlite3.Error, StopIteration) as error:
            shown = _work_error(error)
            if shown is error:
                raise
            raise shown from error
        finally:
            self._idle.put(connection)

    # --- the writer's thread --------------------------------------------------------------------

    def _write_batches(self) -> None:
        while batch := self._next_batch():
            outcomes = self._commit(batch)
            try:
                self._loop.call_soon_threadsafe(_deliver, outcomes)
            except RuntimeError:  # the loop is closed: nobody is left to hear it
                return

    def _next_batch(self) -> list[_Waiting]:
        """Wait for work, then take all there is; empty when closed."""
        batch: list[_Waiting] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == MAX_BATCH:
                return batch
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch
        if batch:
            self._queue.put(None)  # this batch first, then the end
        return batch

    def _commit(self, batch: list[_Waiting]) -> list[_Outcome]:
        connection = self._files.writer
        try:
            connection.execute(_BEGIN)
            outcomes = [self._attempt(connection, item) for item in batch]
            for prepare in self.before_commit:
                prepare(connection)
            connection.execute(_COMMIT)
        except Exception as error:  # noqa: BLE001 - whatever it was, each caller of the batch is told
            self._roll_back(connection)
            return [_Outcome(item.future, None, _batch_error(error)) for item in batch]
        for done in self.after_commit:
            done()
        return outcomes

    def _attempt(self, connection: sqlite3.Connection, item: _Waiting) -> _Outcome:
        connection.execute("SAVEPOINT work")
        try:
            self._in_work = True
            try:
                result = item.work(connection)
            finally:
                self._in_work = False
        except Exception as error:
            if not connection.in_transaction:
                raise  # a full disk or the like: SQLite has undone the whole batch
            connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
            return _Outcome(item.future, None, _work_error(error))
        connection.execute("RELEASE work")
        return _Outcome(item.future, result, None)

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # then the next BEGIN fails, and says so
                connection.execute(_ROLLBACK)
        for undo in self.after_rollback:
            undo()

    def _authorize(self, action: int, *_: str | None) -> int:
        """Let no work begin or end a transaction: the others in the batch live in it too."""
        if self._in_work and action == sqlite3.SQLITE_TRANSACTION:
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK


def _deliver(outcomes: list[_Outcome]) -> None:
    for future, result, error in outcomes:
        if future.done():  # the caller gave up
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _work_error(error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error):
        return explained(error) or error
    if isinstance(error, StopIteration):  # a future cannot carry it
        return RuntimeError(f"work raised {error!r}")
    return error


def _batch_error(error: Exception) -> GatewayError:
    known = explained(error) if isinstance(error, sqlite3.Error) else None
    return known or unavailable(error)


def _closed() -> Retryable:
    return Retryable("store_closed", "the gateway is stopping: ask again", step="record")
