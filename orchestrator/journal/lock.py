"""The run lock: one run at a time on a batch, free at once when its holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.domain.errors import JournalError, LockHeldError
from orchestrator.journal.connections import NO_SPACE


@contextmanager
def hold_run_lock(path: Path) -> Iterator[None]:
    """Hold the lock file *path* for the block; raises LockHeldError at once when another process does.

    The kernel drops the lock with the process, so nothing is left to clean after kill -9. The file itself
    stays: removing it would let two processes lock two files of the same name.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(
            f"the lock file {path} cannot be opened: {error.strerror}",
            hint="name a writable place with --state",
            is_temporary=error.errno in NO_SPACE,
        ) from None
    try:
        _lock(descriptor, path)
        _sign(descriptor)
        yield
    finally:
        os.close(descriptor)


def _sign(descriptor: int) -> None:
    """Tell who holds the lock; on a full disk it is held all the same."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
        raise LockHeldError(
            f"another run works on this batch ({holder})",
            hint="wait for it, or stop it with SIGTERM; its state is safe",
        ) from None
    except OSError as error:
        raise JournalError(f"the lock file {path} cannot be locked: {error.strerror}") from None
