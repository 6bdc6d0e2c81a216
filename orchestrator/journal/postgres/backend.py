"""A journal in PostgreSQL: locks that end with their holder, a server that goes away, and its errors as ours."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import anyio
import psycopg
from anyio import to_thread

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import JournalError, LockHeldError
from orchestrator.domain.foreign import quotable
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.journal.backend import JournalHealth, Operation, Row, Transaction, shown
from orchestrator.journal.group_commit import GroupCommit, LostConnectionError, Pending, Readers
from orchestrator.journal.migrations import MIGRATIONS_TABLE
from orchestrator.journal.postgres.connections import APPLICATION, PostgresConnection, connection_string

#: How long a server may be away. No other host can take over meanwhile what this process holds.
PATIENCE_SECONDS = 600.0
_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 5.0
#: A group that locks the rows of several entries may meet another host's group that locks them the other way round.
_DEADLOCK_TRIES = 3
#: Refusals at the door that pass by themselves.
_PASSING: Final = (
    "starting up",
    "shutting down",
    "recovery",
    "too many",
    "connection slots",
    "not yet accepting",
)

#: Advisory locks are numbers; those of journals in two schemas of one database must differ.
_LOCK_ID = "hashtextextended('orchestrator ' || current_schema() || ' ' || :name, 0)"
_HOLDER = f"""SELECT application_name FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) = {_LOCK_ID}"""


class DeadlockError(JournalError):
    """The database let this transaction go, so that another one could go on."""


class Patience:
    """How long one who needs the server has been without it; `sleep` and `monotonic` are replaced in tests."""

    def __init__(self) -> None:
        self.sleep: Callable[[float], Awaitable[object]] = anyio.sleep
        self.monotonic: Callable[[], float] = time.monotonic
        self._since: float | None = None
        self._seconds = 0.0
        self._is_spent = False

    async def wait(self, lost: LostConnectionError) -> None:
        """Wait before another try, longer each time, but not before the first.

        Raises what is *lost* as an error of the run when that has lasted for too long; from then on each that needs
        the server has one try.
        """
        now = self.monotonic()
        if self._since is None:
            self._since, self._seconds = now, _FIRST_WAIT_SECONDS
            return
        if now - self._since >= PATIENCE_SECONDS:
            self._is_spent = not self._is_spent
            if self._is_spent:
                raise JournalError(lost.message, hint=lost.hint, is_temporary=True)
            return
        await self.sleep(self._seconds)
        self._seconds = min(self._seconds * 2, _LONGEST_WAIT_SECONDS)

    def succeed(self) -> None:
        """It worked."""
        self._since, self._is_spent = None, False


class PostgresBackend(GroupCommit):
    """The group commit on one database, which is waited for while it is away, and its advisory locks."""

    is_shared = True

    def __init__(self, location: str, conninfo: str, writer: PostgresConnection) -> None:
        readers = Readers(lambda: PostgresConnection(conninfo))
        super().__init__(shown(location), readers, writer, psycopg.Error, _journal_error)
        self._conninfo = conninfo
        self._server_writer = writer
        self._patience = Patience()

    async def upgrade(self, operation: Operation[None], newest: int) -> None:
        """Run *operation* unless the tables are of version *newest*: it takes a right that not every host needs."""
        if await self.read(f"SELECT 1 WHERE to_regclass('{MIGRATIONS_TABLE}') IS NOT NULL"):
            ((version,),) = await self.read(f"SELECT max(version) FROM {MIGRATIONS_TABLE}")
            if version == newest:
                return

        def alone(transaction: Transaction) -> None:
            # Free again with the end of the transaction; the next host finds the tables made.
            transaction.select(f"SELECT pg_advisory_xact_lock({_LOCK_ID})", {"name": "migrations"})
            operation(transaction)

        await self.write(alone)

    async def read(self, query: str, parameters: Row | None = None) -> list[tuple[Any, ...]]:
        """All rows of *query*; waits for a server that is away."""
        while True:
            try:
                rows = await super().read(query, parameters)
            except LostConnectionError as error:
                await self._patience.wait(error)
            else:
                if self._doubt is None:
                    self._patience.succeed()
                return rows

    @asynccontextmanager
    async def hold_batch(self, key: BatchKey) -> AsyncIterator[None]:
        """Hold the batch's advisory lock, which the server frees when this process or its connection is gone.

        Should the server restart meanwhile, another host may take the lock: what both write is still guarded by
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
            # The server notices a closed connection a moment later, and the next run may be there already.
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(_let_go, connection, key)

    async def batch_holder(self, key: BatchKey) -> str | None:
        """The process whose session holds the batch's advisory lock."""
        rows = await self.read(_HOLDER, {"name": key.digest})
        # Only a superuser sees the sessions of other users by name.
        return (rows[0][0] or "another process").removeprefix(APPLICATION) if rows else None

    async def _reconnect(self, lost: LostConnectionError) -> bool:
        while True:
            await self._patience.wait(lost)
            try:
                with translated():
                    return await to_thread.run_sync(self._server_writer.revive, limiter=self._thread)
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
        # Not a connection but a commit ends the wait: a write may be what the server breaks at each time.
        self._patience.succeed()


