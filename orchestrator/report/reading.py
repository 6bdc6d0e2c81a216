"""What the journal knows of a batch, read once for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.states import EntryState
from orchestrator.journal.history import (
    Cause,
    IncidentRecord,
    ReviewRecord,
    RunRecord,
    StateChange,
    StoredSegment,
)
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import BatchRecord, EntryRecord

#: Runs that are on the page; a batch that is run every night for years has more.
MOST_RUNS: Final = 200
#: Failed tries that are drawn as ticks.
MOST_TICKS: Final = 3000
#: What the hours are made of; later states are the service's.
_WORKED_STATES = tuple(
    state.value
    for state in (
        EntryState.PENDING,
        EntryState.CREATING,
        EntryState.UPLOADING,
        EntryState.UPLOADED,
        EntryState.CONFIRMING,
        EntryState.CONFIRMED,
        EntryState.SUBMITTING,
        EntryState.SUBMITTED,
        EntryState.FAILED,
        EntryState.CANCELLED,
    )
)

#: Between these is the time from a film to its avatar.
_AVATAR_STATES = (EntryState.CREATING.value, EntryState.TRAINED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """One consistent enough picture: each part is read by itself, and a run may write in between."""

    batch: BatchRecord
    holder: str | None
    entries: Sequence[EntryRecord]
    stored_bytes: Mapping[str, int]
    runs: Sequence[RunRecord]
    changes: Sequence[StateChange]
    avatar_changes: Sequence[StateChange]
    segments: Sequence[StoredSegment]
    causes: Sequence[Cause]
    ticks: Sequence[tuple[str, float, str]]
    incidents: Sequence[IncidentRecord]
    reviews: Sequence[ReviewRecord]


async def read_batch(journal: Journal, batch: BatchRecord) -> BatchFacts:
    """Read all of *batch*; raises JournalError."""
    digest = batch.batch
    # Asked first: a run that ends in between has written its end.
    holder = await journal.batch_holder(batch.key)
    segments = [segment async for segment in journal.stored_segments(digest)]
    stored = Counter[str]()
    for segment in segments:
        stored[segment.entry_id] += segment.length
    return BatchFacts(
        batch=batch,
        holder=holder,
        entries=[entry async for entry in journal.entries(digest)],
        stored_bytes=stored,
        runs=await journal.runs(digest, limit=MOST_RUNS),
        changes=await journal.state_changes(digest, _WORKED_STATES),
        avatar_changes=await journal.state_changes(digest, _AVATAR_STATES),
        segments=segments,
        causes=await journal.causes(digest),
        ticks=await journal.failed_tries(digest, limit=MOST_TICKS),
        incidents=await journal.incidents(digest),
        reviews=[review for review in await journal.reviews() if review.batch == digest],
    )
