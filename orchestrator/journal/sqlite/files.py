"""The files of a journal: one by one name, whatever links lead to it, and the lock file of each batch beside it."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from orchestrator.domain.errors import ConfigurationError, JournalError, LockHeldError
from orchestrator.journal.history import process_name

FILE_NAME = "journal.db"
_HOW_TO_NAME = "give --state the path of a file or a directory"
#: Errors of the disk that pass once there is space again.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
#: A process that asks whether the lock is held has it for some microseconds.
_MOMENT_SECONDS = 0.005
_TRIES = 10


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
