"""Connections to the journal's file."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from functools import partialmethod
from pathlib import Path

from orchestrator.domain.errors import JournalError
from orchestrator.journal.migrations import MIGRATIONS_TABLE

BUSY_TIMEOUT_MS = 30_000


class SqliteConnection(sqlite3.Connection):
    """The driver's own connection, with the few words that databases say in different ways."""

    #: A file does not go away as a server does; what is wrong with the disk is told by each statement.
    is_lost = False

    #: Begins a transaction, with the lock: upgrading a read lock later could fail half-way.
    begin = partialmethod(sqlite3.Connection.execute, "BEGIN IMMEDIATE")

    def roll_back(self) -> None:
        """End the transaction; after some errors SQLite has done so by itself."""
        with suppress(sqlite3.Error):
            if self.in_transaction:
                self.execute("ROLLBACK")


def connect(path: Path) -> SqliteConnection:
    """Open the journal; transactions are the caller's, and durable. Raises what SQLite raises."""
    # Left to itself the driver opens transactions, but takes the lock only at the first write in them.
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, factory=SqliteConnection
    )
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
