"""What a group of writers writes with: its hot statements go straight to the driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ClauseElement, Connection, Insert
from sqlalchemy.dialects import sqlite

Row = dict[str, Any]


class StatementTexts:
    """The SQL of statements that are built once, each compiled when it is first used.

    SQLAlchemy's execution of a statement costs more than SQLite takes to carry it out, so it is left out here: values
    go to SQLite as they are, which is right for numbers, text and booleans.
    """

    def __init__(self) -> None:
        """Know none yet."""
        self._dialect = sqlite.dialect(paramstyle="named")
        self._texts: dict[ClauseElement, str] = {}

    def text_of(self, statement: ClauseElement, row: Row) -> str:
        """The SQL of *statement*, whose parameters are those of *row*, the same ones each time."""
        text = self._texts.get(statement)
        if text is None:
            columns = list(row) if isinstance(statement, Insert) else None
            text = self._texts[statement] = str(statement.compile(dialect=self._dialect, column_keys=columns))
        return text


class Transaction:
    """A connection inside a transaction, and rows that share one statement with other writers."""

    def __init__(self, connection: Connection, texts: StatementTexts) -> None:
        """Write to *connection*; *texts* are those of the connection's database."""
        self.connection = connection
        self._texts = texts
        self._cursor: Any = connection.connection.cursor()
        self._rows: dict[ClauseElement, list[Row]] = {}

    def execute(self, statement: ClauseElement, row: Row) -> int:
        """Execute *statement*, one that is built once, and return how many rows it changed."""
        self._cursor.execute(self._texts.text_of(statement, row), row)
        return int(self._cursor.rowcount)

    def add_row(self, statement: ClauseElement, row: Row) -> None:
        """Execute *statement* for *row* before the commit, together with all rows of the same statement."""
        self._rows.setdefault(statement, []).append(row)

    def execute_rows(self) -> None:
        """Execute what was added."""
        for statement, rows in self._rows.items():
            self._execute_many(statement, rows)
        self._rows.clear()

    def close(self) -> None:
        """Let go of the cursor, which would keep a failed statement open."""
        self._cursor.close()

    def _execute_many(self, statement: ClauseElement, rows: Sequence[Row]) -> None:
        self._cursor.executemany(self._texts.text_of(statement, rows[0]), rows)
