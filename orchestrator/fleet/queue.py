"""The queue: PgQueuer's tables next to the journal, from which workers take entries.

The journal decides, the queue only suggests. With a row too many, a worker finds nothing to do; a missing row is put
back by the sweep. The journal's epoch and the hold, which the row's heartbeat renews, decide which worker acts for an
entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Final, NamedTuple, TypeVar

import psycopg
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.models import Job, TableChangedEvent, TracebackRecord, utc_now
from pgqueuer.domain.types import JOB_STATUS, Channel, JobId, QueueEntrypoint, QueueManagerId
from pgqueuer.ports.driver import NotifyCallback
from pgqueuer.ports.repository import EntrypointExecutionParameter

from orchestrator.engine.entry import Hold, awake_and_asleep
from orchestrator.fleet.presence import (
    CREATE_WORKERS,
    STALE_SECONDS,
    WORKERS_TABLE,
    WorkerIdentity,
    untried_hosts_query,
)
from orchestrator.fleet.rate_limit import CREATE_TABLE
from orchestrator.fleet.requirements import not_installed
from orchestrator.journal.group_commit import LostConnectionError
from orchestrator.journal.postgres import SET_UP_SESSION, Patience, connection_string
from orchestrator.journal.postgres_errors import later_error, translated

T = TypeVar("T")

#: The maximum number of rows that one statement writes.
_ROWS_AT_ONCE: Final = 1000
#: The delay before an entry is given out again after its handler crashed.
_AFTER_CRASH: Final = timedelta(seconds=60)
#: The timeout with which no heartbeat is too old, and no worker counts as dead.
_NEVER: Final = timedelta(days=36_500)
#: Whether an interrupted statement may be executed again as it stands.
_may_repeat: ContextVar[bool] = ContextVar("may_repeat", default=True)
_SECONDS_UP: Final = "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8"
#: How long the log of an ended row is kept for lookups.
_LOG_KEPT: Final = timedelta(days=1)
#: The number of log rows deleted by one statement: heartbeats must not wait for long.
_FORGOTTEN_AT_ONCE: Final = 10_000
_ENTRY: Final = "convert_from(candidate.payload, 'UTF8')"
_LEFT: Final = (
    f"EXISTS (SELECT FROM handbacks WHERE batch = candidate.entrypoint AND entry_id = {_ENTRY} AND host = $6)"
    f" AND EXISTS ({untried_hosts_query('candidate.entrypoint', _ENTRY, host='$6', scope='$7', silent='$8')})"
)
#: PgQueuer's dequeue without the limits that a fleet does not use: for the batches $1, at most $2 rows, and at most
#: $5 together with those that the worker $3 already has. A row is left to other hosts if this host has handed its
#: entry back and another live host has not tried it. The journal has that information, so this query checks it, and
#: not the worker after it has taken the row.
_TAKE: Final = f"""WITH waiting AS (
    SELECT found.id, found.priority FROM unnest($1::text[]) AS batch CROSS JOIN LATERAL (
        SELECT id, priority FROM {{queue}} AS candidate
        WHERE entrypoint = batch AND status = 'queued' AND execute_after < now() AND NOT ({_LEFT})
        ORDER BY priority DESC, id LIMIT $2 FOR UPDATE SKIP LOCKED) AS found),
silent AS (
    SELECT id, priority FROM {{queue}} AS candidate
    WHERE entrypoint = ANY($1) AND status = 'picked' AND heartbeat < now() - $4::interval
        AND execute_after < now() AND NOT ({_LEFT})
    ORDER BY priority DESC, id LIMIT $2 FOR UPDATE SKIP LOCKED),
taken AS (
    UPDATE {{queue}} SET status = 'picked', updated = now(), heartbeat = now(), queue_manager_id = $3
    WHERE id IN (
        SELECT id FROM (SELECT * FROM waiting UNION ALL SELECT * FROM silent) AS both_kinds
        ORDER BY priority DESC, id LIMIT greatest(least($2, $5 -
            (SELECT count(*) FROM {{queue}} WHERE queue_manager_id = $3 AND entrypoint = ANY($1))), 0))
    RETURNING *),
logged AS (
    INSERT INTO {{log}} (job_id, status, entrypoint, priority) SELECT id, status, entrypoint, priority FROM taken)
