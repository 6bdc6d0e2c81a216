"""The progress of a run, updated at constant cost per event."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import (
    BatchDrained,
    EntryFailed,
    EntryFinished,
    EntryStarted,
    EntryTransitioned,
    Event,
    FilmsChecked,
    OutageBegan,
    OutageEnded,
    OutageProlonged,
    RetryScheduled,
    RunStarted,
    SegmentProgressed,
    SegmentStored,
    UrlsExpired,
)

#: Seconds over which throughput is measured.
WINDOW_SECONDS = 10.0
_SAMPLE_SECONDS = 0.5

Part = tuple[AssetKind, int]


@dataclass(slots=True)
class ActiveEntry:
    """An entry that a worker processes; bytes in flight count until their attempt fails."""

    entry: str
    state: EntryState
    bytes_total: int
    bytes_stored: int
    #: The time of its last transition, by the tracker's clock.
    since: float = 0.0
    moving: dict[Part, int] = field(default_factory=dict)
    bytes_moving: int = 0
    #: Its last failed attempt, cleared by the next success, and the time of the failure.
    retry: RetryScheduled | None = None
    retried_at: float = 0.0

    @property
    def bytes_done(self) -> int:
        """The bytes that are stored or in flight."""
        return min(self.bytes_stored + self.bytes_moving, self.bytes_total)


class RunTracker:
    """A subscriber that tracks the progress of a run; *monotonic* is a clock in seconds."""

    name = "the count of what is done"

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.batch = ""
        self.entries_total = 0
        self.entries_done = 0
        self.entries_failed = 0
        self.bytes_total = 0
        self.retries = 0
        #: The number of retries of calls and segments by the kind of error.
        self.causes: Counter[str] = Counter()
        #: The progress of checking films; None once the run begins.
        self.checking: FilmsChecked | None = None
        self.bytes_sent = 0
        self.is_draining = False
        self.has_worked = False
        self.active: dict[str, ActiveEntry] = {}
        #: The current outages by side, each with the time at which it was reported.
        self.outages: dict[str, tuple[OutageBegan, float]] = {}
        self._bytes_stored = 0
        self._bytes_moving = 0
        self._bytes_given_up = 0
        self._monotonic = monotonic
        self._began = monotonic()
        self._samples: deque[tuple[float, int]] = deque([(self._began, 0)])
        self._handlers: dict[type[Event], Callable[..., None]] = {
            RunStarted: self._run_started,
            EntryStarted: self._entry_started,
            EntryTransitioned: self._transitioned,
            EntryFailed: self._failed,
            EntryFinished: self._finished,
            SegmentProgressed: self._progressed,
            SegmentStored: self._stored,
            RetryScheduled: self._retried,
            UrlsExpired: self._expired,
            OutageBegan: self._waiting,
            OutageProlonged: self._waiting,
            OutageEnded: self._waited,
            BatchDrained: self._drained,
            FilmsChecked: self._checked,
        }
        self.event_types = self._handlers.keys()

    def __call__(self, event: Event) -> None:
        """Update the progress with *event*."""
        self._handlers[type(event)](event)

    def waits(self) -> list[tuple[OutageBegan, float]]:
        """Return the current outages, each with the seconds since it was last reported."""
        now = self._monotonic()
        return [(event, now - told_at) for event, told_at in list(self.outages.values())]

    def seconds_in_state(self, entry: ActiveEntry) -> float:
        """Return the seconds that *entry* has been in its state."""
        return self._monotonic() - entry.since

    def retry_of(self, entry: ActiveEntry) -> tuple[RetryScheduled, float] | None:
        """Return the pending retry of *entry* and the seconds until it; None without a failed attempt."""
        if entry.retry is None:
            return None
        return entry.retry, max(entry.retried_at + entry.retry.delay - self._monotonic(), 0.0)

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the run began."""
        return self._monotonic() - self._began

    @property
    def bytes_done(self) -> int:
        """The bytes that are in flight or stored, by this run or earlier ones."""
        return max(0, min(self._bytes_stored + self._bytes_moving, self.bytes_total))

    @property
    def bytes_per_second(self) -> float:
        """The send rate of this run over the last seconds; resumed bytes do not count."""
        now, sent = self._monotonic(), self.bytes_sent + self._bytes_moving
        began, before = self._samples[0]
        return max(sent - before, 0) / (now - began) if now > began else 0.0

    @property
    def seconds_left(self) -> float | None:
        """The estimated seconds left at the current rate; None when nothing is being sent."""
        left = max(self.bytes_total - self.bytes_done - self._bytes_given_up, 0)
        rate = self.bytes_per_second
        return left / rate if rate > 0 else None

    def sample(self) -> None:
        """Record the bytes sent so far, so that the rate covers only the last seconds."""
        now = self._monotonic()
        if now - self._samples[-1][0] < _SAMPLE_SECONDS:
            return
        self._samples.append((now, self.bytes_sent + self._bytes_moving))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW_SECONDS:
            self._samples.popleft()

    def _run_started(self, event: RunStarted) -> None:
        self.batch = event.batch
        self.entries_total, self.entries_done = event.totals.entries, event.done_entries
        self.bytes_total, self._bytes_stored = event.totals.bytes, event.stored_bytes
        self.checking = None

    def _entry_started(self, event: EntryStarted) -> None:
        self.has_worked = True
        stored = event.bytes_total - event.bytes_left
        self.active[event.entry] = ActiveEntry(
            event.entry, event.state, event.bytes_total, stored, since=self._monotonic()
        )

    def _transitioned(self, event: EntryTransitioned) -> None:
        entry = self.active.get(event.entry)
        if entry is None:
            return
        entry.state, entry.since, entry.retry = event.to_state, self._monotonic(), None
        if event.to_state is EntryState.PENDING:
            self._lose(entry, entry.bytes_stored)

    def _failed(self, event: EntryFailed) -> None:
        self.entries_failed += 1
        entry = self.active.get(event.entry)
        if entry is not None:
            self._bytes_given_up += entry.bytes_total - entry.bytes_stored

    def _finished(self, event: EntryFinished) -> None:
        self.entries_done += event.is_done
        entry = self.active.pop(event.entry, None)
        if entry is not None:
            self._bytes_moving -= entry.bytes_moving

    def _progressed(self, event: SegmentProgressed) -> None:
        entry = self.active.get(event.entry)
        if entry is None:
            return
        part = (event.asset, event.part_number)
        entry.moving[part] = entry.moving.get(part, 0) + event.bytes
        entry.bytes_moving += event.bytes
        self._bytes_moving += event.bytes

    def _stored(self, event: SegmentStored) -> None:
        entry = self.active.get(event.entry)
        if entry is None:
            return
        entry.retry = None
        moved = entry.moving.pop((event.asset, event.part_number), 0)
        entry.bytes_moving -= moved
        self._bytes_moving -= moved
        entry.bytes_stored += event.bytes
        self._bytes_stored += event.bytes
        if not event.is_resumed:
            self.bytes_sent += event.bytes

    def _retried(self, event: RetryScheduled) -> None:
        self.retries += event.asset is not None
        self.causes[event.kind] += 1
        entry = self.active.get(event.entry)
        if entry is not None:
            entry.retry, entry.retried_at = event, self._monotonic()

    def _expired(self, event: UrlsExpired) -> None:
        entry = self.active.get(event.entry)
        if entry is not None:
            self._lose(entry, event.lost_bytes)

    def _lose(self, entry: ActiveEntry, lost_bytes: int) -> None:
        lost = min(lost_bytes, entry.bytes_stored)
        entry.bytes_stored -= lost
        self._bytes_stored -= lost

    def _waiting(self, event: OutageBegan) -> None:
        self.outages[event.side] = event, self._monotonic()

    def _waited(self, event: OutageEnded) -> None:
        self.outages.pop(event.side, None)

    def _checked(self, event: FilmsChecked) -> None:
        self.checking = event

    def _drained(self, _event: BatchDrained) -> None:
        self.is_draining = True
