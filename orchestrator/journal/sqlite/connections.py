"""The journal's file: connections and transactions on it, and what SQLite raises as the journal's errors."""

from __future__ import annotations

import sqlite3
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
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        connection = idle or connect(self._path)
        try:
            return connection.execute(query, parameters).fetchall()
        finally:
            with self._lock:
                is_kept = not self._is_closed
                if is_kept:
                    self._idle.append(connection)
            if not is_kept:
                connection.close()

    def close(self) -> None:
        """Close all; one that is still in use is closed when it is given back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
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
