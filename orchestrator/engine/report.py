"""The report of a run, in the form of design section 4, and the incidents of a run that the journal keeps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.domain.errors import JournalError, OrchestratorError
from orchestrator.domain.states import EntryState, is_done
from orchestrator.engine.events import (
    DecisionNeeded,
    Event,
    OutageBegan,
    OutageEnded,
    RetryScheduled,
    SegmentStored,
    ServiceWarning,
    Totals,
    WarningRaised,
)
from orchestrator.journal.history import IncidentKind
from orchestrator.journal.journal import Journal

if TYPE_CHECKING:
    from orchestrator.engine.events import EventBus
    from orchestrator.engine.selection import Registration

#: The schema version of the document; fields may be added without a new one.
SCHEMA = 1
#: The limit for one run; when thousands of entries go wrong, the first hundreds show why.
MOST_INCIDENTS: Final = 500
#: The reasons for which a run skips entries that the journal may not contain yet.
_INVALID: Final = "invalid, skipped"
_TOO_YOUNG: Final = "files written just now"


#: Starts a background task, like `start_soon` of a task group.
StartTask = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]


class Tally:
    """A subscriber that counts segments and bytes sent, counts retries of segments, and keeps warnings."""

    name = "the run's report"
    event_types = frozenset({SegmentStored, RetryScheduled, WarningRaised, ServiceWarning})

    def __init__(self) -> None:
        self.sent_segments = 0
        self.sent_bytes = 0
        self.retried = 0
        self.warnings: list[str] = []

    def __call__(self, event: Event) -> None:
        """Count *event*."""
        if isinstance(event, SegmentStored) and not event.is_resumed:
            self.sent_segments += 1
            self.sent_bytes += event.bytes
        elif isinstance(event, RetryScheduled) and event.asset is not None:
            self.retried += 1
        elif isinstance(event, WarningRaised):
            self.warnings.append(f"{event.entry}: {event.message}")
        elif isinstance(event, ServiceWarning):
            self.warnings.append(event.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryCounts:
    """Entries by outcome; the four parts add up to `total`."""

    total: int
    done: int
    failed: int
    skipped: int
    pending: int

    def as_dict(self) -> dict[str, int]:
        """Return the counts in the form used by documents and the journal."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """The result of a run that ended or was stopped; `cause` is the error that stopped it."""

    batch: str
    batch_digest: str
    run_id: str
    exit_code: int
    elapsed_seconds: float
    totals: Totals
    entries: EntryCounts
    stored_segments: int
    stored_bytes: int
    tally: Tally
    cause: OrchestratorError | None = None
    undecided: Mapping[str, str]
    removed: tuple[str, ...] = ()  #: entries that are no longer in the manifest; they are left alone
    replaced: frozenset[str] = frozenset()  #: entries with a failed review and unsent replacements
    earlier_manifest: str | None = None  #: the file that the batch was made from, when it was another
    invalid: tuple[str, ...] = ()  #: entries with errors in the manifest, skipped
    too_young: tuple[str, ...] = ()  #: entries whose files may still be changing, left for the next run
    warnings: tuple[str, ...] = ()  #: warnings about the manifest and from the run
    counts: Mapping[EntryState, int]  #: the number of entries of the batch in each state

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON document without its `results`."""
        resumed = self.stored_segments - self.tally.sent_segments
        return {
            "schema": SCHEMA,
            "batch": self.batch,
            "run_id": self.run_id,
            "exit_code": int(self.exit_code),
            "elapsed_seconds": round(self.elapsed_seconds, 3),
            "entries": self.entries.as_dict(),
            "segments": {
                "total": self.totals.segments,
                "stored": self.stored_segments,
                "sent": self.tally.sent_segments,
                "resumed": max(resumed, 0),
                "retried": self.tally.retried,
            },
            "bytes": {
                "total": self.totals.bytes,
                "sent": self.tally.sent_bytes,
                "resumed": self.resumed_bytes,
            },
        }

    @property
    def resumed_bytes(self) -> int:
        """The stored bytes that this run did not send."""
        return max(self.stored_bytes - self.tally.sent_bytes, 0)


def count_entries(
    counts: Mapping[EntryState, int], *, undecided: int, with_submit: bool, undecided_done: int = 0
) -> EntryCounts:
    """Count entries as done, failed, skipped (no run can do anything) and pending (work for a later run).

    *undecided* entries are skipped; *undecided_done* of them are in a state that counts as done without a change.
    """
    total = sum(counts.values())
    review_failed = counts.get(EntryState.REVIEW_FAILED, 0)
    done = sum(count for state, count in counts.items() if is_done(state, with_submit=with_submit))
    failed = counts.get(EntryState.FAILED, 0)
    skipped = counts.get(EntryState.CANCELLED, 0)
    done -= review_failed + undecided_done
    skipped += review_failed + undecided_done
    undecided -= undecided_done
    pending = total - done - failed - skipped
    return EntryCounts(
        total=total,
        done=done,
        failed=failed,
        skipped=skipped + min(undecided, pending),
        pending=pending - min(undecided, pending),
    )


class IncidentKeeper:
    """A subscriber that journals outages, warnings and decisions, at most MOST_INCIDENTS.

    *start* starts a background task of the run. It flushes an outage at once, because no other write may follow for
    a long time.
    """

    name = "the history of the run"
    event_types = frozenset({OutageBegan, OutageEnded, WarningRaised, ServiceWarning, DecisionNeeded})

    def __init__(
        self,
        journal: Journal,
        batch: str,
        run_id: str,
        start: StartTask,
    ) -> None:
        self._journal = journal
        self._run = batch, run_id
        self._start = start
        self._left = MOST_INCIDENTS

    def __call__(self, event: Event) -> None:
        """Queue *event* for the journal's next write."""
        match event:
            case OutageBegan():
                self._keep(IncidentKind.OUTAGE, event.side, event.reason)
                self._start(self.flush)
            case OutageEnded():
                self._journal.end_incident(*self._run, IncidentKind.OUTAGE, event.side)
            case WarningRaised():
                self._keep(IncidentKind.WARNING, event.entry, event.message)
            case ServiceWarning():
                self._keep(IncidentKind.WARNING, "", event.message)
            case DecisionNeeded():
                self._keep(IncidentKind.DECISION, event.entry, event.reason)

    def left_alone(self, why: str, entries: Collection[str]) -> None:
        """Record, for the reason *why*, that the run leaves *entries* as they are; nothing if there are none."""
        if entries:
            self._keep(IncidentKind.LEFT_ALONE, why, ", ".join(sorted(entries)))

    async def flush(self) -> None:
        """Write queued incidents now; if that fails, the next write with a waiting caller raises the error."""
        with suppress(JournalError):
            await self._journal.flush()

    def _keep(self, kind: IncidentKind, subject: str, message: str) -> None:
        if self._left:
            self._left -= 1
            self._journal.note_incident(*self._run, kind, subject, message)


def publish_left_alone(
    registration: Registration, batch: str, events: EventBus, keeper: IncidentKeeper
) -> None:
    """Publish the decisions that a person must make, and record for `status` which other entries are left alone.

    *keeper* must be a subscriber of *events*, so that it records the decisions.
    """
    for entry_id, reason in registration.undecided.items():
        events.publish(DecisionNeeded(batch=batch, entry=entry_id, reason=reason))
    keeper.left_alone(_INVALID, registration.invalid)
    keeper.left_alone(_TOO_YOUNG, registration.too_young)
