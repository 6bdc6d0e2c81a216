"""What the journal can tell of a batch's hours: when what was sent, what was waited for, and what went wrong.

It is bounded: of segments two numbers, of each entry the latest failed tries, of each batch the latest incidents.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from orchestrator.domain.foreign import repaired
from orchestrator.journal.backend import Row
from orchestrator.journal.reading import PAGE_ROWS, JournalReader
from orchestrator.journal.shapes import RowShape
from orchestrator.journal.statements import among

#: Failed tries that are kept of an entry.
KEPT_ATTEMPTS: Final = 400
#: Incidents that are kept of a batch, and the length of what is said of each.
KEPT_INCIDENTS: Final = 2000
_LONGEST_MESSAGE = 500


class IncidentKind(StrEnum):
    """What can be noted of a run."""

    OUTAGE = "outage"
    WARNING = "warning"
    DECISION = "decision"
    #: The subject says why, the message which entries.
    LEFT_ALONE = "left alone"


class SegmentTimes(NamedTuple):
    """Seconds that a segment took from its first try in a run, and those of its last PUT; None where not known."""

    put_seconds: float | None
    took_seconds: float | None


NOT_TIMED: Final = SegmentTimes(None, None)


class StoredSegment(NamedTuple):
    """A stored segment on the time axis: epoch seconds, bytes, seconds as `SegmentTimes` has them."""

    entry_id: str
    asset: str
    part_number: int
    length: int
    stored_at: float
    attempts: int
    put_seconds: float | None
    took_seconds: float | None


class StateChange(NamedTuple):
    """An entry came into a state, in epoch seconds."""

    entry_id: str
    at: float
    to_state: str


class Cause(NamedTuple):
    """How often tries of an operation failed for one reason."""

    operation: str
    kind: str
    code: str | None
    tries: int


@dataclass(frozen=True, slots=True)
class IncidentRecord:
    """What happened in a run, in epoch seconds; without `ended_at` it was not over, or lasts no time."""

    run_id: str
    at: float
    ended_at: float | None
    kind: str
    subject: str
    message: str


_INCIDENT_SHAPE = RowShape("incidents", [str, float, float | None, str, str, str])


def incident_row(batch: str, incident: IncidentRecord) -> Row:
    """The row of the table `incidents`."""
    return {
        "batch": batch,
        "run_id": incident.run_id,
        "at": incident.at,
        "kind": incident.kind,
        "subject": repaired(incident.subject),
        "message": repaired(incident.message[:_LONGEST_MESSAGE]),
    }


class TimelineReader(JournalReader):
    """Reads for reports; whole batches, page by page."""

    async def stored_segments(self, batch: str) -> AsyncIterator[StoredSegment]:
        """The segments of *batch* that have their receipt, entry by entry."""
        query = (
            "SELECT entry_id, asset, part_number, length, stored_at, attempts, put_seconds, took_seconds"
            " FROM segments WHERE batch = :batch AND stored_at IS NOT NULL AND {after}"
            " ORDER BY entry_id, asset, part_number LIMIT :limit"
        )
        async for row in self._by_key(query, ("entry_id", "asset", "part_number"), batch):
            yield StoredSegment(*row)

    async def state_changes(self, batch: str, states: Collection[str]) -> list[StateChange]:
        """When the entries of *batch* came into one of *states*, the oldest first."""
        listed, parameters = among("state", states)
        query = (
            "SELECT entry_id, at, to_state FROM transitions"
            f" WHERE batch = :batch AND to_state IN {listed} ORDER BY at"
        )
        return [StateChange(*row) for row in await self._backend.read(query, {"batch": batch, **parameters})]

    async def causes(self, batch: str) -> list[Cause]:
        """Why tries failed, the most frequent first."""
        query = (
            "SELECT operation, kind, code, count(*) FROM attempts WHERE batch = :batch"
            " GROUP BY operation, kind, code ORDER BY count(*) DESC, operation, kind"
        )
        return [Cause(*row) for row in await self._backend.read(query, {"batch": batch})]

    async def failed_tries(self, batch: str, *, limit: int) -> list[tuple[str, float, str]]:
        """Entry, time and kind of the latest *limit* failed tries, the latest first."""
        query = "SELECT entry_id, at, kind FROM attempts WHERE batch = :batch ORDER BY at DESC LIMIT :limit"
        rows = await self._backend.read(query, {"batch": batch, "limit": limit})
        return [(str(entry_id), float(at), str(kind)) for entry_id, at, kind in rows]

    async def incidents(self, batch: str) -> list[IncidentRecord]:
        """What happened in the runs of *batch*, the oldest first."""
        query = (
            "SELECT run_id, at, ended_at, kind, subject, message FROM incidents"
            " WHERE batch = :batch ORDER BY at"
        )
        rows = await self._backend.read(query, {"batch": batch})
        for row in rows:
            _INCIDENT_SHAPE.check(row)
        return [IncidentRecord(*row) for row in rows]

    async def _by_key(self, query: str, key: tuple[str, ...], batch: str) -> AsyncIterator[tuple[Any, ...]]:
        """The rows of *query*, whose first columns are *key* and order it, read page by page."""
        place: Row = {"batch": batch, "limit": PAGE_ROWS}
        after = "1 = 1"
        while True:
            page = await self._backend.read(query.format(after=after), place)
            for row in page:
                yield row
            if len(page) < PAGE_ROWS:
                return
            place |= dict(zip(key, page[-1], strict=False))
            after = f"({', '.join(key)}) > ({', '.join(f':{name}' for name in key)})"
