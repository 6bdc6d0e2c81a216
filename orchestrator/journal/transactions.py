"""Connections and transactions as every database of the journal has them; all of it blocks, in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Protocol

from orchestrator.journal.backend import Row
from orchestrator.journal.statements import insert_into


class Cursor(Protocol):
    """What a statement came to."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""

    def fetchall(self) -> list[Any]:
        """All rows it found."""


class Connection(Protocol):
    """A connection that leaves transactions to its caller; its methods raise what the driver raises."""

    @property
    def is_lost(self) -> bool:
        """True when the database has gone away, so that nothing can be asked through it any more."""

    def begin(self) -> None:
        """Begin a transaction that may write."""

    def execute(self, statement: str, row: Row = ..., /) -> Cursor:
        """Execute *statement* with the parameters of *row*."""

    def executemany(self, statement: str, rows: Sequence[Row], /) -> Cursor:
        """Execute *statement* once for each of *rows*."""

    def commit(self) -> None:
        """Make the transaction durable."""

    def roll_back(self) -> None:
        """End a transaction of which nothing is to stay; raises nothing, whatever state the connection is in."""

    def close(self) -> None:
        """Close it."""


class Readers:
    """Connections for reading, opened as they are needed and used again."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._idle: list[Connection] = []
        self._is_closed = False
        self._lock = Lock()

    def read(self, query: str, parameters: Row) -> list[tuple[Any, ...]]:
        """All rows of *query*, which sees one consistent state; blocks, raises what the driver raises."""
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        connection = idle or self._connect()
        try:
            return connection.execute(query, parameters).fetchall()
        finally:
            with self._lock:
                is_kept = not (self._is_closed or connection.is_lost)
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


class GroupTransaction:
    """A connection inside a transaction, and rows that share one statement with other writers."""

    def __init__(self, connection: Connection) -> None:
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
def transaction(connection: Connection) -> Iterator[GroupTransaction]:
    """Write all that is done in the block, or nothing; raises what the driver raises."""
    connection.begin()
    try:
        begun = GroupTransaction(connection)
        yield begun
        begun.execute_rows()
        connection.commit()
    except BaseException:
        # What went wrong first is what counts.
        connection.roll_back()
        raise
