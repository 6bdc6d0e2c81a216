"""Connections, transactions and the group commit that all writers of a journal share, for any database."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import anyio
from anyio import to_thread

from orchestrator.domain.errors import JournalError, OrchestratorError
from orchestrator.journal.backend import Operation, Row
from orchestrator.journal.statements import insert_into

T = TypeVar("T")

MAX_GROUP = 256
#: Minimum spacing of commits while several writers share them: a commit costs as much CPU time as several requests.
COMMIT_INTERVAL_SECONDS = 0.008
#: After this many lone commits in a row, stop waiting for other writers.
LONE_COMMITS = 8
#: The maximum number of concurrent queries.
READERS = 2


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """The number of changed rows."""

    def fetchall(self) -> list[Any]:
        """Return all rows that the statement found."""


class Connection(Protocol):
    """A connection that leaves transactions to its caller; its methods raise the driver's errors."""

    @property
    def is_lost(self) -> bool:
        """True when the connection to the database is lost and can no longer be used."""

    def begin(self) -> object:
        """Begin a transaction that may write."""

    def execute(self, statement: str, row: Row = ..., /) -> Cursor:
        """Execute *statement* with the parameters of *row*."""

    def executemany(self, statement: str, rows: Sequence[Row], /) -> Cursor:
        """Execute *statement* once for each of *rows*."""

    def commit(self) -> None:
        """Make the transaction durable."""

    def roll_back(self) -> None:
        """Undo and end the transaction; raises nothing, whatever state the connection is in."""

    def close(self) -> None:
        """Close the connection."""


class Readers:
    """A pool of connections for reading, opened on demand and reused."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._idle: list[Connection] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def read(self, query: str, parameters: Row) -> list[tuple[Any, ...]]:
        """Return all rows of *query*, which sees one consistent state; blocks, and raises the driver's errors."""
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        connection = idle or self._connect()
        try:
            return connection.execute(query, parameters).fetchall()
        finally:
            with self._lock:
                is_kept = not (self._is_closed or connection.is_lost)
                if is_kept:
                    self._idle.append(connection)
            if not is_kept:
                connection.close()

    def close(self) -> None:
        """Close all connections; one that is in use is closed when it is given back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class GroupTransaction:
    """A transaction on a connection, with rows that share statements with those of other writers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: dict[str, list[Row]] = {}

    def execute(self, statement: str, row: Row) -> int:
        """Execute *statement* with the parameters of *row* and return how many rows it changed."""
        return self._connection.execute(statement, row).rowcount

    def select(self, query: str, row: Row) -> list[tuple[Any, ...]]:
        """Return all rows of *query* with the parameters of *row*."""
        return self._connection.execute(query, row).fetchall()

    def add_row(self, statement: str, row: Row) -> None:
        """Execute *statement* for *row* before the commit, together with all rows of the same statement."""
        self._rows.setdefault(statement, []).append(row)

    def insert(self, table: str, row: Row) -> None:
        """Insert *row* before the commit, together with all rows of the same table and columns."""
        self.add_row(insert_into(table, tuple(row)), row)

    def execute_rows(self) -> None:
        """Execute the statements of the rows that were added."""
        for statement, rows in self._rows.items():
            self._connection.executemany(statement, rows)
        self._rows.clear()


@contextmanager
def transaction(connection: Connection) -> Iterator[GroupTransaction]:
    """Commit everything that the block writes, or nothing; raises the driver's errors."""
    connection.begin()
    try:
        begun = GroupTransaction(connection)
        yield begun
        begun.execute_rows()
        connection.commit()
    except BaseException:
        # roll_back raises nothing: the first error is the one that counts.
        connection.roll_back()
        raise


class LostConnectionError(JournalError):
    """A lost connection to the database; a commit in flight may or may not have succeeded."""


