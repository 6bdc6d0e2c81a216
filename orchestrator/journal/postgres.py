"""A journal in PostgreSQL: locks that end with their holder, and reconnection after the server was unreachable."""

from __future__ import annotations

import os
import re
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple

import anyio
import psycopg
from anyio import to_thread
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import ConfigurationError, JournalError, LockHeldError
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.journal.backend import JournalHealth, Operation, Row, Transaction, shown
from orchestrator.journal.group_commit import GroupCommit, LostConnectionError, Pending, Readers
from orchestrator.journal.history import process_name
from orchestrator.journal.migrations import MIGRATIONS_TABLE
from orchestrator.journal.postgres_errors import DeadlockError, later_error, translated
from orchestrator.journal.statements import LOCKS

#: How long a server may be unreachable. Until it is back, no other host can take over what this process holds.
PATIENCE_SECONDS = 600.0
_FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
#: A group that locks the rows of several entries may deadlock with another host's group that locks them in reverse.
_DEADLOCK_TRIES = 3

#: Advisory locks are numbers; those of journals in two schemas of one database must differ.
_LOCK_ID = "hashtextextended('orchestrator ' || current_schema() || ' ' || :name, 0)"
_HOLDER = f"""SELECT application_name FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) = {_LOCK_ID}"""
#: The prefix of the process name in the server's list of sessions, where the holder of a batch is looked up.
APPLICATION: Final = "orchestrator "
#: Connection settings, unless the URL sets them. A network that drops all packets is detected within 15 s: TCP's own
#: retransmissions, at growing intervals, would arrive later than the packets of a new connection.
_DEFAULTS: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
    "client_encoding": "utf8",
}
#: The same for the server's side. A session whose process is frozen or whose host is cut off keeps a batch's lock,
#: and row locks that block the workers that take over its entries. It must end before the shortest hold (20 s) does.
_SESSION: Final = {
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "10s",
}
#: Applies these settings, except those that the URL, the database or its user sets.
SET_UP_SESSION: Final = (
    "SELECT set_config(name, value, false) FROM pg_settings JOIN (VALUES "
    + ", ".join(f"('{name}', '{value}')" for name, value in _SESSION.items())
    + ") AS ours (name, value) USING (name)"
    " WHERE source NOT IN ('client', 'user', 'database', 'database user')"
).encode()
#: After a lost connection this row shows whether the transaction of this number was committed. The server's own
#: transaction id is not enough: after a crash the server reuses the ids of which it had not written anything yet.
_MARK: Final = (
    "INSERT INTO commits (writer, number, at) VALUES ('{writer}', {number}, extract(epoch FROM now()))"
    " ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at = excluded.at"
    " RETURNING pg_current_xact_id()::text"
)
_FORGET_OLD_MARKS: Final = (
    "DELETE FROM commits WHERE writer IN (SELECT writer FROM commits"
    " WHERE at < extract(epoch FROM now()) - 86400 FOR UPDATE SKIP LOCKED)"
)
#: A named parameter, but not the type behind `::`.
_PARAMETER = re.compile(r"(?<!:):([a-z_]\w*)")


class Patience:
    """The waits for an unreachable server, with a time limit; tests replace `sleep` and `monotonic`."""

    def __init__(self) -> None:
        self.sleep: Callable[[float], Awaitable[object]] = anyio.sleep
        self.monotonic: Callable[[], float] = time.monotonic
        #: `on_wait` is called once, with the error, when a wait begins; `on_return` with the seconds that it took.
        self.on_wait: Callable[[JournalError], object] = lambda _error: None
        self.on_return: Callable[[float], object] = lambda _seconds: None
        self._is_waiting = False
        self._since: float | None = None
        self._seconds = 0.0
        self._is_spent = False
        self._has_ended = False
        self._waits: set[anyio.CancelScope] = set()

    async def wait(self, lost: LostConnectionError) -> None:
        """Wait before another attempt: not at all before the first one, and longer before each further one.

        Raises *lost* as a JournalError for the run when the server has been unreachable for too long. From then on
        each call that needs the server gets one attempt.
        """
        now = self.monotonic()
        if self._has_ended:
            raise _given_up(lost)
        if self._since is None:
            self._since, self._seconds = now, _FIRST_WAIT_SECONDS
            return
        if now - self._since >= PATIENCE_SECONDS:
            self._is_spent = not self._is_spent
            if self._is_spent:
                raise _given_up(lost)
            return
        if not self._is_waiting:
            self._is_waiting = True
            self.on_wait(lost)
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                await self.sleep(self._seconds)
            finally:
                self._waits.remove(scope)
        if self._has_ended:
            raise _given_up(lost)
        self._seconds = min(self._seconds * 2, LONGEST_WAIT_SECONDS)

    def succeed(self) -> None:
        """Reset the wait after a successful call."""
        if self._is_waiting and self._since is not None:
            self._is_waiting = False
            self.on_return(self.monotonic() - self._since)
        self._since, self._is_spent = None, False

    def end(self) -> None:
        """End all waits: calls that wait now, or lose the connection from now on, fail at once."""
        self._has_ended = True
        for scope in self._waits:
            scope.cancel()