def _let_go(connection: PostgresConnection, key: BatchKey) -> None:
    with suppress(psycopg.Error):
        connection.execute(f"SELECT pg_advisory_unlock({_LOCK_ID})", {"name": key.digest})
    connection.close()


@contextmanager
def translated() -> Iterator[None]:
    """Raise JournalError, with a sentence that says what to do, for what psycopg raises in the block."""
    try:
        yield
    except psycopg.Error as error:
        raise _journal_error(error) from None


_AWAY: Final = "run again when the server is back; nothing is lost"
#: What begins the code of an error, what it is for us, and whether waiting may help.
_MEANINGS: Final = (
    # The connection; a server that stops or ends this session; one that stood still in a transaction for too long.
    (("08", "57P", "25P03"), LostConnectionError, "the journal's server went away: {words}", _AWAY, True),
    (
        ("40P01", "40001"),
        DeadlockError,
        "the journal is locked by another process: {words}",
        "run again later",
        True,
    ),
    (
        ("53100",),
        JournalError,
        "the journal cannot be written: the server's disk is full",
        "free some space there and run again; nothing is lost",
        True,
    ),
    (
        ("53", "55P03", "57014"),
        JournalError,
        "the journal's server is busy: {words}",
        "run again later",
        True,
    ),
    (
        ("25006",),
        JournalError,
        "the journal cannot be written: the server is read-only",
        "name the primary server with --state; ?target_session_attrs=read-write finds it among several",
        False,
    ),
    (
        ("42501",),
        JournalError,
        "the journal cannot be used: {words}",
        "open it once as the database's owner, who then grants its tables to this user",
        False,
    ),
)


def _journal_error(error: psycopg.Error) -> JournalError:
    code, words = error.sqlstate or "", quotable(error.diag.message_primary or str(error), longest=300)
    for codes, kind, message, hint, is_temporary in _MEANINGS:
        if code.startswith(codes):
            return kind(message.format(words=words), hint=hint, is_temporary=is_temporary)
    if code or not isinstance(error, psycopg.OperationalError):
        return JournalError(f"the journal failed: {words}")
    # Of a connection that is not made or is cut off there are libpq's words only.
    if "FATAL:" in words and not any(passing in words for passing in _PASSING):
        return JournalError(
            f"the journal's server refuses the connection: {words}",
            hint="check user and database in --state, and the password in PGPASSFILE or PGPASSWORD",
        )
    return LostConnectionError(
        f"the journal's server cannot be reached: {words}", hint=_AWAY, is_temporary=True
    )


@asynccontextmanager
async def open_server(location: str) -> AsyncIterator[PostgresBackend]:
    """Connect to the database at *location*, a `postgresql://` URL.

    A server that is away from the start is not waited for: its name may be wrong. Raises ConfigurationError for what
    is no URL, JournalError for what fails.
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
    """Check the journal at *location* without changing it; None where the database has none. Blocks."""
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
