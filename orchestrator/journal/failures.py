"""The database's exceptions as the journal's errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from orchestrator.domain.errors import JournalError


@contextmanager
def translated(path: Path | None = None) -> Iterator[None]:
    """Raise JournalError, with a sentence that tells what to do, for what the database raises in the block."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _journal_error(error, path) from None


def _journal_error(error: SQLAlchemyError | sqlite3.Error, path: Path | None) -> JournalError:
    cause = error.orig if isinstance(error, DBAPIError) else error
    name = getattr(cause, "sqlite_errorname", "")
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
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return JournalError(
            f"{where} is not a readable journal (damaged, or another kind of file)",
            hint="name another place with --state; jobs already made are found by their tags",
        )
    if name.startswith("SQLITE_IOERR"):
        return JournalError(
            f"{where} cannot be written: the disk reports an error",
            hint="check the disk and run again; nothing is lost",
            is_temporary=True,
        )
    text = str(cause) if isinstance(cause, sqlite3.Error) else type(error).__name__
    return JournalError(f"{where} failed: {text}")