SELECT * FROM taken ORDER BY priority DESC, id"""


class WaitingDriver(PsycopgDriver):
    """PgQueuer's driver on a connection that is reopened after the server was unreachable.

    It polls, because with LISTEN each query of PgQueuer's own driver may wait a second for the listener.
    """

    def __init__(
        self,
        conninfo: str,
        connection: psycopg.AsyncConnection,
        server_seconds: float,
        monotonic: Callable[[], float] = awake_and_asleep,
    ) -> None:
        super().__init__(connection)
        self._conninfo = conninfo
        self._opening = asyncio.Lock()
        #: The patience with the server; its callbacks report each absence.
        self.patience = Patience()
        self.monotonic = monotonic
        self.there_since = monotonic() - server_seconds

    @property
    def seconds_there(self) -> float:
        """How long the server has been reachable without a break, as far as this process knows."""
        return self.monotonic() - self.there_since

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Return all rows of *query*; raises JournalError when the server is unreachable for too long."""
        return await self._patiently(lambda: PsycopgDriver.fetch(self, query, *args))

    async def execute(self, query: str, *args: object) -> str:
        """Execute *query*; raises as `fetch` does."""
        return await self._patiently(lambda: PsycopgDriver.execute(self, query, *args))

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Keep *callback* for `notify`."""
        self._listeners.setdefault(channel, []).append(callback)

    async def remove_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Remove *callback*."""
        self._listeners.get(channel, []).remove(callback)

    async def notify(self, channel: str, payload: str) -> None:
        """Call the listeners of this process; PgQueuer uses this to check that its listener works."""
        for callback in self._listeners.get(channel, []):
            callback(payload)

    def stop_waiting(self) -> None:
        """Stop waiting for an unreachable server: calls that need it fail from now on."""
        self.patience.end()

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                with translated(later_error):
                    result = await call()
            except LostConnectionError as lost:
                await self._open_again(lost)
                if not _may_repeat.get():
                    raise
            else:
                self.patience.succeed()
                return result

    async def _open_again(self, lost: LostConnectionError) -> None:
        async with self._opening:
            while self._connection.closed:
                await self.patience.wait(lost)
                try:
                    with translated(later_error):
                        self._connection = await _connected(self._conninfo)
                    self.there_since = self.monotonic()
                except LostConnectionError as error:
                    lost = error


async def _connected(conninfo: str) -> psycopg.AsyncConnection:
    connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
    try:
        await connection.execute(SET_UP_SESSION, prepare=False)
    except BaseException:
        await connection.close()
        raise
    return connection


class QueueItem(NamedTuple):
    """An entry to work on."""

    batch: str
    entry_id: str

    @property
    def key(self) -> str:
        """The deduplication key: the queue has at most one row with it."""
        return f"{self.batch}:{self.entry_id}"


def queue_item_of(job: Job) -> QueueItem:
    """Return the entry of a row of the queue."""
    return QueueItem(job.entrypoint, (job.payload or b"").decode())