def _given_up(lost: LostConnectionError) -> JournalError:
    return JournalError(lost.message, hint=lost.hint, is_temporary=True)


class PostgresBackend(GroupCommit):
    """The group commit on one database, with waits while the server is unreachable, and with advisory locks."""

    is_shared = True

    def __init__(self, location: str, conninfo: str, writer: PostgresConnection) -> None:
        readers = Readers(lambda: PostgresConnection(conninfo))
        super().__init__(shown(location), readers, writer, psycopg.Error, later_error)
        self._conninfo = conninfo
        self.server_writer = writer
        self.patience = Patience()

    async def upgrade(self, operation: Operation[None], newest: int) -> None:
        """Run *operation* unless the tables have version *newest*: not every host needs the privilege to upgrade."""
        is_made = await self.read(f"SELECT 1 WHERE to_regclass('{MIGRATIONS_TABLE}') IS NOT NULL")
        if not is_made or await self.read(f"SELECT max(version) FROM {MIGRATIONS_TABLE}") != [(newest,)]:

            def alone(transaction: Transaction) -> None:
                # The lock is released at the end of the transaction; the next host then finds the tables upgraded.
                transaction.select(f"SELECT pg_advisory_xact_lock({_LOCK_ID})", {"name": "migrations"})
                operation(transaction)

            await self.write(alone)
        self.server_writer.is_marking = True

    async def read(self, query: str, parameters: Row | None = None) -> list[tuple[Any, ...]]:
        """Return all rows of *query*; waits for an unreachable server."""
        while True:
            try:
                rows = await super().read(query, parameters)
            except LostConnectionError as error:
                await self.patience.wait(error)
            else:
                if self._doubt is None:
                    self.patience.succeed()
                return rows

    @asynccontextmanager
    async def hold_batch(self, key: BatchKey) -> AsyncIterator[None]:
        """Hold the batch's advisory lock, which the server releases when this process or its connection ends.

        If the server restarts in between, another host may take the lock; the writes of both are still guarded by
        state and epoch.
        """
        with translated():
            connection = await to_thread.run_sync(PostgresConnection, self._conninfo)
        try:
            with translated():
                query, row = f"SELECT pg_try_advisory_lock({_LOCK_ID})", {"name": key.digest}
                ((is_held,),) = (await to_thread.run_sync(connection.execute, query, row)).fetchall()
            if not is_held:
                raise LockHeldError(
                    f"another run works on this batch ({await self.batch_holder(key) or 'another process'})",
                    hint="wait for it, or stop it with SIGTERM; its state is safe",
                )
            yield
        finally:
            # The server notices a closed connection only a moment later, when the next run may already have started.
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(_let_go, connection, key)

    async def batch_holder(self, key: BatchKey) -> str | None:
        """Return the process whose session holds the batch's advisory lock; None if there is none."""
        rows = await self.read(_HOLDER, {"name": key.digest})
        # Only a superuser sees the sessions of other users by name.
        return (rows[0][0] or "another process").removeprefix(APPLICATION) if rows else None

    def stop_waiting(self) -> None:
        """Stop waiting for an unreachable server."""
        self.patience.end()

    async def _reconnect(self, lost: LostConnectionError) -> bool:
        while True:
            await self.patience.wait(lost)
            try:
                with translated(later_error):
                    return await to_thread.run_sync(self.server_writer.revive, limiter=self._thread)
            except LostConnectionError as error:
                lost = error

    def _commit_together(self, group: list[Pending[Any]]) -> None:
        for tried in range(1, _DEADLOCK_TRIES + 1):
            try:
                super()._commit_together(group)
            except DeadlockError:
                if tried == _DEADLOCK_TRIES:
                    raise
            else:
                break
        # Only a commit ends the wait, not a connection: the write itself may be what crashes the server each time.
        self.patience.succeed()


def _let_go(connection: PostgresConnection, key: BatchKey) -> None:
    with suppress(psycopg.Error):
        connection.execute(f"SELECT pg_advisory_unlock({_LOCK_ID})", {"name": key.digest})
    connection.close()


@asynccontextmanager
async def open_server(location: str) -> AsyncIterator[PostgresBackend]:
    """Connect to the database at *location*, a `postgresql://` URL.

    A server that is unreachable at the start is not waited for: its name may be wrong. Raises ConfigurationError for
    an invalid URL, JournalError when the connection fails.
    """
    conninfo = connection_string(location)
    with translated():
        writer = await to_thread.run_sync(PostgresConnection, conninfo)
    backend = PostgresBackend(location, conninfo, writer)
    try:
        yield backend
    finally:
        await backend.close()


