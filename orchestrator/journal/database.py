"""The journal's database: how it is opened, and one group commit for all concurrent writers."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, TypeVarTuple

import anyio
from anyio import to_thread
from sqlalchemy import URL, Connection, Engine, Result, Select, create_engine, event
from sqlalchemy.pool import NullPool, Pool, QueuePool

from orchestrator.domain.errors import JournalError, OrchestratorError
from orchestrator.journal.failures import translated
from orchestrator.journal.tables import schema_migrations
from orchestrator.journal.transaction import Row, StatementTexts, Transaction

T = TypeVar("T")
Columns = TypeVarTuple("Columns")

BUSY_TIMEOUT_MS = 30_000
MAX_GROUP = 256
#: From one commit to the next at least, so that under load many writers share one: a commit costs the CPU as much as
#: some requests, and who writes seldom never waits.
COMMIT_INTERVAL_SECONDS = 0.008
#: How many queries may run at a time.
READERS = 2
#: Errors of the disk that pass when somebody tidies up.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


#: Runs in the writer's thread, so it does nothing but write.
Operation = Callable[[Transaction], T]


@dataclass(slots=True)
class _Pending(Generic[T]):
    operation: Operation[T]
    is_finished: bool = False
    result: T | None = None
    error: Exception | None = None
    #: Of a writer who waits: done when the operation is finished, or when the writer is to lead.
    wake: asyncio.Future[None] | None = None

    def finish(self) -> None:
        """Let whoever waits go on."""
        self.is_finished = True
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)


class Database:
    """One connection for writers, who share commits, and a few for readers.

    Concurrent writers form a queue. One of them leads: it commits for all in one transaction and one thread hop, so
    many entries share one fsync and each returns only when its own write is durable. They are all woken at once.
    """

    def __init__(self, readers: Engine, writer: Connection) -> None:
        """Take an open engine for reads and the connection that writes; `open_database` makes both."""
        self._readers = readers
        self._writer = writer
        self._texts = StatementTexts()
        self._queue: list[_Pending[Any]] = []
        self._has_leader = False
        self._committed_at = -math.inf
        self._thread = anyio.CapacityLimiter(1)
        self._reading = anyio.CapacityLimiter(READERS)
        #: Held by the thread that writes: it goes on when its task is cut off by force.
        self._in_use = threading.Lock()

    async def write(self, operation: Operation[T]) -> T:
        """Run *operation* in a transaction and return its result once it is durable.

        An operation checks its guards before it changes anything: an OrchestratorError it raises reaches its
        own caller only, and the others' writes are committed. Raises JournalError when the database fails.
        """
        pending = _Pending(operation)
        self._queue.append(pending)
        if self._has_leader:
            await self._follow(pending)
        if not pending.is_finished:
            await self._lead(pending)
        if pending.error is not None:
            raise pending.error
        return pending.result  # type: ignore[return-value]  # T may be None

    async def _follow(self, pending: _Pending[T]) -> None:
        """Wait until *pending* is finished, or its writer is to lead."""
        pending.wake = asyncio.get_running_loop().create_future()
        try:
            await pending.wake
        except asyncio.CancelledError:
            if not (pending.wake.cancelled() or pending.is_finished):
                self._hand_over()
            raise

    async def _lead(self, pending: _Pending[T]) -> None:
        """Commit until *pending* is finished, and leave the rest to another."""
        self._has_leader = True
        try:
            while not pending.is_finished:
                with anyio.CancelScope(shield=True):
                    await self._commit_group()
        finally:
            self._hand_over()

    def _hand_over(self) -> None:
        """Let the first who waits lead."""
        heir = next((each.wake for each in self._queue if each.wake and not each.wake.done()), None)
        self._has_leader = heir is not None
        if heir is not None:
            heir.set_result(None)

    def write_later(self, operation: Operation[None]) -> None:
        """Queue *operation* to be committed with the next write; for records nobody waits for."""
        self._queue.append(_Pending(operation))

    async def flush(self) -> None:
        """Commit what was queued by `write_later`."""
        while self._queue:
            await self.write(_nothing)

    def close(self) -> None:
        """Close the connection that writes, when nobody writes any more."""
        with self._in_use:
            self._writer.close()

    async def read_rows(self, query: Select[Any], parameters: Row | None = None) -> Sequence[tuple[Any, ...]]:
        """As `read`, but the driver's own rows: SQLAlchemy's cost more than to read them.

        They are without names, and booleans are 0 and 1.
        """
        return await to_thread.run_sync(self._read_rows, query, parameters, limiter=self._reading)

    def _read_rows(self, query: Select[Any], parameters: Row | None) -> Sequence[tuple[Any, ...]]:
        with translated(), self._readers.connect() as connection:
            return connection.execute(query, parameters).cursor.fetchall()

    async def read(self, query: Select[*Columns]) -> Result[*Columns]:
        """All rows of *query*, which sees one consistent state of the journal; raises JournalError."""
        return await to_thread.run_sync(self._read, query, limiter=self._reading)

    def _read(self, query: Select[*Columns]) -> Result[*Columns]:
        # One hop into a thread for all of it: a driver that hops for every call takes six.
        with translated(), self._readers.connect() as connection:
            return connection.execute(query).freeze()()

    async def _commit_group(self) -> None:
        await anyio.sleep(max(self._committed_at + COMMIT_INTERVAL_SECONDS - time.monotonic(), 0))
        group, self._queue = self._queue[:MAX_GROUP], self._queue[MAX_GROUP:]
        try:
            await to_thread.run_sync(self._commit, group, limiter=self._thread)
        except BaseException:
            for pending in group:
                pending.error = JournalError("the journal could not be written: the writer was interrupted")
            raise
        finally:
            for pending in group:
                pending.finish()
            self._committed_at = time.monotonic()

    def _commit(self, group: list[_Pending[Any]]) -> None:
        """Commit *group* in one transaction; when an operation fails, each by itself, so that one spoils no other.

        What fails because of the disk or a lock would fail for each, and each would wait as long for it.
        """
        try:
            self._commit_together(group)
        except Exception as error:  # noqa: BLE001 - whatever broke, everyone who waits must hear of it
            if len(group) == 1 or (isinstance(error, JournalError) and error.is_temporary):
                for pending in group:
                    pending.error = error
                return
            for pending in group:
                pending.error = None
                self._commit([pending])

    def _commit_together(self, group: list[_Pending[Any]]) -> None:
        with (
            self._in_use,
            translated(),
            self._writer.begin(),
            closing(Transaction(self._writer, self._texts)) as transaction,
        ):
            for pending in group:
                _run(pending, transaction)
            transaction.execute_rows()


def _run(pending: _Pending[Any], transaction: Transaction) -> None:
    try:
        pending.result = pending.operation(transaction)
    except OrchestratorError as error:
        pending.error = error


def _nothing(_: Transaction) -> None:
    return


@asynccontextmanager
async def open_database(path: Path) -> AsyncIterator[Database]:
    """Open the SQLite file *path*, made with mode 0600 when it is new.

    Raises JournalError with a sentence that tells what to do.
    """
    await to_thread.run_sync(_refuse_other_programs, path)
    _make_private(path)
    writing = _engine(path, NullPool, begin="BEGIN IMMEDIATE")
    reading = _engine(path, QueuePool, begin="BEGIN")
    try:
        with translated(path):
            writer = await to_thread.run_sync(writing.connect)
        database = Database(reading, writer)
        try:
            async with _flushed(database):
                yield database
        finally:
            database.close()
    finally:
        reading.dispose()


@asynccontextmanager
async def _flushed(database: Database) -> AsyncIterator[None]:
    """Commit what is queued however the block ends: what led to an error is worth most after it."""
    try:
        yield
    except BaseException:
        with anyio.CancelScope(shield=True), suppress(JournalError):
            await database.flush()
        raise
    await database.flush()


def _refuse_other_programs(path: Path) -> None:
    """Raise JournalError for a database that has tables but no migrations of ours; only reads."""
    names: set[str] = set()
    if path.is_file() and path.stat().st_size:
        # What else is wrong with the file is told by whoever opens it.
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if names and schema_migrations.name not in names:
        raise JournalError(
            f"{path} is a database of another program, not a journal",
            hint="name another place with --state; nothing in it was changed",
        )


def _make_private(path: Path) -> None:
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _make_private_file(descriptor, path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise JournalError(
            f"the journal {path} cannot be opened: {error.strerror}",
            hint="name a writable place with --state",
            is_temporary=error.errno in NO_SPACE,
        ) from None


def _make_private_file(descriptor: int, path: Path) -> None:
    """Take the rights of others; never those on a device, which the whole machine shares."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise JournalError(
            f"the journal {path} cannot be opened: it is not a file",
            hint="name a file or a directory with --state",
        )
    os.fchmod(descriptor, 0o600)


def _engine(path: Path, pool: type[Pool], *, begin: str) -> Engine:
    """Let SQLAlchemy, not the driver, begin transactions, and make commits durable.

    A writer takes its lock at once (*begin*): upgrading a read lock later could fail half-way.
    """
    engine = create_engine(
        # Not a URL as text: a path with ? or % would name another file.
        URL.create("sqlite", database=str(path)),
        poolclass=pool,
        connect_args={"check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _: object) -> None:
        try:
            _set_pragmas(connection)
        except sqlite3.Error:
            connection.close()  # the pool forgets a connection that failed here
            raise

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        # Straight to the driver: SQLAlchemy's way costs about as much as the rows of a usual transaction.
        connection.connection.cursor().execute(begin).close()

    return engine


def _set_pragmas(connection: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # Upload URLs are secrets: what is deleted is overwritten, not only forgotten.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()
