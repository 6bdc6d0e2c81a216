"""What happens in a run, as typed events; progress, logs, the events file and results subscribe to them.

docs/events.md says which of them programs can read, and what each field means.

Subscribers are called in order, on the event loop, and must not block. One that fails is dropped: a report of the
work is never worth more than the work (design section 2.1).
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

#: The standard library's, since most runs log nothing and need not load more.
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; `name` is what logs call it."""

    name: ClassVar[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a batch asks for: entries, assets cut into segments, and bytes."""

    entries: int
    segments: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run begins; `stored` is what earlier runs have brought to the service."""

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
    """Entries of the batch are in the queue of a fleet, by the command *run_id*; each worker sees that for itself."""

    name: ClassVar[str] = "batch.queued"
    batch: str
    digest: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFinished(Event):
    """Nothing of the batch is queued any more; *exit_code* is what a run that had done it all would have ended with.

    The seconds are those since the command *run_id* queued it.
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
    """No new work is taken."""

    name: ClassVar[str] = "batch.drained"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceWarning(Event):
    """Something about the service or the store that a person should know; published once a run."""

    name: ClassVar[str] = "service.warning_raised"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmsChecked(Event):
    """*done* films of the manifest are checked, before any entry is worked on; told about once a second.

    *total* is None while the manifest has not been read to its end.
    """

    name: ClassVar[str] = "films.checked"
    done: int
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAttempted(Event):
    """One try of a call of the service took *seconds*; *outcome* is `ok` or the kind of the error."""

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
    """*files* local files are read, before any entry is worked on, to compare them with what was sent."""

    name: ClassVar[str] = "comparison.started"
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberDropped(Event):
    """A subscriber failed and hears nothing from now on; the run goes on."""

    name: ClassVar[str] = "subscriber.dropped"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageEvent(Event):
    """The service, one of its limits, or a store (*side*) cannot be worked with; times in seconds."""

    side: str
    lasted_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageBegan(OutageEvent):
    """All wait; one request at a time tries again, and after *patience_seconds* of outage the run ends."""

    name: ClassVar[str] = "outage.begun"
    kind: str
    reason: str
    code: str | None
    request_id: str | None
    next_try_seconds: float
    patience_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageProlonged(OutageBegan):
    """A try failed as well."""

    name: ClassVar[str] = "outage.prolonged"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageEnded(OutageEvent):
    """The side answers again."""

    name: ClassVar[str] = "outage.ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryEvent(Event):
    """Something that happened to an entry of *batch*, of which a worker of a fleet may have several."""

    batch: str
    entry: str
    job_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryStarted(EntryEvent):
    """A worker took the entry; `bytes_left` of `bytes_total` are not on the service."""

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
    """A worker is finished with the entry, which is in *state*."""

    name: ClassVar[str] = "entry.finished"
    state: EntryState
    is_done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFailed(EntryEvent):
    """The entry failed; the fields are those of design section 4."""

    name: ClassVar[str] = "entry.failed"
    kind: str
    code: str | None
    message: str
    request_id: str | None
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryHandedBack(EntryEvent):
    """This *host* of a fleet cannot use the entry's files; it stays as it is, for another host."""

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
    """The store has the segment; `is_resumed` when it had it before and nothing was sent.

    It took *seconds* from its first try in this run, of which the last PUT took *put_seconds*: the rest was waiting.
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
    """A try failed and will be repeated after *delay* seconds, and after the outage if there is one.

    The segment is named when it was one's.
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
    """The limit on concurrent PUTs changed; *goodput* before it is in bytes per second."""

    name: ClassVar[str] = "parallelism.adjusted"
    before: int
    after: int
    reason: str
    goodput: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlsExpired(EntryEvent):
    """The entry's upload URLs are dead; *lost_bytes* must be sent again."""

    name: ClassVar[str] = "entry.urls_expired"
    remedy: str
    lost_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStateChanged(EntryEvent):
    """The service has a job in another state than before; *reason* and *code* are a reviewer's."""

    name: ClassVar[str] = "job.state_changed"
    service_state: str
    group: JobGroup
    reason: str | None
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningRaised(EntryEvent):
    """Something a person should know that stops nothing."""

    name: ClassVar[str] = "entry.warning_raised"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionNeeded(EntryEvent):
    """Nothing is done with the entry until a person has chosen; one that needs it later fails for it."""

    name: ClassVar[str] = "entry.decision_needed"
    reason: str


class Point(StrEnum):
    """A remote call or a journal write on an entry's way.

    A kill just before or just after one leaves what the next run has to find out.
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
    # The journal: each state, and what is written without one.
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
        """The name of the moment before it."""
        return f"{self}.before"

    @property
    def after(self) -> str:
        """The name of the moment after it, unless it failed."""
        return f"{self}.after"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReached(EntryEvent):
    """The lifecycle is at *point*, before or after a `Point`; of a segment where one is named."""

    name: ClassVar[str] = "step.reached"
    point: str
    asset: AssetKind | None = None
    part_number: int | None = None


Subscriber = Callable[[Event], None]


class _Listeners(dict[type[Event], tuple[Subscriber, ...]]):
    """Which of *subscribers* want a kind of event: looked for once, since an entry asks dozens of times."""

    def __init__(self, subscribers: list[Subscriber]) -> None:
        super().__init__()
        self._subscribers = subscribers

    def __missing__(self, kind: type[Event]) -> tuple[Subscriber, ...]:
        wanting = (each for each in self._subscribers if kind in getattr(each, "hears", (kind,)))
        listeners = self[kind] = tuple(wanting)
        return listeners


class EventBus:
    """Hands each event to every subscriber, but to one that has `hears` only the kinds in it.

    A subscriber's `name` is what messages call it, such as "the progress display".
    """

    def __init__(self, *subscribers: Subscriber) -> None:
        self._subscribers = list(subscribers)
        self._listeners = _Listeners(self._subscribers)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Add *subscriber* at the end."""
        self._subscribers.append(subscriber)
        self._listeners.clear()

    def is_heard(self, kind: type[Event]) -> bool:
        """True when a subscriber wants events of *kind*; lets callers skip building high-volume events."""
        return bool(self._listeners[kind])

    def publish(self, event: Event) -> None:
        """Call every subscriber that wants *event* with it; one that raises is dropped, as the others hear."""
        for subscriber in self._listeners[type(event)]:
            try:
                subscriber(event)
            except Exception as error:
                # Whatever is wrong with it, the work is worth more.
                if subscriber not in self._subscribers:
                    continue
                self._subscribers.remove(subscriber)
                self._listeners.clear()
                name = getattr(subscriber, "name", "a subscriber")
                if not isinstance(error, OSError):
                    log.exception("subscriber.crashed", extra={"told": {"subscriber": name}})
                reason = (error.strerror if isinstance(error, OSError) else None) or "an unexpected error"
                self.publish(SubscriberDropped(message=f"{name} failed and is left out: {reason}"))


def telling_attempts(events: EventBus) -> Callable[[ApiAttempt], None]:
    """Publish every try of a call of the service on *events*, where one listens."""

    def tell(attempt: ApiAttempt) -> None:
        if events.is_heard(CallAttempted):
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
