"""The live workers, with entries or without: other workers leave them the entries that they cannot do themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pgqueuer.ports.driver import Driver

#: A worker that has been silent for longer than this is not waited for. Its entries are due for another worker,
#: unless the workers' hold is longer.
STALE_SECONDS: Final = 60.0
#: How often a worker reports that it is alive.
PRESENCE_SECONDS: Final = 10.0

WORKERS_TABLE: Final = "workers"
_NOW: Final = "extract(epoch FROM clock_timestamp())::double precision"
#: Created by `fleet install`: the running workers, by their PgQueuer ids. `batch` is the only batch that a worker
#: works on, if there is one; `seen_at` is in epoch seconds of the server's clock.
CREATE_WORKERS: Final = f"""CREATE TABLE IF NOT EXISTS {WORKERS_TABLE} (
    manager UUID PRIMARY KEY, name TEXT NOT NULL, host TEXT NOT NULL, scope TEXT NOT NULL, batch TEXT,
    seen_at DOUBLE PRECISION NOT NULL)"""
_SHOW: Final = f"""INSERT INTO {WORKERS_TABLE} (manager, name, host, scope, batch, seen_at)
    VALUES ($1, $2, $3, $4, $5, {_NOW}) ON CONFLICT (manager) DO UPDATE SET seen_at = excluded.seen_at"""
#: Deletes the row of a worker, and the rows of others that were killed long ago.
_LEAVE: Final = f"DELETE FROM {WORKERS_TABLE} WHERE manager = $1 OR seen_at < {_NOW} - 86400"


class WorkerIdentity(NamedTuple):
    """The identity of a worker: its host, its endpoint and project (the scope), and its only batch, if it has one."""

    host: str
    scope: str
    batch: str | None = None

    @classmethod
    def of(cls, host: str, *, endpoint: str, project_id: str, batch: str | None) -> WorkerIdentity:
        """Return the identity of a worker on *host*."""
        return cls(host, f"{endpoint}:{project_id}", batch)


class Presence:
    """A worker's row in the table of running workers."""

    def __init__(self, driver: Driver, manager: object, name: str, identity: WorkerIdentity) -> None:
        self._driver = driver
        self._manager = manager
        self._row = (name, *identity)

    async def show(self) -> None:
        """Report that the worker is alive; raises JournalError."""
        await self._driver.execute(_SHOW, self._manager, *self._row)

    async def leave(self) -> None:
        """Report that the worker takes no more entries; raises JournalError."""
        await self._driver.execute(_LEAVE, self._manager)


def untried_hosts_query(batch: str, entry_id: str, *, host: str, scope: str, silent: str) -> str:
    """Return the query for live workers on other hosts that work on *batch* and have not handed its entry back.

    The arguments are SQL expressions. A worker that has been silent for longer than *silent* seconds is not alive.
    """
    return (
        f"SELECT FROM {WORKERS_TABLE} AS other WHERE seen_at > {_NOW} - {silent} AND other.host <> {host}"
        f" AND other.scope = {scope} AND (other.batch IS NULL OR other.batch = {batch})"
        f" AND NOT EXISTS (SELECT FROM handbacks WHERE handbacks.batch = {batch}"
        f" AND handbacks.entry_id = {entry_id} AND handbacks.host = other.host)"
    )
