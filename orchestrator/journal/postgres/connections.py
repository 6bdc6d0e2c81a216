"""Connections to the journal's server: the journal's own SQL said in PostgreSQL's words."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestrator.domain.errors import ConfigurationError
from orchestrator.journal.backend import Row, shown
from orchestrator.journal.history import process_name
from orchestrator.journal.statements import LOCKS

#: In front of the process in the list of the server's sessions, which is also how a batch's holder is found.
APPLICATION: Final = "orchestrator "
#: A process that is frozen in a transaction keeps rows from those who take its entries over: its session
#: ends, unless the server or the URL says when.
_LIMIT_FREEZES: Final = (
    b"SELECT set_config('idle_in_transaction_session_timeout', '30s', false)"
    b" WHERE current_setting('idle_in_transaction_session_timeout') = '0'"
)
#: What the URL itself says comes first. A server that is cut off without a word is noticed after half a minute.
_DEFAULTS: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    "client_encoding": "utf8",
}
#: A parameter, but not the type behind `::`.
_PARAMETER = re.compile(r"(?<!:):([a-z_]\w*)")


@lru_cache(maxsize=256)
def translated(statement: str) -> bytes:
    """*statement* with its parameters and locks as psycopg and PostgreSQL write them."""
    # As bytes: the driver's types take a text only where it stands in the source.
    for comment, lock in LOCKS.items():
        statement = statement.replace(comment, lock)
    return _PARAMETER.sub(r"%(\1)s", statement).encode()


def connection_string(location: str) -> str:
    """What libpq connects with; raises ConfigurationError, with nothing of *location* that may be a password."""
    try:
        given = conninfo_to_dict(location)
    except psycopg.Error:
        raise ConfigurationError(
            f"{shown(location)} is no PostgreSQL URL",
            hint="write postgresql://USER@HOST:PORT/DATABASE, and special characters as %XX",
        ) from None
    name = APPLICATION + process_name(os.getpid(), socket.gethostname())
    fields: dict[str, Any] = {**_DEFAULTS, "application_name": name, **given}
    return make_conninfo(**fields)


class PostgresConnection:
    """A psycopg connection with the calls that the journal makes; its methods raise what psycopg raises."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection = self._connect()
        #: Of the transaction that was begun last; None before the server has answered.
        self._transaction_id: str | None = None

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = psycopg.connect(self._conninfo, autocommit=True)
        # The journal has few statements, and every one comes again.
        connection.prepare_threshold = 1
        try:
            connection.execute(_LIMIT_FREEZES, prepare=False)
        except psycopg.Error:
            connection.close()
            raise
        return connection

    @property
    def is_lost(self) -> bool:
        """True when the server has closed the connection, or cannot be reached through it."""
        return self._connection.closed

    def begin(self) -> None:
        """Begin a transaction whose fate can be asked for later."""
        self._transaction_id = None
        # One round trip for both; a statement without parameters may be several.
        begun = self._connection.execute(b"BEGIN; SELECT pg_current_xact_id()::text", prepare=False)
        begun.nextset()
        ((self._transaction_id,),) = begun.fetchall()

    def execute(self, statement: str, row: Row | None = None, /) -> psycopg.Cursor[tuple[Any, ...]]:
        """Execute *statement* with the parameters of *row*."""
        return self._connection.execute(translated(statement), row or None)

    def executemany(self, statement: str, rows: Sequence[Row], /) -> psycopg.Cursor[tuple[Any, ...]]:
        """Execute *statement* once for each of *rows*, in one round trip for all."""
        cursor = self._connection.cursor()
        cursor.executemany(translated(statement), rows)
        return cursor

    def commit(self) -> None:
        """Make the transaction durable."""
        self._connection.execute(b"COMMIT", prepare=False)

    def roll_back(self) -> None:
        """End the transaction; a lost connection has ended it already."""
        with suppress(psycopg.Error):
            self._connection.execute(b"ROLLBACK", prepare=False)

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def revive(self) -> bool:
        """Connect anew; True when the transaction that was under way at the loss has been committed.

        One that the server still believes to be under way is ended: it holds locks, and no client can go on with it.
        """
        if self._connection.closed:
            self._connection = self._connect()
        if self._transaction_id is None:
            return False
        row = {"id": self._transaction_id}
        self._connection.execute(
            b"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            b" WHERE backend_xid = (%(id)s::xid8)::xid AND pid <> pg_backend_pid()",
            row,
        )
        try:
            status = self._connection.execute(b"SELECT pg_xact_status(%(id)s::xid8)", row).fetchone()
        except psycopg.errors.InvalidParameterValue:
            # A transaction of the future: this is another server, which took over without the last of the old one.
            status = None
        # Not before the answer: the connection may be lost again while it is asked for.
        self._transaction_id = None
        return status == ("committed",)
