"""The journal's file: connections and transactions on it, and what SQLite raises as the journal's errors."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from orchestrator.domain.errors import JournalError
from orchestrator.journal.backend import Row
from orchestrator.journal.migrations import MIGRATIONS_TABLE
from orchestrator.journal.statements import insert_into

BUSY_TIMEOUT_MS = 30_000
#: Errors of the disk that pass when somebody tidies up.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def connect(path: Path) -> sqlite3.Connection:
    """Open the journal; transactions are the caller's, and durable. Raises what SQLite raises."""
    # Left to itself the driver opens transactions, but takes the lock only at the first write in them.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        # Neither the readers nor the writer wait for each other.
        connection.execute("PRAGMA journal_mode=WAL")
        # In WAL mode less than FULL may lose the last commits with the power: their segments would be sent twice.
        connection.execute("PRAGMA synchronous=FULL")
        # Off unless asked for; a batch that is deleted takes its rows along by them.
        connection.execute("PRAGMA foreign_keys=ON")
        # Upload URLs are secrets: what is deleted is overwritten, not only forgotten.
        connection.execute("PRAGMA secure_delete=ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class Readers:
    """Connections for reading, opened as they are needed and used again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._is_closed = False
        self._lock = Lock()

    def read(self, query: str, parameters: Row) -> list[tuple[Any, ...]]:
        """All rows of *query*, which sees one consistent state; blocks, raises what SQLite raises."""
        connection = self._take() or connect(self._path)
        try:
            return connection.execute(query, parameters).fetchall()
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Close all; one that is still in use is closed when it is given back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> sqlite3.Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(connection)
                return
        connection.close()


def refuse_other_programs(path: Path) -> None:
    """Raise JournalError for a database that has tables but no migrations of ours; only reads."""
    names: set[str] = set()
    if path.is_file() and path.stat().st_size:
        # What else is wrong with the file is told by whoever opens it.
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if names and MIGRATIONS_TABLE not in names:
        raise JournalError(
            f"{path} is a database of another program, not a journal",
            hint="name another place with --state; nothing in it was changed",
        )


def make_private(path: Path, *, is_linked: bool) -> None:
    """Make the file, and its folder, if it is new, with mode 0600, which one of ours that exists gets too.

    One that a symbolic link led to may be shared on purpose, and keeps its mode. Raises JournalError.
    """
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _make_private_file(descriptor, path, is_linked=is_linked)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise JournalError(
            f"the journal {path} cannot be opened: {error.strerror}",
            hint="name a writable place with --state",
            is_temporary=error.errno in NO_SPACE,
        ) from None


def _make_private_file(descriptor: int, path: Path, *, is_linked: bool) -> None:
    """Take the rights of others; never those on a device, which the whole machine shares."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise JournalError(
            f"the journal {path} cannot be opened: it is not a file",
            hint="name a file or a directory with --state",
        )
    if status.st_uid == os.geteuid() and not is_linked:
        os.fchmod(descriptor, 0o600)


class SqliteTransaction:
    """A connection inside a transaction, and rows that share one statement with other writers."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows: dict[str, list[Row]] = {}

    def execute(self, statement: str, row: Row) -> int:
        """Execute *statement* with the parameters of *row* and return how many rows it changed."""
        return self._connection.execute(statement, row).rowcount

    def select(self, query: str, row: Row) -> list[tuple[Any, ...]]:
        """All rows of *query* with the parameters of *row*."""
        return self._connection.execute(query, row).fetchall()

    def add_row(self, statement: str, row: Row) -> None:
        """Execute *statement* for *row* before the commit, together with all rows of the same statement."""
        self._rows.setdefault(statement, []).append(row)

    def insert(self, table: str, row: Row) -> None:
        """Insert *row* before the commit, together with all that have the same columns."""
        self.add_row(insert_into(table, tuple(row)), row)

    def execute_rows(self) -> None:
        """Execute what was added."""
        for statement, rows in self._rows.items():
            self._connection.executemany(statement, rows)
        self._rows.clear()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[SqliteTransaction]:
    """Write all that is done in the block, or nothing.

    The lock is taken at the beginning: upgrading a read lock later could fail half-way. Raises what SQLite raises.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        begun = SqliteTransaction(connection)
        yield begun
        begun.execute_rows()
        connection.execute("COMMIT")
    except BaseException:
        # After some errors SQLite has rolled back by itself; what went wrong first is what counts.
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise
