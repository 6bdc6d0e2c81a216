"""The door of the journal: what it asks of a database, and of what keeps two runs apart on one batch.

The statements are SQL with named parameters (`:name`) that SQLite and PostgreSQL understand alike
(`journal/statements.py`). How they get there, where the data is kept and how a batch is locked is the backend's own:
`journal/sqlite.py` is one, a file and a lock file for each batch; `journal/postgres.py` is a server that hosts share.
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
    """What an operation writes with; whether it is committed alone or with others is the backend's business."""

    def execute(self, statement: str, row: Row) -> int:
        """Execute *statement* with the parameters of *row* and return how many rows it changed."""
        ...

    def select(self, query: str, row: Row) -> list[tuple[Any, ...]]:
        """All rows of *query* with the parameters of *row*."""
        ...

    def add_row(self, statement: str, row: Row) -> None:
        """Execute *statement* for *row* before the commit, together with all rows of the same statement."""
        ...

    def insert(self, table: str, row: Row) -> None:
        """Insert *row* before the commit, together with all that have the same columns."""
        ...


#: May run in a thread and beside others, so it does nothing but write. It checks its guards before it changes
#: anything: an OrchestratorError it raises reaches its own caller only.
Operation = Callable[[Transaction], T]


class JournalHealth(NamedTuple):
    """Whether the journal at `place` can be used.

    `version` is its schema's, 0 for an empty file; `damage` what its database complains of first, None where all is
    well; `upload_url` one that is not used up, which shows where the store is.
    """

    place: str
    version: int
    damage: str | None
    upload_url: PresignedUrl | None


class Backend(Protocol):
    """An open database of one journal.

    *is_shared* is True where several hosts may have it open, so that only what they all see may be kept of files.
    """

    is_shared: bool

    async def upgrade(self, operation: Operation[None], newest: int) -> None:
        """Run *operation*, which brings the tables to version *newest*, while no other process does."""
        ...

    async def write(self, operation: Operation[T]) -> T:
        """Run *operation* in a transaction and return its result once it is durable.

        Raises what the operation raises, and JournalError when the database fails.
        """
        ...

    def write_later(self, operation: Operation[None]) -> None:
        """Queue *operation* to be committed with the next write; for records no caller waits for."""
        ...

    async def flush(self) -> None:
        """Commit what was queued by `write_later`; raises JournalError."""
        ...

    async def read(self, query: str, parameters: Row | None = None) -> list[tuple[Any, ...]]:
        """All rows of *query*, which sees one consistent state of the journal; raises JournalError.

        A boolean may come as 0 or 1.
        """
        ...

    def hold_batch(self, key: BatchKey) -> AbstractAsyncContextManager[None]:
        """Hold the lock of the batch for the block; it is free the moment its holder dies.

        Entering raises LockHeldError while another process holds it, and JournalError where it cannot be taken.
        """
        ...

    async def batch_holder(self, key: BatchKey) -> str | None:
        """The process that holds the batch, None where none does; one that starts meanwhile still gets it."""
        ...

    def stop_waiting(self) -> None:
        """Wait no more for a database that is away: what needs it from now on fails."""
        ...

    async def close(self) -> None:
        """Close the connections, once no write is under way."""
        ...


#: A URL whose parts are what they seem: with a character that only belongs into an encoded password it is none.
_PLAIN_URL = re.compile(
    r"""(?P<scheme>[a-z][a-z0-9+.-]*)://
        (?:(?P<user>[\w.%~-]+)(?::(?P<password>[^@/?\#\s]*))?@)?
        (?P<place>(?:(?:[\w.%-]+|\[[\da-f:.]+\])?(?::\d+)?,?)*(?:/[\w.%-]*)?)
        (?:\?(?P<query>[^@\#\s]*))?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def is_url(location: str) -> bool:
    """True for what names a database and never a path."""
    return "://" in location


def is_server(location: str) -> bool:
    """True for a database server that several hosts can share; other URLs name nothing that a journal can be in."""
    return location.startswith(("postgresql://", "postgres://"))


def shown(location: str) -> str:
    """*location* as people may see it: a URL may hold a password, and its query too."""
    if not is_url(location):
        return location
    parts = _PLAIN_URL.fullmatch(location)
    if parts is None:
        return f"{location.split('://', 1)[0]}://..."
    user = f"{parts['user']}@" if parts["user"] else ""
    return f"{parts['scheme']}://{user}{parts['place']}{'?...' if parts['query'] else ''}"


def has_password(location: str) -> bool:
    """True when *location* holds a password, or may hold one where it is not clear which part is what."""
    if not is_url(location):
        return False
    parts = _PLAIN_URL.fullmatch(location)
    return parts is None or bool(parts["password"]) or "password=" in (parts["query"] or "").lower()
