"""The status of a fleet: its workers, the queued and parked entries, and the pulled brakes.

People and monitoring request it often, so it does not import PgQueuer, and is read through the journal's connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.domain.errors import ParkedError
from orchestrator.domain.states import EntryState
from orchestrator.fleet.presence import STALE_SECONDS, WORKERS_TABLE
from orchestrator.fleet.rate_limit import BRAKE_SCOPE
from orchestrator.fleet.requirements import not_installed
from orchestrator.journal.postgres import PostgresConnection, connection_string
from orchestrator.journal.postgres_errors import translated

#: A killed worker is identified by what it wrote to the journal when it claimed an entry, as long as it has one.
_WORKERS: Final = f"""WITH taken AS (
    SELECT queue_manager_id AS manager, max(entries.holder) AS holder, count(*) AS entries,
        extract(epoch FROM now() - max(heartbeat))::double precision AS silent_seconds
    FROM pgqueuer LEFT JOIN entries
    ON entries.batch = entrypoint AND entries.entry_id = convert_from(payload, 'UTF8')
    WHERE status = 'picked' GROUP BY queue_manager_id),
shown AS (
    SELECT manager, name, extract(epoch FROM clock_timestamp())::double precision - seen_at AS silent_seconds
    FROM {WORKERS_TABLE})
SELECT coalesce(shown.name, taken.holder, 'a worker that has just begun') AS name, coalesce(taken.entries, 0),
    least(shown.silent_seconds, taken.silent_seconds)
    FROM taken FULL JOIN shown ON shown.manager = taken.manager
    WHERE taken.entries > 0 OR shown.silent_seconds < :stale_seconds ORDER BY name"""
_INSTALLED: Final = f"SELECT to_regclass('pgqueuer'), to_regclass('{WORKERS_TABLE}')"
_COUNTED: Final = ("queued", "deferred", "in_progress", "stale", "parked")
_COUNTS: Final = """SELECT count(*) FILTER (WHERE status = 'queued' AND execute_after <= now()) AS queued,
    count(*) FILTER (WHERE status = 'queued' AND execute_after > now()) AS deferred,
    count(*) FILTER (WHERE status = 'picked') AS in_progress,
    count(*) FILTER (WHERE status = 'picked' AND heartbeat < now() - make_interval(secs => :stale_seconds)) AS stale,
    (SELECT count(*) FROM entries WHERE state = :failed AND error_kind = :parked) AS parked FROM pgqueuer"""
#: The oldest first within an entry.
_HANDBACKS: Final = """SELECT batches.name, entry_id, host, at, reason, state = :failed
    FROM handbacks JOIN entries USING (batch, entry_id) JOIN batches USING (batch)
    WHERE confirmed_at IS NULL AND state <> :cancelled AND (state <> :failed OR error_kind = :parked)
    ORDER BY batches.name, entry_id, at LIMIT 1000"""
_BRAKES: Final = """SELECT scope, reason,
    next_slot - extract(epoch FROM clock_timestamp())::double precision AS seconds
    FROM call_slots WHERE scope LIKE :brakes AND next_slot > extract(epoch FROM clock_timestamp())"""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker with the number of its entries and the seconds since its last sign of life."""

    name: str
    entries: int
    silent_seconds: float


@dataclass(frozen=True, slots=True)
class HandbackStatus:
    """An entry whose files *host* could not use, and why; `is_parked` once no other live host can try it."""

    batch: str
    entry: str
    host: str
    at: float
    reason: str
    is_parked: bool


@dataclass(frozen=True, slots=True)
class BrakeStatus:
    """A pulled brake: the reason why the workers of a project take no entries, and the remaining seconds."""

    project: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStatus:
    """The status of a fleet; entries are counted by their status in the queue, `stale` ones also as in progress."""

    workers: list[WorkerStatus]
    counts: dict[str, int]
    handed_back: list[HandbackStatus]
    brakes: list[BrakeStatus]


def fleet_status(location: str) -> FleetStatus:
    """Query the server of the journal at *location*; blocks.

    Raises ConfigurationError if it was not prepared for workers, JournalError when it fails.
    """
    row = {
        "stale_seconds": STALE_SECONDS,
        "failed": EntryState.FAILED.value,
        "cancelled": EntryState.CANCELLED.value,
        "parked": ParkedError.kind,
    }
    with translated():
        connection = PostgresConnection(connection_string(location))
        try:
            if None in connection.execute(_INSTALLED).fetchall()[0]:
                raise not_installed()
            (counts,) = connection.execute(_COUNTS, row).fetchall()
            workers = connection.execute(_WORKERS, row).fetchall()
            handbacks = connection.execute(_HANDBACKS, row).fetchall()
            brakes = connection.execute(_BRAKES, {"brakes": f"{BRAKE_SCOPE}%"}).fetchall()
        finally:
            connection.close()
    return FleetStatus(
        workers=[WorkerStatus(*worker) for worker in workers],
        counts=dict(zip(_COUNTED, counts, strict=True)),
        handed_back=[HandbackStatus(*handback) for handback in handbacks],
        brakes=[
            BrakeStatus(scope.removeprefix(BRAKE_SCOPE), reason, seconds) for scope, reason, seconds in brakes
        ],
    )