@dataclass(slots=True, eq=False)
class Pending(Generic[T]):
    """A queued write; the committing thread settles it, then the event loop finishes it."""

    operation: Operation[T]
    is_settled: bool = False
    is_finished: bool = False
    result: T | None = None
    error: Exception | None = None
    #: Set while the writer waits; done when the operation is finished or when the writer is to lead.
    wake: asyncio.Future[None] | None = None

    def settle(self, error: Exception | None = None) -> None:
        """Mark the write as durable, or as failed with *error*."""
        self.is_settled = True
        self.error = self.error if error is None else error

    def finish(self) -> None:
        """Wake up the writer."""
        self.is_finished = True
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)


class GroupCommit:
    """One connection for all writers, which share commits, and a few for readers; a backend adds its locks.

    Concurrent writers form a queue. One of them leads: it commits for all of them in one transaction and one thread
    hop: many entries share one fsync. Each write returns only when it is durable, and all are woken at once.

    *driver_error* is the base class of the driver's errors. *meaning* turns such an error into a JournalError, or a
    LostConnectionError if the connection is lost. In that case the leader uses `_reconnect` to find out whether the
    group was committed, before anything else is written.
    """

    is_shared = False

    def __init__(
        self,
        place: str,
        readers: Readers,
        writer: Connection,
        driver_error: type[Exception],
        meaning: Callable[[Any], JournalError],
    ) -> None:
        self._place = place
        self._readers = readers
        self.writer = writer
        self._driver_error = driver_error
        self._meaning = meaning
        self._queue: list[Pending[Any]] = []
        self._has_leader = False
        self._committed_at = -math.inf
        self._lone_commits = LONE_COMMITS
        #: The operations of the transaction begun last, until they are settled.
        self._under_way: list[Pending[Any]] = []
        #: The error that left it unknown whether they were committed; None if it is known.
        self._doubt: LostConnectionError | None = None
        self._thread = anyio.CapacityLimiter(1)
        self._reading = anyio.CapacityLimiter(READERS)
        #: Held by the writing thread, which keeps running when its task is cancelled by force.
        self.in_use = threading.Lock()

    def __repr__(self) -> str:
        state = "connection lost" if self._doubt else "a leader commits" if self._has_leader else "idle"
        return (
            f"<{type(self).__name__} {self._place}: {len(self._queue)} writes queued,"
            f" {state}, {self._lone_commits} lone commits>"
        )

    async def write(self, operation: Operation[T]) -> T:
        """Run *operation* in the next transaction; an error that it raises does not affect other writes."""
        pending = Pending(operation)
        self._queue.append(pending)
        if self._has_leader:
            await self._follow(pending)
        if not pending.is_finished:
            await self._lead(pending)
        if pending.error is not None:
            raise pending.error
        return pending.result  # type: ignore[return-value]  # T may be None

    async def _follow(self, pending: Pending[T]) -> None:
        """Wait until *pending* is finished or its writer is to lead."""
        pending.wake = asyncio.get_running_loop().create_future()
        try:
            await pending.wake
        except asyncio.CancelledError:
            if not (pending.wake.cancelled() or pending.is_finished):
                self._hand_over()
            raise

    async def _lead(self, pending: Pending[T]) -> None:
        """Commit until *pending* is finished, then leave the rest to another writer."""
        self._has_leader = True
        try:
            while not pending.is_finished:
                if self._doubt is not None:
                    # Not shielded, as it may take minutes: a cancelled writer leaves the wait to the next one.
                    await self._resolve(self._doubt)
                else:
                    with anyio.CancelScope(shield=True):
                        await self._commit_group()
        finally:
            self._hand_over()

    def _hand_over(self) -> None:
        """Make the first waiting writer the leader."""
        waiting = (each.wake for each in [*self._under_way, *self._queue])
        next_leader = next((wake for wake in waiting if wake and not wake.done()), None)
        self._has_leader = next_leader is not None
        if next_leader is not None:
            next_leader.set_result(None)

    def write_later(self, operation: Operation[None]) -> None:
        """Queue *operation* for the next commit."""
        self._queue.append(Pending(operation))

    async def flush(self) -> None:
        """Commit the operations queued by `write_later`."""
        while self._queue or self._doubt:
            await self.write(lambda _: None)

    def stop_waiting(self) -> None:
        """Do nothing; a backend whose database can go away and come back overrides this."""

    async def close(self) -> None:
        """Close the connections once no thread writes."""
        # Blocks instead of awaiting, so that a cancelled task still closes its journal.
        with self.in_use:
            self.writer.close()
        self._readers.close()

    async def read(self, query: str, parameters: Row | None = None) -> list[tuple[Any, ...]]:
        """Return all rows of *query* as the driver returns them: booleans may be 0 and 1."""
        try:
            # One hop into a thread for the whole query: a driver that hops for every call needs six.
            read = self._readers.read
            return await to_thread.run_sync(read, query, parameters or {}, limiter=self._reading)
        except self._driver_error as error:
            raise self._meaning(error) from None

    async def _commit_group(self) -> None:
        distance = COMMIT_INTERVAL_SECONDS if self._lone_commits < LONE_COMMITS else 0
        await anyio.sleep(max(self._committed_at + distance - time.monotonic(), 0))
        group, self._queue = self._queue[:MAX_GROUP], self._queue[MAX_GROUP:]
        try:
            await to_thread.run_sync(self._commit, group, limiter=self._thread)
        except LostConnectionError as error:
            self._doubt = error
            # The operations of the lost transaction are settled first; the rest of the group goes back to the queue.
            self._queue[:0] = [each for each in group if not (each.is_settled or each in self._under_way)]
        except BaseException:
            for pending in group:
                pending.settle(JournalError("the journal could not be written: the writer was interrupted"))
            raise
        finally:
            self._finish_settled(group)
            self._committed_at = time.monotonic()
            self._lone_commits = 0 if len(group) > 1 else self._lone_commits + 1

    def _finish_settled(self, group: list[Pending[Any]]) -> None:
        for pending in group:
            if pending.is_settled:
                pending.finish()

    async def _resolve(self, doubt: LostConnectionError) -> None:
        """Reconnect and settle the group in flight; if reconnecting fails, all waiting writes fail."""
        try:
            is_committed = await self._reconnect(doubt)
        except JournalError as error:
            group, self._under_way, self._queue = [*self._under_way, *self._queue], [], []
            for pending in group:
                pending.settle(error)
        else:
            group, self._under_way = self._under_way, []
            self._doubt = None
            if is_committed:
                for pending in group:
                    pending.settle()
            else:
                self._queue[:0] = group
        self._finish_settled(group)

    async def _reconnect(self, lost: LostConnectionError) -> bool:
        """Reconnect the writer, and return whether the interrupted transaction has been committed.

        Raises JournalError when it gives up, or when the backend has no way to reconnect.
        """
        raise lost

    def _commit(self, group: list[Pending[Any]]) -> None:
        """Commit *group* in one transaction; if that fails, commit each operation in its own.

        A failure of the disk or of a lock is not retried that way: each operation would wait as long and fail, too.
        """
        try:
            self._commit_together(group)
        except LostConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever broke, every waiting writer must get the error
            if len(group) == 1 or (isinstance(error, JournalError) and error.is_temporary):
                for pending in group:
                    pending.settle(error)
                return
            for pending in group:
                self._commit([pending])

    def _commit_together(self, group: list[Pending[Any]]) -> None:
        self._under_way = group
        try:
            with self.in_use, transaction(self.writer) as begun:
                for pending in group:
                    pending.error = None
                    # A failed guard concerns only its own writer; the other writes are committed with this group.
                    try:
                        pending.result = pending.operation(begun)
                    except OrchestratorError as error:
                        pending.error = error
        except self._driver_error as error:
            raise self._meaning(error) from None
        for pending in group:
            pending.is_settled = True
        self._under_way = []
