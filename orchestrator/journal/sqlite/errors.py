"""The database's exceptions as the journal's errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.domain.errors import JournalError
from orchestrator.journal.shapes import DAMAGE_HINT


@contextmanager
def translated(path: Path | None = None) -> Iterator[None]:
    """Raise JournalError, with a sentence that tells what to do, for what the database raises in the block."""
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
