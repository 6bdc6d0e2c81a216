"""The lock file of a batch: one run at a time, free at once when its holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.domain.errors import JournalError, LockHeldError
from orchestrator.journal.runs import process_name
from orchestrator.journal.sqlite.connections import NO_SPACE

#: A process that asks whether the lock is held has it for some microseconds.
_MOMENT_SECONDS = 0.005
_TRIES = 10


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
        _sign(descriptor)
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


def _sign(descriptor: int) -> None:
    """Write down which process holds the lock; on a full disk it is held all the same."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, process_name(os.getpid(), socket.gethostname()).encode(), 0)


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
