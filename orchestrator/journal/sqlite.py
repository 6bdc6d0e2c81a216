"""A journal in a SQLite file: connections, what SQLite raises as our errors, and the lock file of each batch.

The file is one by one name, whatever links lead to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import NamedTuple
from urllib.parse import quote as quote_url

from anyio import to_thread

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import ConfigurationError, JournalError, LockHeldError
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.journal.backend import JournalHealth, Operation
from orchestrator.journal.group_commit import GroupCommit, Readers
from orchestrator.journal.history import process_name
from orchestrator.journal.migrations import MIGRATIONS_TABLE
from orchestrator.journal.records import DAMAGE_HINT

BUSY_TIMEOUT_MS = 30_000
FILE_NAME = "journal.db"
_HOW_TO_NAME = "give --state the path of a file or a directory"
#: Errors of the disk that pass once there is space again.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
#: A process that asks whether the lock is held has it for some microseconds.
_MOMENT_SECONDS = 0.005
_TRIES = 10


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
    connection = sqlite3.connect(f"file:{quote_url(str(path))}?{mode}", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    return connection


def _upload_url(connection: sqlite3.Connection) -> PresignedUrl | None:
    with suppress(sqlite3.Error, ValueError, TypeError):
        row = connection.execute("SELECT url FROM segments WHERE url IS NOT NULL LIMIT 1").fetchone()
        return PresignedUrl(row[0]) if row else None
    return None


class SqliteConnection(sqlite3.Connection):
    """The driver's own connection, with the few words that databases say in different ways."""

    #: A file does not go away as a server does; what is wrong with the disk is told by each statement.
    is_lost = False

    def begin(self) -> None:
        """Begin a transaction, with the lock: upgrading a read lock later could fail half-way."""
        self.execute("BEGIN IMMEDIATE")

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


class JournalFile(NamedTuple):
    """The file of a journal; *is_linked* when a symbolic link leads to it, so that it may be another's business."""

    path: Path
    exists: bool
    is_linked: bool


def find_journal(location: str) -> JournalFile:
    """The file that *location*, a path to a file or a directory, means.

    Raises ConfigurationError where `~` leads nowhere, JournalError for a path that cannot be used.
    """
    try:
        named = Path(location).expanduser().absolute()
        if named.is_dir():
            named /= FILE_NAME
        real = Path(os.path.realpath(named))
        is_linked = named.is_symlink()
        try:
            status = real.stat()
        except FileNotFoundError:
            status = None
        path = real if status is None or status.st_nlink == 1 else _one_name(real, status)
    except RuntimeError:
        raise ConfigurationError(
            f"there is no home directory to keep the journal in ({location})", hint=_HOW_TO_NAME
        ) from None
    except (OSError, ValueError) as error:
        # A path may be too long by thousands of characters.
        short = location if len(location) <= 200 else f"{location[:200]}..."
        reason = error.strerror if isinstance(error, OSError) else "no path has a NUL character"
        raise JournalError(f"the journal {short} cannot be opened: {reason}", hint=_HOW_TO_NAME) from None
    return JournalFile(path, exists=status is not None, is_linked=is_linked)


def _one_name(path: Path, status: os.stat_result) -> Path:
    """Of the names that hard links gave the file, the one its write-ahead log goes by; the first where none has one.

    SQLite finds the log by the name. Opened by another, the journal would lack what is in the log, and two
    processes would write past each other. Raises JournalError where a name is out of sight.
    """
    if not stat.S_ISREG(status.st_mode):
        return path
    with os.scandir(path.parent) as neighbours:
        alike = [each.path for each in neighbours if each.inode() == status.st_ino and not each.is_symlink()]
    logged = [name for name in alike if Path(f"{name}-wal").exists()]
    if len(alike) != status.st_nlink or len(logged) > 1:
        raise JournalError(
            f"the journal {path} has other names (hard links), and its log only one of them",
            hint=f"remove the other names, which `find / -samefile {quote(str(path))}` lists",
        )
    return Path(min(logged or alike))


def make_private(path: Path, *, is_linked: bool) -> None:
    """Make the file, and its folder, if it is new, with mode 0600, which one of ours that exists gets too.

    One that a symbolic link led to may be shared on purpose, and keeps its mode. Raises JournalError.
    """
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(descriptor)
            # The rights on a device are the whole machine's.
            if not stat.S_ISREG(status.st_mode):
                raise JournalError(
                    f"the journal {path} cannot be opened: it is not a file",
                    hint="name a file or a directory with --state",
                )
            if status.st_uid == os.geteuid() and not is_linked:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise JournalError(
            f"the journal {path} cannot be opened: {error.strerror}",
            hint="name a writable place with --state",
            is_temporary=error.errno in NO_SPACE,
        ) from None


@contextmanager
def hold_batch_lock(path: Path, *, sleep: Callable[[float], object] = time.sleep) -> Iterator[None]:
    """Hold the lock file *path* for the block; raises LockHeldError when another process does.

    It is tried for a moment, with *sleep* in between, since a process that asks whether it is held has it that long.
    The kernel drops the lock with the process, so nothing is left to clean after kill -9. The file itself
    stays: removing it would let two processes lock two files of the same name.
    """
    try:
        # A child that inherited the descriptor would hold the lock beyond the end of the run.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(
            f"the lock file {path} cannot be opened: {error.strerror}",
            hint="name a writable place with --state",
            is_temporary=error.errno in NO_SPACE,
        ) from None
    try:
        _lock(descriptor, path, sleep)
        # On a full disk the lock is held all the same.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, process_name(os.getpid(), socket.gethostname()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def batch_lock_holder(path: Path) -> str | None:
    """The process that holds the lock file *path*, None where none does; one that starts meanwhile still gets it.

    To ask is to hold the lock shared for a moment, which `hold_batch_lock` waits for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _signature(descriptor)
    finally:
        os.close(descriptor)
    return None


def _signature(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"


def _lock(descriptor: int, path: Path, sleep: Callable[[float], object]) -> None:
    try:
        _lock_soon(descriptor, sleep)
    except BlockingIOError:
        holder = _signature(descriptor)
        raise LockHeldError(
            f"another run works on this batch ({holder})",
            hint="wait for it, or stop it with SIGTERM; its state is safe",
        ) from None
    except OSError as error:
        raise JournalError(f"the lock file {path} cannot be locked: {error.strerror}") from None


def _lock_soon(descriptor: int, sleep: Callable[[float], object]) -> None:
    """Take the lock, waiting out processes that only ask whether it is held; raises BlockingIOError."""
    for _ in range(_TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        sleep(_MOMENT_SECONDS)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
