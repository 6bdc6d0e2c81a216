"""A journal in a SQLite file: one group commit for all concurrent writers, and what SQLite raises as our errors."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import anyio
from anyio import to_thread

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import JournalError, OrchestratorError
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.journal.backend import JournalHealth, Operation, Row
from orchestrator.journal.migrations import MIGRATIONS_TABLE
from orchestrator.journal.shapes import DAMAGE_HINT
from orchestrator.journal.sqlite.connections import (
    BUSY_TIMEOUT_MS,
    Readers,
    connect,
    refuse_other_programs,
    transaction,
)
from orchestrator.journal.sqlite.files import batch_lock_holder, find_journal, hold_batch_lock, make_private

T = TypeVar("T")

MAX_GROUP = 256
#: Minimum spacing of commits while several writers share them: a commit costs the CPU as much as some requests.
COMMIT_INTERVAL_SECONDS = 0.008
#: After this many lone commits in a row, stop waiting for other writers.
LONE_COMMITS = 8
#: How many queries may run at a time.
READERS = 2


@dataclass(slots=True)
class _Pending(Generic[T]):
    operation: Operation[T]
    is_finished: bool = False
    result: T | None = None
    error: Exception | None = None
    #: Of a writer that waits: done when the operation is finished, or when the writer is to lead.
    wake: asyncio.Future[None] | None = None

    def finish(self) -> None:
        self.is_finished = True
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)


class SqliteBackend:
    """One connection for writers, who share commits, and a few for readers.

    Concurrent writers form a queue. One of them leads: it commits for all in one transaction and one thread hop, so
    many entries share one fsync and each returns only when its own write is durable. They are all woken at once.
    """

    def __init__(self, path: Path, readers: Readers, writer: sqlite3.Connection) -> None:
        self._path = path
        self._readers = readers
        self._writer = writer
        self._queue: list[_Pending[Any]] = []
        self._has_leader = False
        self._committed_at = -math.inf
        self._lone_commits = LONE_COMMITS
        self._thread = anyio.CapacityLimiter(1)
        self._reading = anyio.CapacityLimiter(READERS)
        #: Held by the thread that writes: it goes on when its task is cut off by force.
        self._in_use = threading.Lock()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self._path}: {len(self._queue)} writes queued,"
            f" {'a leader commits' if self._has_leader else 'idle'}, {self._lone_commits} lone commits>"
        )

    async def write(self, operation: Operation[T]) -> T:
        """Run *operation* in the next transaction; the error it raises spoils no write of the others."""
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
        """Let the first waiting writer lead."""
        next_leader = next((each.wake for each in self._queue if each.wake and not each.wake.done()), None)
        self._has_leader = next_leader is not None
        if next_leader is not None:
            next_leader.set_result(None)

    def write_later(self, operation: Operation[None]) -> None:
        """Queue *operation* for the next commit."""
        self._queue.append(_Pending(operation))

    async def flush(self) -> None:
        """Commit what was queued by `write_later`."""
        while self._queue:
            await self.write(lambda _: None)

    async def close(self) -> None:
        """Close the connections, once no thread writes any more."""
        # Blocks rather than awaits: a cancelled task closes its journal all the same.
        with self._in_use:
            self._writer.close()
        self._readers.close()

    @asynccontextmanager
    async def hold_batch(self, key: BatchKey) -> AsyncIterator[None]:
        """Hold the lock file of the batch, which is beside the journal."""
        with hold_batch_lock(self._lock_path(key)):
            yield

    async def batch_holder(self, key: BatchKey) -> str | None:
        """The process that holds the lock file of the batch."""
        return batch_lock_holder(self._lock_path(key))

    def _lock_path(self, key: BatchKey) -> Path:
        return self._path.with_name(f"{self._path.name}.{key.digest}.lock")

    async def read(self, query: str, parameters: Row | None = None) -> list[tuple[Any, ...]]:
        """All rows of *query*; they are the driver's own: booleans are 0 and 1."""
        with translated():
            # One hop into a thread for all of it: a driver that hops for every call takes six.
            read = self._readers.read
            return await to_thread.run_sync(read, query, parameters or {}, limiter=self._reading)

    async def _commit_group(self) -> None:
        distance = COMMIT_INTERVAL_SECONDS if self._lone_commits < LONE_COMMITS else 0
        await anyio.sleep(max(self._committed_at + distance - time.monotonic(), 0))
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
            self._lone_commits = 0 if len(group) > 1 else self._lone_commits + 1

    def _commit(self, group: list[_Pending[Any]]) -> None:
        """Commit *group* in one transaction; when an operation fails, each by itself, so that one spoils no other.

        What fails because of the disk or a lock would fail for each, and each would wait as long for it.
        """
        try:
            self._commit_together(group)
        except Exception as error:  # noqa: BLE001 - whatever broke, every waiting writer must get it
            if len(group) == 1 or (isinstance(error, JournalError) and error.is_temporary):
                for pending in group:
                    pending.error = error
                return
            for pending in group:
                pending.error = None
                self._commit([pending])

    def _commit_together(self, group: list[_Pending[Any]]) -> None:
        with self._in_use, translated(), transaction(self._writer) as begun:
            for pending in group:
                # A guard that fails is its own writer's affair: the others' writes are committed with this group.
                try:
                    pending.result = pending.operation(begun)
                except OrchestratorError as error:
                    pending.error = error