class OwnedQueries(Queries):
    """PgQueuer's queries, changed so that a worker can change only rows that it has.

    PgQueuer's own queries would let a worker that was frozen, and has lost its rows, refresh and delete them after
    other workers have taken them.
    """

    driver: WaitingDriver

    def __init__(self, driver: WaitingDriver) -> None:
        super().__init__(driver)
        #: The id of the QueueManager that takes rows, and its identity; None and empty until a worker sets them.
        self.taker: object = None
        self.identity = WorkerIdentity(host="", scope="")
        #: Called each time before rows are taken.
        self.may_take: Callable[[], bool] = lambda: True
        #: The batches to query, among those registered with PgQueuer; None queries all. Each one costs time.
        self.open_batches: Collection[str] | None = None
        #: Stops waiting for an unreachable server: calls that need it raise JournalError from now on.
        self.stop_waiting = driver.stop_waiting
        self.holds: dict[JobId, Hold] = {}
        #: When each taken row was requested: by this process's clock its heartbeat is not older.
        self._asked_at: dict[JobId, float] = {}

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[Job]:
        """Take rows as PgQueuer does, but none while `may_take` forbids it, and none that are left to other hosts.

        It takes over no rows of other workers shortly after the server has come back: no worker could renew its holds
        while the server was unreachable. Until the heartbeat timeout has passed, a missing heartbeat means nothing.
        """
        if self.open_batches is not None:
            entrypoints = {name: each for name, each in entrypoints.items() if name in self.open_batches}
        if not entrypoints or not self.may_take():
            return []
        if self.driver.seconds_there < heartbeat_timeout.total_seconds():
            heartbeat_timeout = _NEVER
        asked_at = awake_and_asleep()
        may_repeat = _may_repeat.set(False)
        try:
            tables = self.qbq.qualified
            rows = await self.driver.fetch(
                _TAKE.format(queue=tables.queue_table, log=tables.queue_table_log),
                list(entrypoints),
                batch_size,
                queue_manager_id,
                heartbeat_timeout,
                global_concurrency_limit,
                *self._alive,
            )
        except LostConnectionError:
            # The server is back; the next poll decides again which rows to take over.
            return []
        finally:
            _may_repeat.reset(may_repeat)
        jobs = [Job.model_validate(row) for row in rows]
        self._asked_at.update((job.id, asked_at) for job in jobs)
        return jobs

    @property
    def _alive(self) -> tuple[str, str, float]:
        """The arguments of `untried_hosts_query`: this host, its scope, and how long a live worker may be silent."""
        is_known = self.driver.seconds_there >= STALE_SECONDS
        silent = timedelta(seconds=STALE_SECONDS) if is_known else _NEVER
        return self.identity.host, self.identity.scope, silent.total_seconds()

    async def has_untried_hosts(self, wanted: QueueItem) -> bool:
        """True when another live host works on the entry's batch and has not handed the entry back."""
        query = (
            f"SELECT EXISTS ({untried_hosts_query('$1', '$2', host='$3', scope='$4', silent='$5')}) AS found"
        )
        (row,) = await self.driver.fetch(query, *wanted, *self._alive)
        return bool(row["found"])

    @contextmanager
    def holding(self, job_id: JobId, seconds: float) -> Iterator[Hold]:
        """Provide the hold that a taken row gives for *seconds*.

        Within the block each heartbeat of the row renews the hold, and the hold is lost when the row is lost.
        """
        since = self._asked_at.get(job_id)
        hold = self.holds[job_id] = Hold(seconds, renew=partial(self.renew, job_id), since=since)
        try:
            yield hold
        finally:
            del self.holds[job_id]
            self._asked_at.pop(job_id, None)

    async def renew(self, job_id: JobId) -> bool:
        """Refresh the row's heartbeat now; False when this worker no longer has the row."""
        return job_id in await self._beat([job_id])

    async def update_heartbeat(self, job_ids: list[JobId]) -> None:
        """Refresh the heartbeats of those of *job_ids* that this worker still has, and update their holds."""
        # Taken before the query: the server's time of the heartbeat is later.
        at = awake_and_asleep()
        kept = await self._beat(job_ids)
        for job_id in set(job_ids):
            hold = self.holds.get(job_id)
            if hold is not None and job_id in kept:
                hold.renewed(at)
            elif hold is not None:
                hold.lose()

    async def _beat(self, job_ids: Collection[JobId]) -> set[object]:
        rows = await self.driver.fetch(
            f"UPDATE {self.qbq.qualified.queue_table} SET heartbeat = now()"
            " WHERE id = ANY($1::bigint[]) AND queue_manager_id = $2 AND status = 'picked' RETURNING id",
            list(set(job_ids)),
            self.taker,
        )
        return {row["id"] for row in rows}

    async def log_jobs(self, job_status: list[tuple[Job, JOB_STATUS, TracebackRecord | None]]) -> None:
        """End the rows whose handlers succeeded, and put the others back into the queue.

        PgQueuer would drop or hold the others, although the state of their entries is unknown.
        """
        tables = self.qbq.qualified
        for job, status, traceback in job_status:
            if status != "successful":
                delay = timedelta() if status == "canceled" else _AFTER_CRASH
                await self.retry_job(job, delay, traceback)
        await self.driver.execute(
            f"WITH ended AS (DELETE FROM {tables.queue_table} WHERE id = ANY($1::bigint[])"
            " AND queue_manager_id = $2 RETURNING id, entrypoint, priority)"
            f" INSERT INTO {tables.queue_table_log} (job_id, status, entrypoint, priority)"
            " SELECT id, 'successful', entrypoint, priority FROM ended",
            [job.id for job, status, _ in job_status if status == "successful"],
            self.taker,
        )

    async def retry_job(self, job: Job, delay: timedelta, traceback_record: TracebackRecord | None) -> None:
        """Give the row back; any worker may take it after *delay*."""
        tables = self.qbq.qualified
        await self.driver.execute(
            f"WITH given AS (UPDATE {tables.queue_table} SET status = 'queued', updated = now(),"
            " execute_after = now() + $2::interval, attempts = attempts + 1, queue_manager_id = NULL"
            " WHERE id = $1 AND queue_manager_id = $4 RETURNING id, entrypoint, priority)"
            f" INSERT INTO {tables.queue_table_log} (job_id, status, entrypoint, priority, traceback)"
            " SELECT id, 'queued', entrypoint, priority, $3::jsonb FROM given",
            job.id,
            delay,
            traceback_record.model_dump_json() if traceback_record else None,
            self.taker,
        )

    async def put(self, wanted: Sequence[QueueItem]) -> int:
        """Queue the entries that have no row yet; returns their number."""
        added = 0
        for start in range(0, len(wanted), _ROWS_AT_ONCE):
            some = wanted[start : start + _ROWS_AT_ONCE]
            job_ids = await self.enqueue(
                [each.batch for each in some],
                [each.entry_id.encode() for each in some],
                [0] * len(some),
                dedupe_key=[each.key for each in some],
                on_conflict="skip",
            )
            added += sum(job_id is not None for job_id in job_ids)
        return added

    async def batches(self) -> set[str]:
        """Return the batches with entries that are queued or in progress; finished batches cost nothing."""
        queue = self.qbq.qualified.queue_table
        next_queued = f"(SELECT min(entrypoint) FROM {queue} WHERE status = 'queued'"
        rows = await self.driver.fetch(
            f"WITH RECURSIVE queued AS (SELECT {next_queued}) AS batch UNION ALL"
            f" SELECT {next_queued} AND entrypoint > queued.batch) FROM queued WHERE queued.batch IS NOT NULL)"
            f" SELECT batch FROM queued WHERE batch IS NOT NULL"
            f" UNION SELECT entrypoint FROM {queue} WHERE status = 'picked'"
        )
        return {str(row["batch"]) for row in rows}

    async def wake(self) -> None:
        """Make this process's worker poll for rows at once."""
        event = TableChangedEvent(
            type="table_changed_event",
            channel=Channel(self.qbe.settings.channel),
            sent_at=utc_now(),
            operation="insert",
            table=self.qbe.settings.queue_table,
        )
        await self.driver.notify(event.channel, event.model_dump_json())

    async def has_rows(self, batches: Collection[str]) -> bool:
        """True when an entry of *batches* is queued or in progress."""
        return bool(
            await self.driver.fetch(
                f"SELECT 1 FROM {self.qbq.qualified.queue_table} WHERE entrypoint = ANY($1) LIMIT 1",
                list(batches),
            )
        )

    async def forget_old_log(self) -> None:
        """Delete the log of rows that ended a while ago; otherwise the log would grow with every entry."""
        tables = self.qbq.qualified
        await self.driver.execute(
            f"DELETE FROM {tables.queue_table_log} WHERE id IN (SELECT id FROM {tables.queue_table_log} AS old"
            " WHERE created < now() - $1::interval"
            f" AND NOT EXISTS (SELECT FROM {tables.queue_table} AS live WHERE live.id = old.job_id)"
            " ORDER BY created LIMIT $2 FOR UPDATE SKIP LOCKED)",
            _LOG_KEPT,
            _FORGOTTEN_AT_ONCE,
        )

    async def count_takeovers(self, job_id: JobId, since: float) -> int:
        """Return how often the row was taken over after *since* (epoch seconds) and after it was last given back."""
        log = self.qbq.qualified.queue_table_log
        (row,) = await self.driver.fetch(
            f"SELECT count(*) AS count FROM {log} WHERE job_id = $1 AND status = 'picked'"
            " AND created > to_timestamp($2) AND id >"
            f" (SELECT coalesce(max(id), 0) FROM {log} WHERE job_id = $1 AND status = 'queued')",
            job_id,
            since,
        )
        # The first time it was taken from the queue, not from another worker.
        return max(int(str(row["count"])) - 1, 0)

    async def is_installed(self) -> bool:
        """True when `fleet install` has created the tables, including those that are new in this version."""
        return await self.has_table(self.qbq.settings.queue_table) and await self.has_table(WORKERS_TABLE)


@asynccontextmanager
async def open_queue(location: str, *, is_new: bool = False) -> AsyncIterator[OwnedQueries]:
    """Open the queue next to the journal at *location*, a URL.

    Raises ConfigurationError if it is not installed, unless *is_new*; JournalError when the server fails.
    """
    conninfo = connection_string(location)
    with translated():
        connection = await _connected(conninfo)
        ((server_seconds,),) = await (await connection.execute(_SECONDS_UP)).fetchall()
    driver = WaitingDriver(conninfo, connection, server_seconds)
    try:
        queries = OwnedQueries(driver)
        if not is_new and not await queries.is_installed():
            raise not_installed()
        yield queries
    finally:
        await driver.close()


async def install(location: str) -> bool:
    """Create the queue's tables, or upgrade them to this version; True when there were none."""
    async with open_queue(location, is_new=True) as queries:
        is_new = not await queries.has_table(queries.qbq.settings.queue_table)
        if is_new:
            await queries.install()
        else:
            await queries.upgrade()
        for statement in (CREATE_TABLE, CREATE_WORKERS):
            await queries.driver.execute(statement)
    return is_new
