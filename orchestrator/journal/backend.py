"""The backend interface of the journal: a database, and the locks that keep two runs off the same batch.

The statements are SQL with named parameters (`:name`) that both SQLite and PostgreSQL understand
(`journal/statements.py`). Each backend defines how they are executed, where the data is kept and how a batch is
locked: `journal/sqlite.py` uses a file, and a lock file for each batch; `journal/postgres.py` uses a server that
several hosts share.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.presigned import PresignedUrl

T = TypeVar("T")

Row = dict[str, Any]


class Transaction(Protocol):
    """The transaction that an operation writes in; the backend may commit it together with other operations."""

    def execute(self, statement: str, row: Row) -> int:
        """Execute *statement* with the parameters of *row* and return how many rows it changed."""
        ...

    def select(self, query: str, row: Row) -> list[tuple[Any, ...]]:
        """Return all rows of *query* with the parameters of *row*."""
        ...

    def add_row(self, statement: str, row: Row) -> None:
        """Execute *statement* for *row* before the commit, together with all rows of the same statement."""
        ...

    def insert(self, table: str, row: Row) -> None:
        """Insert *row* before the commit, together with all rows of the same table and columns."""
        ...


#: A write. It may run in a thread and in one transaction with other operations, so it must do nothing but write. It
#: checks its guards before it changes anything: an OrchestratorError that it raises reaches only its own caller.
Operation = Callable[[Transaction], T]


class JournalHealth(NamedTuple):
    """The result of checking the journal at `place`.

    `version` is its schema version, 0 for an empty file. `damage` is the first complaint of its database, None if
    there is none. `upload_url` is an upload URL that is not used up, which shows where the store is.
    """

    place: str
    version: int
    damage: str | None
    upload_url: PresignedUrl | None


class Backend(Protocol):
    """The open database of one journal.

    *is_shared* is True if several hosts may open it: only facts about files that all hosts share may then be stored.
    """

    is_shared: bool

    async def upgrade(self, operation: Operation[None], newest: int) -> None:
        """Run *operation*, which upgrades the tables to version *newest*, while no other process upgrades them."""
        ...

    async def write(self, operation: Operation[T]) -> T:
        """Run *operation* in a transaction and return its result once it is durable.

        Raises the errors of the operation, and JournalError when the database fails.
        """
        ...

    def write_later(self, operation: Operation[None]) -> None:
        """Queue *operation* for the next commit; for records that no caller waits for."""
        ...

    async def flush(self) -> None:
        """Commit the operations queued by `write_later`; raises JournalError."""
        ...

    async def read(self, query: str, parameters: Row | None = None) -> list[tuple[Any, ...]]:
        """Return all rows of *query*, which sees one consistent state of the journal; raises JournalError.

        A boolean may be returned as 0 or 1.
        """
        ...

    def hold_batch(self, key: BatchKey) -> AbstractAsyncContextManager[None]:
        """Hold the batch's lock for the block; it is released as soon as its holder dies.

        Entering raises LockHeldError when another process holds the lock, and JournalError when it cannot be taken.
        """
        ...

    async def batch_holder(self, key: BatchKey) -> str | None:
        """Return the process that holds the batch's lock, or None; asking does not keep a new run from taking it."""
        ...

    def stop_waiting(self) -> None:
        """Stop waiting for an unreachable database: calls that need it fail from now on."""
        ...

    async def close(self) -> None:
        """Close the connections, once no write is under way."""
        ...


#: A URL with unambiguous parts; one with a character that belongs only in an encoded password does not match.
_PLAIN_URL = re.compile(
    r"""(?P<scheme>[a-z][a-z0-9+.-]*)://
        (?:(?P<user>[\w.%~-]+)(?::(?P<password>[^@/?\#\s]*))?@)?
        (?P<place>(?:(?:[\w.%-]+|\[[\da-f:.]+\])?(?::\d+)?,?)*(?:/[\w.%-]*)?)
        (?:\?(?P<query>[^@\#\s]*))?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def is_url(location: str) -> bool:
    """True when *location* names a database and cannot be a path."""
    return "://" in location


def is_shared(location: str) -> bool:
    """True when *location* names a database server, whose journal hosts can share; no other URL can hold one."""
    return location.startswith(("postgresql://", "postgres://"))


def shown(location: str) -> str:
    """Return *location* for display, without the password of a URL and without its query, which may hold one."""
    if not is_url(location):
        return location
    parts = _PLAIN_URL.fullmatch(location)
    if parts is None:
        return f"{location.split('://', 1)[0]}://..."
    user = f"{parts['user']}@" if parts["user"] else ""
    return f"{parts['scheme']}://{user}{parts['place']}{'?...' if parts['query'] else ''}"


def has_password(location: str) -> bool:
    """True when *location* holds a password, or may hold one because its parts are ambiguous."""
    if not is_url(location):
        return False
    parts = _PLAIN_URL.fullmatch(location)
    return parts is None or bool(parts["password"]) or "password=" in (parts["query"] or "").lower()
