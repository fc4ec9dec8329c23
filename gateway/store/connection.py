"""How SQLite is opened here: durable, private, one writing gateway; and what its errors mean.

A commit returns when the write-ahead log is synced (``synchronous=FULL``), and only then do other
connections see it: what can be read here is on the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from gateway.errors import GatewayError, IntegrityViolation, Misconfigured, Retryable

BUSY_MILLISECONDS = 2000
_PRIMARY = 0xFF  # SQLite's extended error codes carry the primary one in the low byte
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}


def lock(path: Path) -> int:
    """Take the lock beside the database and return its handle; closing the handle frees it.

    Raises ``Misconfigured`` (``store_locked``) while another gateway holds it: two writers would
    each continue the log's tree from their own memory.
    """
    handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise Misconfigured(
            "store_locked",
            f"another gateway uses {path}: stop it, or give this one its own state_dir",
        ) from error
    return handle


def open_writer(path: Path) -> sqlite3.Connection:
    """Open, creating it when absent, the one connection that writes. The file's mode is 0600."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.fchmod(handle, 0o600)  # SQLite gives its -wal and -shm files the same mode
    os.close(handle)
    connection = _connect(f"{path.as_uri()}?mode=rw")
    try:
        _write_ahead(connection, path)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA recursive_triggers=ON")  # REPLACE must not slip past a trigger
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    connection = _connect(f"{path.as_uri()}?mode=ro")
    connection.execute("PRAGMA query_only=ON")
    return connection


def _write_ahead(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise Misconfigured(
            "store_without_wal",
            f"the file system of {path} cannot hold a write-ahead log: use a local disk",
        )


def _connect(uri: str) -> sqlite3.Connection:
    # Connections move between threads, and one thread at a time uses each. Transactions are
    # written out where they begin and end, so Python's own are off.
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    with contextlib.suppress(sqlite3.OperationalError):  # older SQLite does not know it
        connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    return connection


def unavailable(error: BaseException) -> Retryable:
    """Say that the store cannot serve now, for the reason that the operator reads in ``error``."""
    return Retryable(
        "store_unavailable",
        "the gateway cannot use its store now; nothing was recorded: ask again with the same key",
        step="record",
        diagnostics=f"{type(error).__name__}: {error}",
    )


def explained(error: sqlite3.Error) -> GatewayError | None:
    """Return what the caller should do about ``error``; None when it is the statement's own."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code in _DAMAGED:
        return IntegrityViolation(
            "store_damaged",
            "the gateway's database is damaged: an operator has to look at it",
            step="record",
            diagnostics=str(error),
        )
    return unavailable(error) if code in _UNAVAILABLE else None
