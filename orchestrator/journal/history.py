"""The history in the journal: runs of a batch, reviews, failed attempts, changes of state and incidents.

It is bounded: two numbers per segment, the latest failed attempts per entry, the latest incidents per batch.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from orchestrator import __version__
from orchestrator.domain.untrusted_text import repaired
from orchestrator.journal.backend import Row
from orchestrator.journal.records import RowShape, intact, types_of

#: The number of failed attempts kept per entry.
KEPT_ATTEMPTS: Final = 400
#: The number of incidents kept per batch, and the maximum length of an incident's message.
KEPT_INCIDENTS: Final = 2000
_LONGEST_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a batch; without `ended_at` it is still running or was killed.

    Times are epoch seconds; `entries` are the counts of design section 4 at the end of the run, None if it has none.
    """

    run_id: str
    started_at: float
    ended_at: float | None
    exit_code: int | None
    entries: Mapping[str, int] | None
    version: str
    host: str
    pid: int
    #: The file that its events were written to; None if there is none.
    events_path: str | None = None

    @property
    def process(self) -> str:
        """The name of the process, as in the batch's lock."""
        return process_name(self.pid, self.host)


RUN_COLUMNS = tuple(RunRecord.__slots__)
_RUN_SHAPE = RowShape("runs", types_of(RunRecord, RUN_COLUMNS, entries=str | None))


def run_record(row: Sequence[Any]) -> RunRecord:
    """Build the record from a row of RUN_COLUMNS; raises JournalError if it is damaged."""
    _RUN_SHAPE.check(row)
    columns = dict(zip(RUN_COLUMNS, row, strict=True))
    with intact("the counts of a run"):
        counts = None if columns["entries"] is None else dict(json.loads(columns["entries"]))
    return RunRecord(**{**columns, "entries": counts})


def run_row(batch: str, run_id: str, started_at: float, events_path: str | None = None) -> dict[str, object]:
    """Return the row of the table `runs` for a run that this process starts."""
    return {
        "batch": batch,
        "run_id": run_id,
        "started_at": started_at,
        "version": __version__,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "events_path": events_path,
    }


def run_end(ended_at: float, exit_code: int, entries: Mapping[str, int] | None) -> dict[str, object]:
    """Return the columns of the table `runs` that are written at the end of a run."""
    counts = None if entries is None else json.dumps(entries)
    return {"ended_at": ended_at, "exit_code": int(exit_code), "entries": counts}


def process_name(pid: int, host: str) -> str:
    """Return the name of a process for people: `process 7966 on studio-1`."""
    return f"process {pid} on {host}"


@dataclass(frozen=True, slots=True)
class ReviewRecord:
    """One review of one submission of an entry; it is kept when its batch is deleted, and the journal sets `at`."""

    batch: str
    entry_id: str
    job_id: str | None
    submitted_at: float
    is_passed: bool
    reason: str | None = None
    code: str | None = None
    redo_reasons: tuple[str, ...] = ()
    at: float = 0.0


REVIEW_COLUMNS = tuple(ReviewRecord.__slots__)


def review_record(row: Sequence[Any]) -> ReviewRecord:
    """Build the record from a row of REVIEW_COLUMNS; raises JournalError if it is damaged."""
    columns = dict(zip(REVIEW_COLUMNS, row, strict=True))
    with intact("the reasons of a review"):
        reasons = tuple(json.loads(columns["redo_reasons"]))
    return ReviewRecord(**{**columns, "is_passed": bool(columns["is_passed"]), "redo_reasons": reasons})


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One failed attempt of one request."""

    at: float
    operation: str
    asset: str | None
    part_number: int | None
    attempt: int
    kind: str
    code: str | None
    message: str | None
    request_id: str | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class TransitionRecord:
    """One change of an entry's state."""

    at: float
    from_state: str
    to_state: str
    reason: str | None
    epoch: int
    #: The process that wrote it; None if an older program did.
    holder: str | None


@dataclass(frozen=True, slots=True)
class HandbackRecord:
    """A report that *host* could not use an entry's files, and why; other hosts of the fleet may be able to."""

    host: str
    at: float
    reason: str


_ATTEMPT_SHAPE = RowShape("attempts", types_of(AttemptRecord, AttemptRecord.__slots__))
_TRANSITION_SHAPE = RowShape("transitions", types_of(TransitionRecord, TransitionRecord.__slots__))
_HANDBACK_SHAPE = RowShape("handbacks", types_of(HandbackRecord, HandbackRecord.__slots__))


def attempt_record(row: Sequence[Any]) -> AttemptRecord:
    """Build the record from a row of its fields; raises JournalError if it is damaged."""
    _ATTEMPT_SHAPE.check(row)
    return AttemptRecord(**dict(zip(AttemptRecord.__slots__, row, strict=True)))


def transition_record(row: Sequence[Any]) -> TransitionRecord:
    """Build the record from a row of its fields; raises JournalError if it is damaged."""
    _TRANSITION_SHAPE.check(row)
    return TransitionRecord(*row)


def handback_record(row: Sequence[Any]) -> HandbackRecord:
    """Build the record from a row of its fields; raises JournalError if it is damaged."""
    _HANDBACK_SHAPE.check(row)
    return HandbackRecord(*row)


class IncidentKind(StrEnum):
    """The kinds of incidents that a run may have."""

    OUTAGE = "outage"
    WARNING = "warning"
    DECISION = "decision"
    #: The subject is the reason, the message lists the entries.
    LEFT_ALONE = "left alone"


class SegmentTimes(NamedTuple):
    """The seconds of a segment's last PUT, and those since its first attempt in the run; None if unknown."""

    put_seconds: float | None
    took_seconds: float | None


NOT_TIMED: Final = SegmentTimes(None, None)


class StoredSegment(NamedTuple):
    """A stored segment with its length in bytes and its times: epoch seconds, and seconds as in `SegmentTimes`."""

    entry_id: str
    asset: str
    part_number: int
    length: int
    stored_at: float
    attempts: int
    put_seconds: float | None
    took_seconds: float | None


class WorkDone(NamedTuple):
    """The segments and bytes of a batch: the total, the stored ones, and those sent since a given time.

    *retried* is the number of failed attempts at segments since that time.
    """

    segments: int
    stored_segments: int
    sent_segments: int
    stored_bytes: int
    sent_bytes: int
    bytes: int
    retried: int


class StateChange(NamedTuple):
    """A change of an entry's state; `at` is in epoch seconds."""

    entry_id: str
    at: float
    to_state: str


class Cause(NamedTuple):
    """One reason why attempts of an operation failed, and how often."""

    operation: str
    kind: str
    code: str | None
    tries: int


@dataclass(frozen=True, slots=True)
class IncidentRecord:
    """An incident of a run, in epoch seconds; without `ended_at` it was not over, or has no duration."""

    run_id: str
    at: float
    ended_at: float | None
    kind: str
    subject: str
    message: str


_INCIDENT_SHAPE = RowShape("incidents", [str, float, float | None, str, str, str])


def incident_record(row: Sequence[Any]) -> IncidentRecord:
    """Build the record from a row of its fields; raises JournalError if it is damaged."""
    _INCIDENT_SHAPE.check(row)
    return IncidentRecord(*row)


def incident_row(batch: str, incident: IncidentRecord) -> Row:
    """Return the row of the table `incidents`."""
    return {
        "batch": batch,
        "run_id": incident.run_id,
        "at": incident.at,
        "kind": incident.kind,
        "subject": repaired(incident.subject),
        "message": repaired(incident.message[:_LONGEST_MESSAGE]),
    }
