"""A journal in a SQLite file: its locks, what SQLite raises as our errors, and a look at it without a change."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from anyio import to_thread

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import JournalError
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.journal.backend import JournalHealth, Operation
from orchestrator.journal.group_commit import GroupCommit, Readers
from orchestrator.journal.migrations import MIGRATIONS_TABLE
from orchestrator.journal.shapes import DAMAGE_HINT
from orchestrator.journal.sqlite.connections import (
    BUSY_TIMEOUT_MS,
    SqliteConnection,
    connect,
    refuse_other_programs,
)
from orchestrator.journal.sqlite.files import batch_lock_holder, find_journal, hold_batch_lock, make_private


class SqliteBackend(GroupCommit):
    """The group commit on one file, and the lock files beside it."""

    def __init__(self, path: Path, writer: SqliteConnection) -> None:
        super().__init__(str(path), Readers(lambda: connect(path)), writer, sqlite3.Error, _journal_error)
        self._path = path

    async def upgrade(self, operation: Operation[None], newest: int) -> None:
        """Run *operation*, which looks itself what the file lacks of the *newest* version."""
        await self.write(operation)

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


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise JournalError, with a sentence that says what to do, for what the database raises in the block."""
    try:
        yield
    except sqlite3.Error as error:
        raise _journal_error(error, path) from None


def _journal_error(error: sqlite3.Error, path: Path | None = None) -> JournalError:
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
    backend = SqliteBackend(path, writer)
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
