"""A run's database as a file: connections, transactions, writes behind, and what a disk that takes nothing does to them.

A write is on disk when `_transaction` ends (WAL with full synchronisation).  What is written behind is written by a
thread, in order, because a commit may take a tenth of a second, which would stall the event loop; `flush` waits for it.
An error of such a write is raised by the next call that writes, flushes or closes.  Reads never wait for a writer.
Methods may be called from any thread.

A disk that takes nothing (it is full, or has become read only) harms no database: a write raises `NotStoredError` and has
changed nothing, and what is written behind is tried again until the disk takes it.

What is deleted stays in the write-ahead log until that is emptied.  A disk that is nearly full takes the deletion and not
the emptying, and a foreign reader (a backup) holds the log open: then a thread of its own tries again until it succeeds.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from wmkml.runs.schema import ADDED_COLUMNS, TABLES

log = logging.getLogger(__name__)


class NotStoredError(RuntimeError):
    """The disk does not take what was to be stored; nothing has changed, and it may be tried again.

    Attributes:
        reason: what is wrong with the disk, as the end of a sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"nothing can be stored: {reason}")
        self.reason = reason


DISK_TROUBLES = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the disk is read only",
    sqlite3.SQLITE_IOERR: "the disk takes nothing",
    sqlite3.SQLITE_CANTOPEN: "the disk takes no new file",
}
"""SQLite's primary result codes that a disk causes, and may stop causing.  Source: sqlite.org/rescode.html."""

IN_USE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
"""SQLite's primary result codes where somebody else has the file in use."""

RETRY_SECONDS = 0.5
"""How long what is written behind, or to be emptied, waits before it is tried again on a disk that took nothing."""

POLL_SECONDS = 0.05
"""How often `flush` looks whether the disk takes what it waits for."""

BUSY_MILLISECONDS = 5000
"""How long a write waits for another process that writes."""

EMPTYING_MILLISECONDS = 100
"""How long emptying the log waits for readers: writers wait for it meanwhile, and visitors for them."""


def not_stored(error: OSError | sqlite3.Error) -> NotStoredError | None:
    """The error of a disk that takes nothing as `NotStoredError`; None for any other error."""
    if isinstance(error, sqlite3.Error):
        reason = DISK_TROUBLES.get((getattr(error, "sqlite_errorcode", None) or 0) & 0xFF)
    else:
        reason = {
            errno.ENOSPC: DISK_TROUBLES[sqlite3.SQLITE_FULL],
            errno.EDQUOT: "this user's share of the disk is full",
            errno.EROFS: DISK_TROUBLES[sqlite3.SQLITE_READONLY],
            errno.EFBIG: DISK_TROUBLES[sqlite3.SQLITE_IOERR],
            errno.EIO: DISK_TROUBLES[sqlite3.SQLITE_IOERR],
        }.get(error.errno or 0)
    return None if reason is None else NotStoredError(reason)


class StoreClosedError(RuntimeError):
    """The store is closed: the run is over, and nothing can be read or written any more."""

    def __init__(self) -> None:
        super().__init__("the run is over and its store is closed")


