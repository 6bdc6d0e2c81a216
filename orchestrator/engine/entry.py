"""An entry claimed by a worker: its record, which mirrors the journal, the events of its changes, and its hold.

A hold is a worker's right to act on an entry. By the worker's own clock it ends before another host may take the
entry over. The journal's epoch keeps a worker that was frozen from writing; it cannot keep it from sending. Every
request therefore checks the hold first: each service call right before it is sent, and each PUT.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import anyio

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.avatar import Avatar
from orchestrator.domain.entries import SeenJob
from orchestrator.domain.errors import GaveUpError, HoldLostError, OrchestratorError, RetryableError
from orchestrator.domain.evidence import Receipt
from orchestrator.domain.retry import Attempts, RetryBudget
from orchestrator.domain.states import EntryState, Facts
from orchestrator.domain.untrusted_text import without
from orchestrator.engine.events import (
    EntryEvent,
    EntryFailed,
    EntryHandedBack,
    EntryTransitioned,
    Point,
    RetryScheduled,
    SegmentStored,
    StepReached,
    WarningRaised,
)
from orchestrator.journal.history import NOT_TIMED, AttemptRecord, SegmentTimes
from orchestrator.journal.records import EntryRecord, ErrorRecord, SegmentRecord, Twin

if TYPE_CHECKING:
    from orchestrator.engine.context import Run

#: The context of every step that no subscriber listens to.
_UNPUBLISHED: Final = nullcontext()
#: The fraction of a hold's time in which requests are admitted; the rest is for a request that is still in flight.
_GOOD_SHARE: Final = 0.9
T = TypeVar("T")


class ClaimedEntry:
    """One claimed entry, whose epoch this worker has raised.

    Every change goes to the journal first, then to the subscribers.
    """

    def __init__(self, record: EntryRecord, run: Run) -> None:
        self.record = record
        self.avatar: Avatar = record.avatar
        #: Concealed in every message about the entry, even where the service repeats it.
        self._contacts = (self.avatar.contact,) if self.avatar.contact else ()
        self.segments: list[SegmentRecord] = []
        #: False while the service may hold parts that have no receipt in the journal.
        self.is_reconciled = record.job_id is None
        #: The name of its batch, for events and messages.
        self.batch_name = run.batch.name
        self._run = run
        self._budget = RetryBudget(run.settings.entry_retries, run.budget)

    @property
    def entry_id(self) -> str:
        """The id of the entry in the manifest and the journal."""
        return self.record.entry_id

    @property
    def is_submit_wanted(self) -> bool:
        """True when the run, or a request journaled with the entry, asks for its job to be submitted."""
        return self._run.settings.is_submit_wanted or self.record.is_submit_wanted

    @property
    def job_id(self) -> str:
        """The service's id of the job; raises RuntimeError when the entry has no job."""
        if self.record.job_id is None:
            raise RuntimeError(f"entry {self.entry_id} has no job")
        return self.record.job_id

    @property
    def way_to_new_job(self) -> str:
        """The commands that give the entry a new job, for hints."""
        batch, entry = quote(self.batch_name), quote(self.entry_id)
        return (
            f"`orchestrator cancel {batch} --entry {entry} --yes` deletes the job, "
            f"then `orchestrator retry {batch} --entry {entry}` makes a new one"
        )

    @property
    def facts(self) -> Facts:
        """The facts that decide the next step."""
        return Facts(
            create_tag=self.record.create_tag,
            job_id=self.record.job_id,
            segments_left=len(self.segments_left()),
            is_confirmed=self.record.confirmed_at is not None,
            is_submitted=self.record.submitted_at is not None,
            change=self.record.change_wanted,
        )

    def asset(self, kind: AssetKind) -> Asset:
        """The entry's asset of *kind*."""
        return next(asset for asset in self.record.assets if asset.kind is kind)

    def segments_left(self) -> list[SegmentRecord]:
        """The segments that have no receipt."""
        return [segment for segment in self.segments if segment.receipt is None]

    def stored_bytes(self) -> int:
        """The total length of the segments that have a receipt."""
        return sum(segment.segment.length for segment in self.segments if segment.receipt is not None)

    async def load_segments(self) -> None:
        """Read the segments from the journal; without a job there are none."""
        if self.record.job_id is not None:
            self.segments = await self._run.journal.segments(self.record)

    def step(self, point: Point, segment: SegmentRecord | None = None) -> AbstractContextManager[None]:
        """Publish the moments before and, unless it fails, after the request or journal write inside."""
        # An entry has dozens of steps, and in most runs no subscriber listens to them.
        return (
            self._published_step(point, segment)
            if self._run.events.has_subscriber(StepReached)
            else _UNPUBLISHED
        )

    @contextmanager
    def _published_step(self, point: Point, segment: SegmentRecord | None) -> Iterator[None]:
        self._reach(point.before, segment)
        yield
        self._reach(point.after, segment)

    def _reach(self, point: str, segment: SegmentRecord | None) -> None:
        self._publish(
            StepReached,
            point=point,
            asset=segment.kind if segment else None,
            part_number=segment.segment.part_number if segment else None,
        )

    def _publish(self, event: type[EntryEvent], /, **facts: Any) -> None:
        job_id = self.record.job_id
        self._run.events.publish(event(batch=self.batch_name, entry=self.entry_id, job_id=job_id, **facts))

    def warn(self, message: str) -> None:
        """Publish a warning about the entry."""
        message = without(message, self._contacts)
        self._publish(WarningRaised, message=message)

    def warn_if(self, message: str | None) -> None:
        """Publish *message* as a warning unless it is None."""
        if message is not None:
            self.warn(message)

    async def transition(self, target: EntryState, reason: str, **facts: Any) -> None:
        """Change the state in the journal, then publish the change."""
        write = self._run.journal.transition(self.record, target, reason, **facts)
        await self._write(Point(f"journal.{target}"), reason, write)

    async def request_job(self, tag: str, reason: str, *, of_job: SeenJob | None = None) -> None:
        """Journal, before the request, that a job may get *tag*: a new one, or *of_job* when that exists."""
        write = self._run.journal.create_requested(self.record, tag, reason, of_job=of_job)
        await self._write(Point.WRITE_CREATING, reason, write)

    async def adopt_job(self, job_id: str, target: EntryState, reason: str, delivered: str) -> None:
        """Journal a job that already holds its files."""
        write = self._run.journal.job_adopted(self.record, job_id, target, reason, delivered=delivered)
        await self._write(Point.WRITE_ADOPTED, reason, write, segments=())

    async def take_job_of(self, twin: Twin) -> None:
        """Journal that the entry takes over the job of its twin in another batch."""
        reason = f"taken over from batch {twin.batch.name}"
        await self._write(
            Point.WRITE_MOVED, reason, self._run.journal.job_moved(self.record, twin.entry, reason)
        )
        self.is_reconciled = False
        await self.load_segments()

    async def keep_job(self, job_id: str, planned: Sequence[SegmentRecord], reason: str) -> None:
        """Journal the job and the upload URLs of its segments."""
        write = self._run.journal.job_created(self.record, job_id, planned, reason)
        await self._write(Point.WRITE_JOB, reason, write, segments=planned)

    async def note(self, what: Point, **facts: Any) -> None:
        """Journal *facts* without changing the state."""
        await self._write(what, None, self._run.journal.set_facts(self.record, **facts))

    async def replace_segments(self, planned: Sequence[SegmentRecord]) -> None:
        """Journal fresh URLs for the entry's existing job."""
        write = self._run.journal.replace_segments(self.record, planned)
        await self._write(Point.WRITE_URLS, None, write, segments=planned)
        self.is_reconciled = False

    async def reopen(self, planned: Sequence[SegmentRecord], reason: str) -> None:
        """Journal that the job accepts files again, and their new URLs."""
        write = self._run.journal.job_reopened(self.record, planned, reason)
        await self._write(Point.WRITE_REOPENED, reason, write, segments=planned)
        self.is_reconciled = False

    async def forget_job(self, reason: str) -> None:
        """Journal that the service no longer has the job."""
        await self._write(
            Point.WRITE_JOB_GONE, reason, self._run.journal.job_gone(self.record, reason), segments=()
        )
        self.is_reconciled = True

    async def put_plan_back(self) -> None:
        """Journal that the job stays as it is because the service refused the change."""
        await self._write(Point.WRITE_PLAN, None, self._run.journal.put_plan_back(self.record))
        self.avatar = self.record.avatar

    async def confirmed(self, reason: str, delivered: str, **facts: Any) -> None:
        """Journal that the service has joined the parts, together with *facts*."""
        write = self._run.journal.confirmed(self.record, reason, delivered=delivered, **facts)
        await self._write(Point.WRITE_CONFIRMED, reason, write)

    async def failed(self, error: OrchestratorError) -> None:
        """Journal the error that stops the entry, unless it has failed already or is cancelled."""
        if self.record.state in {EntryState.FAILED, EntryState.CANCELLED}:
            return
        error.conceal(self._contacts)
        reason = ErrorRecord(**error.facts, hint=error.hint)
        await self._write(Point.WRITE_FAILED, error.message, self._run.journal.failed(self.record, reason))
        self._publish(EntryFailed, **error.facts, hint=error.hint)

    async def hand_back(self, error: OrchestratorError) -> None:
        """Journal that this host cannot use the entry's files; nothing else changes, as another host may."""
        host = self._run.host or ""
        error.conceal(self._contacts)
        write = self._run.journal.hand_back(self.record, host, error.message)
        await self._write(Point.WRITE_HANDED_BACK, None, write)
        self._publish(EntryHandedBack, host=host, message=error.message)

    async def _write(
        self,
        point: Point,
        reason: str | None,
        write: Awaitable[EntryRecord],
        *,
        segments: Sequence[SegmentRecord] | None = None,
    ) -> None:
        """Await the journal's *write* and mirror its result; with a *reason* also publish the transition."""
        before = self.record.state
        with self.step(point):
            self.record = await write
        if segments is not None:
            self.segments = list(segments)
        if reason is not None:
            self._publish(EntryTransitioned, from_state=before, to_state=self.record.state, reason=reason)

    async def drop_receipts(self, missing: Sequence[SegmentRecord]) -> None:
        """Journal that the service does not have these segments, although their URLs may be used up."""
        parts = [(segment.kind, segment.segment.part_number) for segment in missing]
        with self.step(Point.WRITE_MISSING):
            await self._run.journal.segments_missing(self.record, parts)
        now = self._run.clocks.clock()
        self.segments = [
            replace(segment, receipt=None, stored_at=None, started_at=segment.started_at or now)
            if segment in missing
            else segment
            for segment in self.segments
        ]

    async def stored(
        self,
        sent: SegmentRecord,
        receipt: Receipt,
        *,
        attempt: int,
        seconds: float = 0.0,
        put_seconds: float = 0.0,
    ) -> None:
        """Journal the receipt; *attempt* 0 means that the service already had the segment."""
        number = sent.segment.part_number
        times = SegmentTimes(put_seconds, seconds) if attempt else NOT_TIMED
        with self.step(Point.WRITE_RECEIPT, sent):
            await self._run.journal.segment_stored(
                self.record, sent.kind, number, receipt, attempt, times=times
            )
        self._update_segment(sent, receipt)
        self._publish(
            SegmentStored,
            asset=sent.kind,
            part_number=number,
            bytes=sent.segment.length,
            attempt=attempt,
            is_resumed=attempt == 0,
            is_verified=receipt.is_verified,
            seconds=seconds,
            put_seconds=put_seconds,
        )

    async def prove(self, sent: SegmentRecord, receipt: Receipt) -> None:
        """Journal proof found later for a segment that already counts as stored."""
        number = sent.segment.part_number
        with self.step(Point.WRITE_RECEIPT, sent):
            await self._run.journal.segment_stored(self.record, sent.kind, number, receipt, 0)
        self._update_segment(sent, receipt)

    def _update_segment(self, sent: SegmentRecord, receipt: Receipt) -> None:
        # By identity: comparing fields would make a thousand parts noticeably slow.
        place = next(number for number, segment in enumerate(self.segments) if segment is sent)
        self.segments[place] = replace(sent, stored_at=self._run.clocks.clock(), receipt=receipt)

    def attempts(
        self,
        operation: str,
        sent: SegmentRecord | None = None,
        *,
        on: type[RetryableError] = RetryableError,
    ) -> Attempts:
        """Return the attempts of one operation, limited by the run's policy and the budgets of entry and run.

        They raise GaveUpError when these are used up and StoppedError when the run drains.
        """
        return Attempts(
            lambda error, attempts: self._wait_before_retry(error, operation, attempts.number, sent), on=on
        )

    async def _wait_before_retry(
        self, error: RetryableError, operation: str, attempt: int, sent: SegmentRecord | None
    ) -> int:
        error.conceal(self._contacts)
        asset = sent.kind if sent else None
        part_number = sent.segment.part_number if sent else None
        kept = AttemptRecord(
            at=self._run.clocks.clock(),
            operation=operation,
            asset=asset.value if asset else None,
            part_number=part_number,
            attempt=attempt,
            seconds=None,
            **error.facts,
        )
        self._run.journal.note_attempt(self.record, kept)
        delay = (
            0.0
            if error.is_outage
            else self._run.work.policy.delay_after(error, attempt, self._run.clocks.draw)
        )
        if delay is None or not (error.is_outage or self._budget.take()):
            raise error.restated(
                GaveUpError,
                f"{error.message} (gave up after {attempt} attempts)",
                hint=error.hint or "run again later; stored segments are not sent again",
            ) from None
        self._publish(
            RetryScheduled,
            operation=operation,
            asset=asset,
            part_number=part_number,
            attempt=attempt,
            delay=delay,
            **error.facts,
        )
        if error.is_outage:
            # The gate makes the next attempt wait.
            return 0
        await self._run.drain.sleep(delay)
        return 1


