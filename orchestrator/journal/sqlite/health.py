"""A look at a journal's file that changes nothing, whatever state it is in."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from orchestrator.domain.errors import JournalError
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.journal.backend import JournalHealth
from orchestrator.journal.migrations import MIGRATIONS_TABLE
from orchestrator.journal.sqlite.connections import BUSY_TIMEOUT_MS
from orchestrator.journal.sqlite.group_commit import translated

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
    read too, and its index, which exists beside it, is shared with whoever writes.
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