class Database:
    """The connections to a run's database, and the thread that writes behind."""

    def __init__(self, path: Path) -> None:
        """Open the database, and create its tables if it is new.

        Raises:
            sqlite3.DatabaseError: the file is not an SQLite database, or is damaged.
        """
        self._closed = False
        self._name = f"{path.parent.name}/{path.name}"
        self._writer_lock, self._reader_lock = threading.Lock(), threading.Lock()
        with closing(_connect(path)) as connection:  # a damaged file raises here, before any connection stays open
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(TABLES)
            _add_columns(connection)
        self._writer, self._reader = _connect(path), _connect(path)
        self._writer.execute("PRAGMA synchronous=FULL")
        self._writer.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, not only unlinked
        self._reader.execute("PRAGMA query_only=ON")
        self._write_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._last_write: Future[None] | None = None
        self._write_error: sqlite3.Error | None = None
        self._stalled: NotStoredError | None = None
        """Why what is written behind waits at the moment."""
        self._closing = threading.Event()
        self._emptying_lock = threading.Lock()
        self._emptying: threading.Thread | None = None
        """Tries again to empty the log; None while nothing waits for that."""
        self._empty_log()  # an earlier process may have ended before it could

    def close(self) -> None:
        """Finish all writes and close the file; its `-wal` and `-shm` files are gone afterwards.

        Raises the error of a write-behind that was not raised yet.  What a disk that takes nothing has kept waiting is
        tried once more, and lost.
        """
        if self._closed:
            return
        self._closing.set()
        self._write_thread.shutdown(wait=True)
        with self._emptying_lock:
            emptying = self._emptying
        if emptying is not None:
            emptying.join()
        with self._writer_lock, self._reader_lock:
            self._closed = True
            self._reader.close()
            self._writer.close()  # closing the last connection removes the -wal file
        self._raise_write_error()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writer_lock:
            if self._closed:
                raise StoreClosedError
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException as error:
                if self._writer.in_transaction:  # some errors roll back by themselves
                    self._writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error) and (trouble := not_stored(error)) is not None:
                    raise trouble from error
                raise

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._reader_lock:
            if self._closed:
                raise StoreClosedError
            return self._reader.execute(query, values).fetchall()

    def _write_behind(self, statement: str, *values: Any) -> None:
        def write() -> None:
            while True:
                try:
                    with self._transaction() as connection:
                        connection.execute(statement, values)
                except NotStoredError as trouble:
                    self._stalled = trouble
                    if not self._closing.wait(RETRY_SECONDS):
                        continue
                except sqlite3.Error as error:
                    self._write_error = error  # raised by the next call: it must not go unnoticed
                else:
                    self._stalled = None
                return

        self._raise_write_error()
        if self._closed:
            raise StoreClosedError
        self._last_write = self._write_thread.submit(write)

    def _write_rows_behind(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows into a table, over those with the same key."""
        if rows:
            marks = ", ".join(f"({', '.join('?' * len(row))})" for row in rows)
            statement = f"INSERT OR REPLACE INTO {table} VALUES {marks}"
            self._write_behind(statement, *(value for row in rows for value in row))

    def flush(self) -> None:
        """Wait until all write-behinds are on the disk; raises the error of one that failed.

        Raises:
            NotStoredError: they wait for a disk that takes nothing.
        """
        self._settle()
        if self._last_write is not None and not self._last_write.done() and self._stalled is not None:
            raise self._stalled
        self._raise_write_error()

    def _empty_log(self) -> None:
        """Empty the write-ahead log, which holds what was deleted: now, or as soon as disk and readers let it."""
        with self._emptying_lock:
            if self._emptying is not None or self._closing.is_set():
                return
            if (hindrance := self._hindrance()) is None:
                return
            log.warning(
                "What was deleted is not gone from %s yet (%s): tried again until it is.", self._name, hindrance
            )
            self._emptying = threading.Thread(target=self._keep_emptying, name="emptying", daemon=True)
            self._emptying.start()

    def _keep_emptying(self) -> None:
        while not self._closing.wait(RETRY_SECONDS):
            with self._emptying_lock:
                try:
                    if self._hindrance() is not None:
                        continue
                    log.info("What was deleted is gone from %s.", self._name)
                except sqlite3.Error as error:
                    self._write_error = error  # raised by the next call, as that of a write behind
                self._emptying = None
                return

    def _hindrance(self) -> str | None:
        """Try once to empty the log: what kept it from being emptied, None if nothing did."""
        with self._writer_lock:
            if self._closed:
                return None
            try:
                self._writer.execute(f"PRAGMA busy_timeout={EMPTYING_MILLISECONDS}")
                [(busy, _, _)] = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as error:
                if (trouble := not_stored(error)) is not None:
                    return trouble.reason
                if ((getattr(error, "sqlite_errorcode", None) or 0) & 0xFF) not in IN_USE:
                    raise
                busy = 1
            finally:
                self._writer.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
            return "another process reads it" if busy else None

    def _settle(self) -> None:
        """Wait until all write-behinds are done, or wait for a disk that takes nothing: a read must not wait for that."""
        while self._last_write is not None and self._stalled is None:
            if wait([self._last_write], timeout=POLL_SECONDS).done:
                return

    def _raise_write_error(self) -> None:
        if self._write_error is not None:
            error, self._write_error = self._write_error, None
            raise error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def _add_columns(connection: sqlite3.Connection) -> None:
    for table, columns in ADDED_COLUMNS.items():
        present = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        for name, kind in columns.items():
            if name not in present:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