def awake_and_asleep() -> float:
    """Return monotonic seconds, including time suspended where the platform has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Held(Protocol):
    """The check that precedes every request."""

    async def check(self) -> None:
        """Return while the entry is held; raise HoldLostError otherwise."""

    def uncut(self) -> AbstractContextManager[object]:
        """Let the block finish when the hold is lost inside it; the cancellation follows at its end."""


class _Always:
    """The hold of a run that has locked its batch, so that no other worker can take an entry over."""

    async def check(self) -> None:
        """Return at once."""

    def uncut(self) -> AbstractContextManager[object]:
        """Do nothing: this hold cannot be lost."""
        return nullcontext()


ALWAYS_HELD: Final = _Always()


class Hold:
    """The hold of one entry, good for *seconds* from its last renewal; the queue renews it with `renewed`.

    *renew* asks the queue itself, may wait for the answer, and returns whether this worker still has the entry.
    The hold began at *since*, by *monotonic*; None means now.
    """

    def __init__(
        self,
        seconds: float,
        *,
        renew: Callable[[], Awaitable[bool]],
        monotonic: Callable[[], float] = awake_and_asleep,
        since: float | None = None,
    ) -> None:
        self._seconds = seconds
        self._renew = renew
        self._monotonic = monotonic
        self.renewed_at = monotonic() if since is None else since
        self._asking = anyio.Lock()
        self._scope = anyio.CancelScope()
        self._uncut = 0
        self.is_lost = False

    def __repr__(self) -> str:
        age = self._monotonic() - self.renewed_at
        return f"<Hold {'lost' if self.is_lost else 'held'}, renewed {age:.1f} s ago, good for {self._seconds:g} s>"

    async def check(self) -> None:
        """Return while the hold is fresh, otherwise renew it first; raise HoldLostError when it is lost.

        A stale hold need not be lost: after a late heartbeat, a suspended machine or a server outage, no other
        worker may have taken the entry over.
        """
        if self._is_good():
            return
        async with self._asking:
            # An answer that took too long is worthless: it describes the time of the question.
            while not (self.is_lost or self._is_good()):
                asked_at = self._monotonic()
                if await self._renew():
                    self.renewed(asked_at)
                else:
                    self.lose()
        if self.is_lost:
            raise HoldLostError("another worker has taken the entry over; nothing was sent")

    def _is_good(self) -> bool:
        return not self.is_lost and self._monotonic() <= self.renewed_at + _GOOD_SHARE * self._seconds

    def renewed(self, at: float) -> None:
        """Restart the hold's time at *at*, taken before the request to renew; the other side starts it later."""
        self.renewed_at = max(self.renewed_at, at)

    def lose(self) -> None:
        """Mark the hold as lost to another worker and cancel this worker's work on the entry."""
        self.is_lost = True
        if not self._uncut:
            self._scope.cancel()

    @contextmanager
    def uncut(self) -> Iterator[None]:
        """Let the block's request finish when the hold is lost: only its answer shows what it leaves behind."""
        self._uncut += 1
        try:
            yield
        finally:
            self._uncut -= 1
            if self.is_lost and not self._uncut:
                self._scope.cancel()

    async def work(self, do: Callable[[], Awaitable[T]]) -> T:
        """Run *do* under this hold, which can be used once; raise HoldLostError when it is lost before the end."""
        with self._scope, acting_under(self):
            return await do()
        raise HoldLostError("another worker has taken the entry over")


#: The hold of a task and of those it starts. Requests are sent many layers below the step that makes them, and a
#: request added to the code later must not bypass the check.
_acting_under: ContextVar[Held] = ContextVar("acting_under", default=ALWAYS_HELD)


async def check_hold() -> None:
    """Check the hold under which this task acts; raise HoldLostError when it is lost."""
    await _acting_under.get().check()


def uncut() -> AbstractContextManager[object]:
    """Let the block finish when the hold under which this task acts is lost inside it."""
    return _acting_under.get().uncut()


@contextmanager
def acting_under(hold: Held) -> Iterator[None]:
    """Run the block under *hold*."""
    token = _acting_under.set(hold)
    try:
        yield
    finally:
        _acting_under.reset(token)
