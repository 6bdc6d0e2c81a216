"""How a fleet stands: its workers, what is queued, what is laid aside, and whether the brake is pulled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pgqueuer.ports.driver import Driver

from orchestrator.domain.errors import ParkedError
from orchestrator.domain.states import EntryState
from orchestrator.fleet.pacing import BRAKE_SCOPE

#: An entry whose worker was silent for longer than this waits for another, unless the workers' hold is longer.
STALE_SECONDS: Final = 60.0

#: A worker is known by what it wrote into the journal when it claimed an entry.
_WORKERS: Final = """SELECT coalesce(max(entries.holder), 'a worker that has just begun') AS name,
    count(*) AS entries,
    extract(epoch FROM now() - max(heartbeat))::double precision AS silent_seconds
    FROM pgqueuer LEFT JOIN entries
    ON entries.batch = entrypoint AND entries.entry_id = convert_from(payload, 'UTF8')
    WHERE status = 'picked' GROUP BY queue_manager_id ORDER BY name"""
_COUNTS: Final = """SELECT count(*) FILTER (WHERE status = 'queued' AND execute_after <= now()) AS queued,
    count(*) FILTER (WHERE status = 'queued' AND execute_after > now()) AS deferred,
    count(*) FILTER (WHERE status = 'picked') AS in_progress,
    count(*) FILTER (WHERE status = 'picked' AND heartbeat < now() - make_interval(secs => $1)) AS stale,
    (SELECT count(*) FROM entries WHERE state = $2 AND error_kind = $3) AS parked FROM pgqueuer"""
_BRAKES: Final = """SELECT scope, reason,
    next_slot - extract(epoch FROM clock_timestamp())::double precision AS seconds
    FROM call_slots WHERE scope LIKE $1 AND next_slot > extract(epoch FROM clock_timestamp())"""


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


async def standing(driver: Driver) -> FleetStanding:
    """Ask the server; raises JournalError."""
    (counts,) = await driver.fetch(_COUNTS, STALE_SECONDS, EntryState.FAILED.value, ParkedError.kind)
    return FleetStanding(
        workers=[
            WorkerStanding(str(row["name"]), int(str(row["entries"])), float(str(row["silent_seconds"])))
            for row in await driver.fetch(_WORKERS)
        ],
        counts={name: int(str(count)) for name, count in counts.items()},
        brakes=[
            BrakeStanding(
                str(row["scope"]).removeprefix(BRAKE_SCOPE), str(row["reason"]), float(str(row["seconds"]))
            )
            for row in await driver.fetch(_BRAKES, f"{BRAKE_SCOPE}%")
        ],
    )
