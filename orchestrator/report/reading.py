"""The facts of a batch in the journal, read once for the page, and failed reviews grouped by reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

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
from orchestrator.preflight.rulebook import rule_of_review

#: The maximum number of runs on the page; a batch that is run every night for years has more.
MOST_RUNS: Final = 200
#: The maximum number of failed attempts that are drawn as ticks.
MOST_TICKS: Final = 3000
#: The states on the time axis of runs; later states are the service's.
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

#: The states at the start and the end of the time to an avatar.
_AVATAR_STATES = (EntryState.CREATING.value, EntryState.TRAINED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """The facts of a batch; each part is read separately, so a run may have written in between."""

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
    # Read the holder first: if its run ends in between, the runs read below include its end.
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


def reviews_document(reviews: Sequence[ReviewRecord]) -> dict[str, Any]:
    """Return the reviews, given oldest first, with failed ones grouped by reason and code."""
    first: dict[tuple[str, str], bool] = {}
    for review in reviews:
        first.setdefault((review.batch, review.entry_id), review.is_passed)
    failed = [review for review in reviews if not review.is_passed]
    alike: defaultdict[tuple[str | None, str | None], list[ReviewRecord]] = defaultdict(list)
    for review in failed:
        alike[review.reason, review.code].append(review)
    return {
        "reviewed": len(first),
        "first_pass_rate": sum(first.values()) / len(first) if first else None,
        "reasons": [
            {
                "reason": reason,
                "code": code,
                "count": len(said),
                "rule": rule_of_review(reason, code),
                "entries": sorted({one.entry_id for one in said}),
                "redo_reasons": list(dict.fromkeys(redo for one in said for redo in one.redo_reasons)),
            }
            for (reason, code), said in sorted(alike.items(), key=lambda group: -len(group[1]))
        ],
    }