@contextmanager
def translated(path: Path | None = None) -> Iterator[None]:
    """Raise JournalError, with a sentence that says what to do, for what the database raises in the block."""
    try:
        yield
    except sqlite3.Error as error:
        raise _journal_error(error, path) from None


def _journal_error(error: sqlite3.Error, path: Path | None) -> JournalError:
    name = getattr(error, "sqlite_errorname", "")
    # The driver's own error, which quotes what it could not decode.
    is_garbled = not name and "decode" in str(error)
    where = f"the journal {path}" if path else "the journal"
    if name.startswith("SQLITE_FULL"):
        return JournalError(
            f"{where} cannot be written: the disk is full",
            hint="free some space and run again; nothing is lost",
            is_temporary=True,
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return JournalError(
            f"{where} is locked by another process", hint="run again later", is_temporary=True
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return JournalError(
            f"{where} cannot be written: permission denied or read-only",
            hint="make it writable, or name another place with --state",
        )
    if is_garbled or name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return JournalError(
            f"{where} is not a readable journal (damaged, or another kind of file)",
            hint=DAMAGE_HINT,
        )
    if name.startswith("SQLITE_IOERR"):
        return JournalError(
            f"{where} cannot be written: the disk reports an error",
            hint="check the disk and run again; nothing is lost",
            is_temporary=True,
        )
    return JournalError(f"{where} failed: {error}")


@asynccontextmanager
async def open_sqlite(location: str) -> AsyncIterator[SqliteBackend]:
    """Open the SQLite file at *location*, made with mode 0600 when it is new; one that a link led to keeps its mode.

    Raises ConfigurationError for a location that can be no path, and JournalError, each with what to do.
    """
    path, _, is_linked = find_journal(location)
    await to_thread.run_sync(refuse_other_programs, path)
    make_private(path, is_linked=is_linked)
    with translated(path):
        writer = await to_thread.run_sync(connect, path)
    backend = SqliteBackend(path, Readers(path), writer)
    try:
        yield backend
    finally:
        await backend.close()


#: The first few name what is broken; thousands may follow.
_DAMAGES = 3


def examine_file(path: Path) -> JournalHealth:
    """Check the journal at *path* without writing to it, beside a run that works on it too.

    Raises JournalError for what is no database, or another program's.
    """
    place = str(path)
    with translated(path), closing(_open_to_read(path)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not names:
            return JournalHealth(place, 0, None, None)
        if MIGRATIONS_TABLE not in names:
            raise JournalError(
                f"{path} is a database of another program, not a journal",
                hint="name another place with --state",
            )
        complaints = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_DAMAGES})")]
        if complaints != ["ok"]:
            return JournalHealth(place, 0, str(complaints[0]), None)
        version = connection.execute(f"SELECT max(version) FROM {MIGRATIONS_TABLE}").fetchone()[0]
        return JournalHealth(place, int(version or 0), None, _upload_url(connection))


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Open *path* so that SQLite makes no file beside it.

    Where there is no write-ahead log no process has the journal open, and it is read as it stands. A log has to be
    read too, and its index, which exists beside it, is shared with the writer.
    """
    mode = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    return connection


def _upload_url(connection: sqlite3.Connection) -> PresignedUrl | None:
    with suppress(sqlite3.Error, ValueError, TypeError):
        row = connection.execute("SELECT url FROM segments WHERE url IS NOT NULL LIMIT 1").fetchone()
        return PresignedUrl(row[0]) if row else None
    return None
