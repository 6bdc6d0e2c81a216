"""Records in one SQLite file that survive a kill -9 of the simulator."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_LOCK_SECONDS = 0.5
Document = dict[str, Any]


class Records:
    """A store of documents by collection and key; a write has reached the operating system when the call returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # One thread: writes reach the file in the order of the calls, and never concurrently.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="simulator-records")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Create or open the file; raise OSError if that fails or another simulator uses it."""
        self._connection = await self._run(self._connect)

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._open_file()
        except sqlite3.Error as error:
            raise OSError(f"The simulator cannot keep its state in {self._path}: {error}.") from error

    def _open_file(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=_LOCK_SECONDS
        )
        # A second simulator on the same state is refused; a kill -9 releases the lock at once.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        # The records must survive a crash of the simulator, not of the machine: no fsync.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS record (collection TEXT, key TEXT, document TEXT NOT NULL,"
            " PRIMARY KEY (collection, key)) WITHOUT ROWID"
        )
        return connection

    async def load(self, collection: str) -> list[tuple[str, Document]]:
        """Return all keys and documents of the collection."""
        rows = await self._execute("SELECT key, document FROM record WHERE collection = ?", (collection,))
        return [(key, json.loads(document)) for key, document in rows]

    async def put(self, collection: str, key: str, document: Document) -> None:
        """Write or replace one document."""
        row = (collection, key, json.dumps(document))
        await self._execute("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", row)

    async def delete(self, collection: str, key: str) -> None:
        """Delete one document."""
        await self._execute("DELETE FROM record WHERE collection = ? AND key = ?", (collection, key))

    async def close(self) -> None:
        """Close the file; may be called repeatedly. Nothing can be written afterwards."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._run(connection.close)
        self._thread.shutdown(wait=False)

    async def _execute(self, statement: str, parameters: Iterable[str]) -> list[Any]:
        def execute() -> list[Any]:
            if self._connection is None:
                raise RuntimeError("the records are not open")
            return self._connection.execute(statement, tuple(parameters)).fetchall()

        return await self._run(execute)

    async def _run(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)
