"""Which workers are alive, with entries or without: others leave to them what they cannot do themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pgqueuer.ports.driver import Driver

#: A worker that was silent for longer than this is not waited for. Its entries wait for another, unless the workers'
#: hold is longer.
STALE_SECONDS: Final = 60.0
#: How often a worker says that it is alive.
PRESENCE_SECONDS: Final = 10.0

WORKERS_TABLE: Final = "workers"
_NOW: Final = "extract(epoch FROM clock_timestamp())::double precision"
#: Made by `fleet install`: the workers that run, by PgQueuer's id of each; *batch* is the only one that it works on,
#: `seen_at` in epoch seconds of the server's clock.
CREATE_WORKERS: Final = f"""CREATE TABLE IF NOT EXISTS {WORKERS_TABLE} (
    manager UUID PRIMARY KEY, name TEXT NOT NULL, host TEXT NOT NULL, scope TEXT NOT NULL, batch TEXT,
    seen_at DOUBLE PRECISION NOT NULL)"""
_SHOW: Final = f"""INSERT INTO {WORKERS_TABLE} (manager, name, host, scope, batch, seen_at)
    VALUES ($1, $2, $3, $4, $5, {_NOW}) ON CONFLICT (manager) DO UPDATE SET seen_at = excluded.seen_at"""
#: With the line of a worker go those of others that were killed long ago.
_LEAVE: Final = f"DELETE FROM {WORKERS_TABLE} WHERE manager = $1 OR seen_at < {_NOW} - 86400"


class Place(NamedTuple):
    """Where a worker works: its host, the endpoint and project it is for, and the only batch where there is one."""

    host: str
    scope: str
    batch: str | None = None

    @classmethod
    def of(cls, host: str, *, endpoint: str, project_id: str, batch: str | None) -> Place:
        """That of a worker on *host*."""
        return cls(host, f"{endpoint}:{project_id}", batch)


class Presence:
    """A worker's line among those that run."""

    def __init__(self, driver: Driver, manager: object, name: str, place: Place) -> None:
        self._driver = driver
        self._manager = manager
        self._row = (name, *place)

    async def show(self) -> None:
        """Say that the worker is alive; raises JournalError."""
        await self._driver.execute(_SHOW, self._manager, *self._row)

    async def leave(self) -> None:
        """Say that it takes nothing any more; raises JournalError."""
        await self._driver.execute(_LEAVE, self._manager)


def untried(batch: str, entry_id: str, *, host: str, scope: str, silent: str) -> str:
    """The query for live workers on other hosts that work on *batch* and have not handed its entry back.

    The arguments are what stands for them in SQL; one that was silent for longer than *silent* seconds is not alive.
    """
    return (
        f"SELECT FROM {WORKERS_TABLE} AS other WHERE seen_at > {_NOW} - {silent} AND other.host <> {host}"
        f" AND other.scope = {scope} AND (other.batch IS NULL OR other.batch = {batch})"
        f" AND NOT EXISTS (SELECT FROM handbacks WHERE handbacks.batch = {batch}"
        f" AND handbacks.entry_id = {entry_id} AND handbacks.host = other.host)"
    )