def examine_server(location: str) -> JournalHealth | None:
    """Check the journal at *location* without changing it; None if the database has none. Blocks."""
    with translated():
        connection = PostgresConnection(connection_string(location))
        try:
            if connection.execute(f"SELECT to_regclass('{MIGRATIONS_TABLE}')").fetchall() == [(None,)]:
                return None
            ((version,),) = connection.execute(f"SELECT max(version) FROM {MIGRATIONS_TABLE}").fetchall()
            urls = connection.execute("SELECT url FROM segments WHERE url IS NOT NULL LIMIT 1").fetchall()
        finally:
            connection.close()
    upload_url = None
    with suppress(ValueError, TypeError):
        upload_url = PresignedUrl(urls[0][0]) if urls else None
    return JournalHealth(shown(location), int(version or 0), None, upload_url)


@lru_cache(maxsize=256)
def in_psycopg(statement: str) -> bytes:
    """Return *statement* with its parameters and locks in the syntax of psycopg and PostgreSQL."""
    # As bytes: the driver's type annotations accept a string only if it is a literal.
    for comment, lock in LOCKS.items():
        statement = statement.replace(comment, lock)
    return _PARAMETER.sub(r"%(\1)s", statement).encode()


def connection_string(location: str) -> str:
    """Return the connection string for libpq; raises ConfigurationError, without what may be a password."""
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


class _Begun(NamedTuple):
    """A running transaction: the writer and number of its mark, and the server's transaction id."""

    writer: str
    number: int
    transaction_id: str


class PostgresConnection:
    """A psycopg connection with the calls that the journal needs; its methods raise psycopg's errors."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        #: The id of this session in the marks of its transactions; None before the first transaction.
        self._writer: str | None = None
        self._number = 0
        self._connection = self._connect()
        #: The transaction begun last; None until the server has answered.
        self._begun: _Begun | None = None
        #: Whether transactions leave a mark, which requires the table `commits`.
        self.is_marking = False

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = psycopg.connect(self._conninfo, autocommit=True)
        # The journal has few statements, and every one of them is repeated.
        connection.prepare_threshold = 1
        try:
            connection.execute(SET_UP_SESSION, prepare=False)
        except psycopg.Error:
            connection.close()
            raise
        return connection

    @property
    def is_lost(self) -> bool:
        """True when the server has closed the connection or cannot be reached through it."""
        return self._connection.closed

    def begin(self) -> None:
        """Begin a transaction whose outcome can be checked later."""
        self._begun = None
        if not self.is_marking:
            self._connection.execute(b"BEGIN", prepare=False)
            return
        statements = ["BEGIN"]
        if self._writer is None:
            self._writer = uuid.uuid4().hex
            statements.append(_FORGET_OLD_MARKS)
        self._number += 1
        statements.append(_MARK.format(writer=self._writer, number=self._number))
        try:
            # One round trip for all: a query without parameters may hold several statements.
            marked = self._connection.execute("; ".join(statements).encode(), prepare=False)
        except psycopg.Error:
            self.roll_back()
            raise
        while marked.nextset():
            pass
        ((transaction_id,),) = marked.fetchall()
        self._begun = _Begun(self._writer, self._number, transaction_id)

    def execute(self, statement: str, row: Row | None = None, /) -> psycopg.Cursor[tuple[Any, ...]]:
        """Execute *statement* with the parameters of *row*."""
        return self._connection.execute(in_psycopg(statement), row or None)

    def executemany(self, statement: str, rows: Sequence[Row], /) -> psycopg.Cursor[tuple[Any, ...]]:
        """Execute *statement* once for each of *rows*, in a single round trip."""
        if len(rows) == 1:
            # A pipeline for one row costs several times as much as the statement.
            return self.execute(statement, rows[0])
        cursor = self._connection.cursor()
        cursor.executemany(in_psycopg(statement), rows)
        return cursor

    def commit(self) -> None:
        """Make the transaction durable."""
        self._connection.commit()

    def roll_back(self) -> None:
        """End the transaction; a lost connection has already ended it."""
        with suppress(psycopg.Error):
            self._connection.execute(b"ROLLBACK", prepare=False)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def revive(self) -> bool:
        """Reconnect; returns True when the transaction that ran when the connection was lost has been committed.

        A transaction that is still open on the server is terminated: it holds locks, and no client can continue it.
        """
        if self._connection.closed:
            self._connection = self._connect()
            # The old session may still exist, with its mark locked.
            self._writer = None
        if self._begun is None:
            return False
        row = self._begun._asdict()
        self._connection.execute(
            b"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            b" WHERE backend_xid = (%(transaction_id)s::xid8)::xid AND pid <> pg_backend_pid()"
            b" AND application_name = current_setting('application_name')",
            row,
        )
        found = self._connection.execute(
            b"SELECT 1 FROM commits WHERE writer = %(writer)s AND number = %(number)s", row
        ).fetchall()
        # Only after the answer: the connection may be lost again during the query.
        self._begun = None
        return bool(found)
