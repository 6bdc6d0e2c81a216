"""How a fleet stands: its workers, what is queued, what is laid aside, and whether the brake is pulled.

Asked by people and monitoring again and again, so it loads no PgQueuer, and is read as the journal is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.domain.errors import ParkedError
from orchestrator.domain.states import EntryState
from orchestrator.fleet.location import not_installed
from orchestrator.fleet.pacing import BRAKE_SCOPE
from orchestrator.journal.postgres import PostgresConnection, connection_string
from orchestrator.journal.postgres_errors import translated

#: An entry whose worker was silent for longer than this waits for another, unless the workers' hold is longer.
STALE_SECONDS: Final = 60.0

#: A worker is known by what it wrote into the journal when it claimed an entry.
_WORKERS: Final = """SELECT coalesce(max(entries.holder), 'a worker that has just begun') AS name,
    count(*) AS entries,
    extract(epoch FROM now() - max(heartbeat))::double precision AS silent_seconds
    FROM pgqueuer LEFT JOIN entries
    ON entries.batch = entrypoint AND entries.entry_id = convert_from(payload, 'UTF8')
    WHERE status = 'picked' GROUP BY queue_manager_id ORDER BY name"""
_COUNTED: Final = ("queued", "deferred", "in_progress", "stale", "parked")
_COUNTS: Final = """SELECT count(*) FILTER (WHERE status = 'queued' AND execute_after <= now()) AS queued,
    count(*) FILTER (WHERE status = 'queued' AND execute_after > now()) AS deferred,
    count(*) FILTER (WHERE status = 'picked') AS in_progress,
    count(*) FILTER (WHERE status = 'picked' AND heartbeat < now() - make_interval(secs => :stale_seconds)) AS stale,
    (SELECT count(*) FROM entries WHERE state = :failed AND error_kind = :parked) AS parked FROM pgqueuer"""
_BRAKES: Final = """SELECT scope, reason,
    next_slot - extract(epoch FROM clock_timestamp())::double precision AS seconds
    FROM call_slots WHERE scope LIKE :brakes AND next_slot > extract(epoch FROM clock_timestamp())"""


@dataclass(frozen=True, slots=True)
class WorkerStanding:
    """A worker that has entries, and how long ago it was heard of last."""

    name: str
    entries: int
    silent_seconds: float


@dataclass(frozen=True, slots=True)
class BrakeStanding:
    """Why the workers of a project take no entries, and for how long still."""

    project: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStanding:
    """The fleet; entries are counted by how they are queued, `stale` ones among those in progress."""

    workers: list[WorkerStanding]
    counts: dict[str, int]
    brakes: list[BrakeStanding]


def standing(location: str) -> FleetStanding:
    """Ask the server of the journal at *location*; blocks.

    Raises ConfigurationError where it was not prepared for workers, JournalError when it fails.
    """
    row = {
        "stale_seconds": STALE_SECONDS,
        "failed": EntryState.FAILED.value,
        "parked": ParkedError.kind,
    }
    with translated():
        connection = PostgresConnection(connection_string(location))
        try:
            if connection.execute("SELECT to_regclass('pgqueuer')").fetchall() == [(None,)]:
                raise not_installed()
            (counts,) = connection.execute(_COUNTS, row).fetchall()
            workers = connection.execute(_WORKERS).fetchall()
            brakes = connection.execute(_BRAKES, {"brakes": f"{BRAKE_SCOPE}%"}).fetchall()
        finally:
            connection.close()
    return FleetStanding(
        workers=[WorkerStanding(*worker) for worker in workers],
        counts=dict(zip(_COUNTED, counts, strict=True)),
        brakes=[
            BrakeStanding(scope.removeprefix(BRAKE_SCOPE), reason, seconds)
            for scope, reason, seconds in brakes
        ],
    )
