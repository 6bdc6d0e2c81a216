"""A journal in a SQLite file: connections, the translation of SQLite's errors, and the lock file of each batch.

The file is always opened under the same name, whichever links lead to it.
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
#: Disk errors that pass once there is space again.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
#: A process that checks whether the lock is held takes it for some microseconds.
_MOMENT_SECONDS = 0.005
_TRIES = 10


class SqliteBackend(GroupCommit):
    """The group commit on one file, with lock files next to it."""

    def __init__(self, path: Path, writer: SqliteConnection) -> None:
        super().__init__(str(path), Readers(lambda: connect(path)), writer, sqlite3.Error, _journal_error)
        self._path = path

    async def upgrade(self, operation: Operation[None], newest: int) -> None:
        """Run *operation*, which itself checks what the file lacks of the *newest* version."""
        await self.write(operation)

    @asynccontextmanager
    async def hold_batch(self, key: BatchKey) -> AsyncIterator[None]:
        """Hold the batch's lock file, which is next to the journal."""
        with hold_batch_lock(self._lock_path(key)):
            yield

    async def batch_holder(self, key: BatchKey) -> str | None:
        """Return the process that holds the batch's lock file; None if there is none."""
        return batch_lock_holder(self._lock_path(key))

    def _lock_path(self, key: BatchKey) -> Path:
        return self._path.with_name(f"{self._path.name}.{key.digest}.lock")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise JournalError, with a hint, for any error that SQLite raises in the block."""
    try:
        yield
    except sqlite3.Error as error:
        raise _journal_error(error, path) from None


def _journal_error(error: sqlite3.Error, path: Path | None = None) -> JournalError:
    name = getattr(error, "sqlite_errorname", "")
    # This error is the driver's own, and quotes the text that it could not decode.
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
    """Open the SQLite file at *location*, created with mode 0600 if it is new; one behind a link keeps its mode.

    Raises ConfigurationError for a location that cannot be a path, and JournalError, both with a hint.
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


#: The first few complaints show what is broken; thousands may follow.
_DAMAGES = 3


def examine_file(path: Path) -> JournalHealth:
    """Check the journal at *path* without writing to it, even while a run works on it.

    Raises JournalError for a file that is not a database, or is another program's.
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
        url = None
        with suppress(sqlite3.Error, ValueError, TypeError):
            row = connection.execute("SELECT url FROM segments WHERE url IS NOT NULL LIMIT 1").fetchone()
            url = PresignedUrl(row[0]) if row else None
        return JournalHealth(place, int(version or 0), None, url)


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Open *path* so that SQLite creates no file next to it.

    Without a write-ahead log no process has the journal open, and it is read as it stands. A log must be read, too;
    its index, which exists next to it, is shared with the writer.
    """
    mode = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"file:{quote_url(str(path))}?{mode}", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    return connection


class SqliteConnection(sqlite3.Connection):
    """The driver's own connection, with the few calls that differ between databases."""

    #: A file does not go away as a server does; each statement reports disk errors by itself.
    is_lost = False

    def begin(self) -> None:
        """Begin a transaction and take the write lock: upgrading a read lock later could fail half-way."""
        self.execute("BEGIN IMMEDIATE")

    def roll_back(self) -> None:
        """End the transaction; after some errors SQLite has already done so."""
        with suppress(sqlite3.Error):
            if self.in_transaction:
                self.execute("ROLLBACK")


def connect(path: Path) -> SqliteConnection:
    """Open the journal; transactions are left to the caller, and durable. Raises SQLite's errors."""
    # By default the driver opens transactions itself, but takes the lock only at their first write.
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, factory=SqliteConnection
    )
    try:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        # In this mode readers and the writer do not wait for each other.
        connection.execute("PRAGMA journal_mode=WAL")
        # In WAL mode less than FULL may lose the last commits in a power failure: their segments would be sent twice.
        connection.execute("PRAGMA synchronous=FULL")
        # Off by default; through them the deletion of a batch deletes its rows.
        connection.execute("PRAGMA foreign_keys=ON")
        # Upload URLs are secrets: deleted data is overwritten, not only unlinked.
        connection.execute("PRAGMA secure_delete=ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def refuse_other_programs(path: Path) -> None:
    """Raise JournalError for a database with tables but without the journal's table of migrations; only reads."""
    names: set[str] = set()
    if path.is_file() and path.stat().st_size:
        # Any other fault of the file is reported when the journal is opened.
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if names and MIGRATIONS_TABLE not in names:
        raise JournalError(
            f"{path} is a database of another program, not a journal",
            hint="name another place with --state; nothing in it was changed",
        )


class JournalFile(NamedTuple):
    """The file of a journal; *is_linked* if a symbolic link leads to it, so that others may share it on purpose."""

    path: Path
    exists: bool
    is_linked: bool


def find_journal(location: str) -> JournalFile:
    """Return the journal file for *location*, a path to a file or a directory.

    Raises ConfigurationError if there is no home directory for `~`, JournalError for a path that cannot be used.
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
        # A path that is too long may have thousands of characters.
        short = location if len(location) <= 200 else f"{location[:200]}..."
        reason = error.strerror if isinstance(error, OSError) else "no path has a NUL character"
        raise JournalError(f"the journal {short} cannot be opened: {reason}", hint=_HOW_TO_NAME) from None
    return JournalFile(path, exists=status is not None, is_linked=is_linked)


def _one_name(path: Path, status: os.stat_result) -> Path:
    """Return the name, among the file's hard links, that its write-ahead log has; the first name if there is no log.

    SQLite finds the log by the name of the file. Opened under another name, the journal would lack the contents of
    the log, and two processes would ignore each other's writes. Raises JournalError if a name is in another folder or
    if several names have a log.
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
    """Create the file with mode 0600, and its folder, unless they exist; an existing file of this user gets the mode.

    A file behind a symbolic link may be shared on purpose, and keeps its mode. Raises JournalError.
    """
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(descriptor)
            # The permissions of a device concern the whole machine, so they must not be changed.
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
    """Hold the lock file *path* for the block; raises LockHeldError when another process holds it.

    Taking the lock is retried for a moment, with *sleep* in between: a process that only checks the lock holds it
    briefly. The kernel releases the lock when the process ends, so kill -9 leaves nothing to clean up. The file
    itself stays: removing it would let two processes lock two files of the same name.
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
        # On a full disk the name is not written, but the lock is held.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, process_name(os.getpid(), socket.gethostname()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def batch_lock_holder(path: Path) -> str | None:
    """Return the process that holds the lock file *path*, or None; asking does not keep a new run from taking it.

    The check takes the lock in shared mode for a moment, which `hold_batch_lock` waits out.
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
    """Take the lock, and wait out processes that only check whether it is held; raises BlockingIOError."""
    for _ in range(_TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        sleep(_MOMENT_SECONDS)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
