"""A cache of measurements of files, so that the next run need not repeat them.

It is only a cache: after any error the file is measured again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from orchestrator.domain.assets import Fingerprint

#: Incremented whenever the rules, or the measurements for them, change.
RULES_VERSION = 1
#: A file modified more recently than this may change again without a change of its modification time.
_YOUNG_NANOSECONDS = 2 * 10**9
#: Enough for some hundred thousand films. A larger cache is emptied.
_MAX_BYTES = 256 * 1024**2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS known (
    kind TEXT NOT NULL, file TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, file)
) WITHOUT ROWID
"""


def cache_path() -> Path | None:
    """Return the path of the cache in the user's cache directory; None when no home directory is known."""
    try:
        folder = user_cache_path("metastudio-orchestrator")
    except RuntimeError:
        return None
    return folder / "preflight.cache" if folder.is_absolute() else None


class Cache:
    """Values by kind and file; a file is identified by its device, inode, size and modification time.

    It may be used by several threads and several processes at once. It never raises.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_path()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._is_usable = self._path is not None

    def get(self, kind: str, status: os.stat_result) -> dict[str, Any] | None:
        """Return the value for the file with *status*, or None."""
        rows = self._run("SELECT value FROM known WHERE kind = ? AND file = ?", _key(kind, status))
        return _value(rows)

    def find(self, kind: str, fingerprint: Fingerprint) -> dict[str, Any] | None:
        """Return the value for a file with *fingerprint* on any device, or None; the file may be missing."""
        size, mtime_ns = fingerprint[:2]
        inode = fingerprint.inode or "%"
        rows = self._run(
            "SELECT value FROM known WHERE kind = ? AND file LIKE ?",
            (f"{kind}/{RULES_VERSION}", f"%:{inode}:{size}:{mtime_ns}"),
        )
        return _value(rows)

    def put(self, kind: str, status: os.stat_result, value: dict[str, Any]) -> None:
        """Store *value* for the file with *status*, unless the file was modified in the last two seconds."""
        if time.time_ns() - status.st_mtime_ns < _YOUNG_NANOSECONDS:
            return
        self._run("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", (*_key(kind, status), json.dumps(value)))

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _run(self, statement: str, values: tuple[str, ...]) -> list[Any]:
        with self._lock:
            if self._path is None or not self._is_usable:
                return []
            try:
                if self._connection is None:
                    self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    try:
                        self._connection = _opened(self._path)
                    except sqlite3.DatabaseError as error:
                        if isinstance(error, sqlite3.OperationalError):
                            raise
                        self._path.unlink()  # not a database: nothing in it is worth keeping
                        self._connection = _opened(self._path)
                return self._connection.execute(statement, values).fetchall()
            except (sqlite3.Error, OSError):
                # On a full disk, a read-only directory or a damaged file, work continues without the cache.
                self._is_usable = False
                return []


def _value(rows: list[Any]) -> dict[str, Any] | None:
    try:
        value = json.loads(rows[0][0]) if rows else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _key(kind: str, status: os.stat_result) -> tuple[str, str]:
    file = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
    return f"{kind}/{RULES_VERSION}", file


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
    try:
        path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        # A cache that a power failure damages is recreated, so writes need not wait for the disk.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(_SCHEMA)
        if path.stat().st_size > _MAX_BYTES:
            connection.execute("DELETE FROM known")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
