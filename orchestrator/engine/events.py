"""The typed events of a run, to which progress, logs, the events file and results subscribe.

docs/events.md lists the events that programs can read and explains each field.

Subscribers are called in order, on the event loop, and must not block. A subscriber that fails is dropped: a report
of the work is never worth more than the work (design section 2.1).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.states import EntryState, JobGroup

if TYPE_CHECKING:
    from orchestrator.metastudio.rate_limit import ApiAttempt

#: The standard library's logger, because most runs log nothing and need not load another.
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; `name` is its name in logs."""

    name: ClassVar[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The size of a batch: its entries, the segments of their assets, and bytes."""

    entries: int
    segments: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run began; `stored_segments` and `stored_bytes` count what earlier runs delivered."""

    name: ClassVar[str] = "run.started"
    batch: str
    run_id: str
    totals: Totals
    done_entries: int
    stored_segments: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """A run ended with *exit_code*."""

    name: ClassVar[str] = "run.finished"
    batch: str
    run_id: str
    exit_code: int
    elapsed_seconds: float
    #: By outcome, as in the run's document: total, done, failed, skipped, pending.
    entries: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchQueued(Event):
    """The command *run_id* has queued entries of the batch for a fleet; each worker notices it separately."""

    name: ClassVar[str] = "batch.queued"
    batch: str
    digest: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFinished(Event):
    """The batch has left the queue; *exit_code* is that of a single run with the same results.

    *elapsed_seconds* counts from when the command *run_id* queued the batch.
    """

    name: ClassVar[str] = "batch.finished"
    batch: str
    digest: str
    run_id: str
    exit_code: int
    elapsed_seconds: float
    #: By outcome, as in the run's document: total, done, failed, skipped, pending.
    entries: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDrained(Event):
    """The run takes no new work from now on."""

    name: ClassVar[str] = "batch.drained"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceWarning(Event):
    """A warning about the service or the store rather than about an entry."""

    name: ClassVar[str] = "service.warning_raised"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmsChecked(Event):
    """*done* films of the manifest are checked, before any entry is worked on; published about once a second.

    *total* is None while the manifest has not been read to its end.
    """

    name: ClassVar[str] = "films.checked"
    done: int
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAttempted(Event):
    """One attempt of a service call took *seconds*; *outcome* is `ok` or the kind of the error."""

    name: ClassVar[str] = "call.attempted"
    operation: str
    attempt: int
    outcome: str
    status: int | None
    code: str | None
    request_id: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonStarted(Event):
    """*files* local files will be read and compared with what was sent, before any entry is worked on."""

    name: ClassVar[str] = "comparison.started"
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberDropped(Event):
    """A subscriber failed and receives no more events; the run continues."""

    name: ClassVar[str] = "subscriber.dropped"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageEvent(Event):
    """The state of an outage of *side*: the service, one of its limits, or a store; times in seconds."""

    side: str
    lasted_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageBegan(OutageEvent):
    """All requests wait while one at a time probes the side; after *patience_seconds* of outage the run ends."""

    name: ClassVar[str] = "outage.begun"
    kind: str
    reason: str
    code: str | None
    request_id: str | None
    next_try_seconds: float
    patience_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageProlonged(OutageBegan):
    """Another probe failed."""

    name: ClassVar[str] = "outage.prolonged"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageEnded(OutageEvent):
    """The side answers again."""

    name: ClassVar[str] = "outage.ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryEvent(Event):
    """Something that happened to an entry of *batch*; a worker of a fleet may work on several batches."""

    batch: str
    entry: str
    job_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryStarted(EntryEvent):
    """A worker took the entry; `bytes_left` of its `bytes_total` are not on the service yet."""

    name: ClassVar[str] = "entry.started"
    state: EntryState
    bytes_total: int
    bytes_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryTransitioned(EntryEvent):
    """The entry's state changed."""

    name: ClassVar[str] = "entry.transitioned"
    from_state: EntryState
    to_state: EntryState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFinished(EntryEvent):
    """A worker has stopped working on the entry, which is in *state*."""

    name: ClassVar[str] = "entry.finished"
    state: EntryState
    is_done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFailed(EntryEvent):
    """The entry failed; the fields are those listed in design section 4."""

    name: ClassVar[str] = "entry.failed"
    kind: str
    code: str | None
    message: str
    request_id: str | None
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryHandedBack(EntryEvent):
    """This *host* of a fleet cannot use the entry's files; the entry stays as it is, for another host."""

    name: ClassVar[str] = "entry.handed_back"
    host: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentProgressed(EntryEvent):
    """*bytes* more of a segment were handed to the network; negative when an attempt failed."""

    name: ClassVar[str] = "segment.progressed"
    asset: AssetKind
    part_number: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStored(EntryEvent):
    """The store has the segment; `is_resumed` means that it already had it and nothing was sent.

    It took *seconds* from the first attempt in this run. The last PUT took *put_seconds* of them, waiting the rest.
    """

    name: ClassVar[str] = "segment.stored"
    asset: AssetKind
    part_number: int
    bytes: int
    attempt: int
    is_resumed: bool
    is_verified: bool
    seconds: float
    put_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(EntryEvent):
    """An attempt failed and will be repeated after *delay* seconds, and after the outage if there is one.

    *asset* and *part_number* name the segment when the attempt was a PUT of one.
    """

    name: ClassVar[str] = "request.retry_scheduled"
    operation: str
    asset: AssetKind | None = None
    part_number: int | None = None
    attempt: int
    delay: float
    kind: str
    code: str | None
    request_id: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelismAdjusted(Event):
    """The limit on concurrent PUTs changed; *goodput* was measured before the change, in bytes per second."""

    name: ClassVar[str] = "parallelism.adjusted"
    before: int
    after: int
    reason: str
    goodput: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlsExpired(EntryEvent):
    """The entry's upload URLs have expired; *lost_bytes* must be sent again."""

    name: ClassVar[str] = "entry.urls_expired"
    remedy: str
    lost_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStateChanged(EntryEvent):
    """The service reports a new state of a job; *reason* and *code* come from a reviewer."""

    name: ClassVar[str] = "job.state_changed"
    service_state: str
    group: JobGroup
    reason: str | None
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningRaised(EntryEvent):
    """A warning about the entry that stops nothing."""

    name: ClassVar[str] = "entry.warning_raised"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionNeeded(EntryEvent):
    """A person must decide before the entry is worked on; one that needs a decision later fails instead."""

    name: ClassVar[str] = "entry.decision_needed"
    reason: str


class Point(StrEnum):
    """A remote call or a journal write in the lifecycle of an entry.

    A kill just before or just after a point leaves a state that the next run must work out.
    """

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    SHOW = "show"
    LIST = "list"
    LIST_BATCH = "list_batch"
    PUT = "put"
    LIST_PARTS = "get_multipart_uploaded"
    LIST_ACTION_PARTS = "get_action_video_multipart_uploaded"
    CONFIRM = "confirm_multipart_uploaded"
    CONFIRM_ACTION = "confirm_action_video_multipart_uploaded"
    CONFIRM_LETTER = "confirm_authorization_letter"
    SUBMIT = "submitverifying"
    # Journal writes: one for each state, then those without a state.
    WRITE_PENDING = "journal.pending"
    WRITE_CREATING = "journal.creating"
    WRITE_UPLOADING = "journal.uploading"
    WRITE_UPLOADED = "journal.uploaded"
    WRITE_CONFIRMING = "journal.confirming"
    WRITE_CONFIRMED = "journal.confirmed"
    WRITE_SUBMITTING = "journal.submitting"
    WRITE_SUBMITTED = "journal.submitted"
    WRITE_IN_REVIEW = "journal.in_review"
    WRITE_REVIEW_FAILED = "journal.review_failed"
    WRITE_TRAINING = "journal.training"
    WRITE_TRAINED = "journal.trained"
    WRITE_FAILED = "journal.failed"
    WRITE_CLAIM = "journal.claim"
    WRITE_HANDED_BACK = "journal.handed_back"
    WRITE_JOB = "journal.job"
    WRITE_ADOPTED = "journal.adopted"
    WRITE_MOVED = "journal.moved"
    WRITE_REOPENED = "journal.reopened"
    WRITE_JOB_GONE = "journal.job_gone"
    WRITE_URLS = "journal.urls"
    WRITE_PLAN = "journal.plan"
    WRITE_UPDATING = "journal.updating"
    WRITE_JOINED = "journal.joined"
    WRITE_STARTED = "journal.started"
    WRITE_RECEIPT = "journal.receipt"
    WRITE_MISSING = "journal.missing"

    @property
    def before(self) -> str:
        """The name of the moment before the point."""
        return f"{self}.before"

    @property
    def after(self) -> str:
        """The name of the moment after the point, which is not reached when it fails."""
        return f"{self}.after"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReached(EntryEvent):
    """The lifecycle reached *point*, before or after a `Point`, for the segment when one is named."""

    name: ClassVar[str] = "step.reached"
    point: str
    asset: AssetKind | None = None
    part_number: int | None = None


Subscriber = Callable[[Event], None]


class _Listeners(dict[type[Event], tuple[Subscriber, ...]]):
    """The *subscribers* to each kind of event, cached because an entry looks them up dozens of times."""

    def __init__(self, subscribers: list[Subscriber]) -> None:
        super().__init__()
        self._subscribers = subscribers

    def __missing__(self, kind: type[Event]) -> tuple[Subscriber, ...]:
        wanting = (each for each in self._subscribers if kind in getattr(each, "event_types", (kind,)))
        listeners = self[kind] = tuple(wanting)
        return listeners


class EventBus:
    """Delivers each event to every subscriber; one that has `event_types` receives only the kinds in it.

    A subscriber's `name` appears in messages, for example "the progress display".
    """

    def __init__(self, *subscribers: Subscriber) -> None:
        self._subscribers = list(subscribers)
        self._listeners = _Listeners(self._subscribers)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Add *subscriber* at the end."""
        self._subscribers.append(subscriber)
        self._listeners.clear()

    def has_subscriber(self, kind: type[Event]) -> bool:
        """True when a subscriber listens to events of *kind*; lets callers skip building high-volume events."""
        return bool(self._listeners[kind])

    def publish(self, event: Event) -> None:
        """Pass *event* to every subscriber that listens to it; drop one that raises, and publish that."""
        for subscriber in self._listeners[type(event)]:
            try:
                subscriber(event)
            except Exception as error:
                # No fault of a subscriber may stop the work.
                if subscriber not in self._subscribers:
                    continue
                self._subscribers.remove(subscriber)
                self._listeners.clear()
                name = getattr(subscriber, "name", "a subscriber")
                if not isinstance(error, OSError):
                    log.exception("subscriber.crashed", extra={"fields": {"subscriber": name}})
                reason = (error.strerror if isinstance(error, OSError) else None) or "an unexpected error"
                self.publish(SubscriberDropped(message=f"{name} failed and is left out: {reason}"))


def publishing_attempts(events: EventBus) -> Callable[[ApiAttempt], None]:
    """Return a callback that publishes every attempt of a service call on *events* if a subscriber listens."""

    def tell(attempt: ApiAttempt) -> None:
        if events.has_subscriber(CallAttempted):
            events.publish(
                CallAttempted(
                    operation=attempt.operation,
                    attempt=attempt.attempt,
                    outcome=attempt.outcome,
                    status=attempt.status,
                    code=attempt.code,
                    request_id=attempt.request_id,
                    seconds=attempt.seconds,
                )
            )

    return tell
