"""The door of the journal: what it asks of a database, and of what keeps two runs apart on one batch.

The statements are SQL with named parameters (`:name`) that SQLite and PostgreSQL understand alike
(`journal/statements.py`). How they get there, where the data is kept and how a batch is locked is the backend's own:
`journal/sqlite/` is one, a file and a lock file for each batch.
"""

from __future__ import annotations

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
    """An open database of one journal."""

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

    async def close(self) -> None:
        """Close the connections, once no write is under way."""
        ...


def is_url(location: str) -> bool:
    """True for what names a database and never a path."""
    return "://" in location


def shown(location: str) -> str:
    """*location* as people may see it: a URL may hold a password."""
    return f"{location.split('://', 1)[0]}://..." if is_url(location) else location
