"""A SQLite transaction: what a group of writers writes with."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from orchestrator.journal.backend import Row
from orchestrator.journal.statements import insert_into


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
