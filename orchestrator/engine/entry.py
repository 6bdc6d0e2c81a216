"""An entry in a worker's hands: its record, kept equal to the journal, the events of its changes, and the hold on it.

The hold is a worker's right to act for an entry, which its own clock ends before another host may take it over. The
journal's epoch keeps a worker that was frozen from writing; it cannot keep it from sending. So what is sent asks the
hold first: each call of the service right before its request, and each PUT.
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

#: The context of every step that no subscriber wants to hear of.
_UNHEARD: Final = nullcontext()
#: Of the time after which another host may take over. The rest is for a request that was let through on its way.
_GOOD_SHARE: Final = 0.9
T = TypeVar("T")


class HeldEntry:
    """One claimed entry, whose epoch this worker has raised.

    Every change goes to the journal first, then to the subscribers.
    """

    def __init__(self, record: EntryRecord, run: Run) -> None:
        self.record = record
        self.avatar: Avatar = record.avatar
        #: What no word about the entry repeats, though the service may.
        self._contacts = (self.avatar.contact,) if self.avatar.contact else ()
        self.segments: list[SegmentRecord] = []
        #: True while parts may be on the service of which the journal knows nothing.
        self.is_reconciled = record.job_id is None
        #: What people know its batch by.
        self.batch_name = run.batch.name
        self._run = run
        self._budget = RetryBudget(run.settings.entry_retries, run.budget)

    @property
    def entry_id(self) -> str:
        """Our id of the entry."""
        return self.record.entry_id

    @property
    def is_submit_wanted(self) -> bool:
        """True where the run, or what was asked of the entry since, has its job submitted."""
        return self._run.settings.is_submit_wanted or self.record.is_submit_wanted

    @property
    def job_id(self) -> str:
        """The service's id of the job; only asked for once there is one."""
        if self.record.job_id is None:
            raise RuntimeError(f"entry {self.entry_id} has no job")
        return self.record.job_id

    @property
    def way_to_new_job(self) -> str:
        """The commands that bring the entry a new job, for hints."""
        batch, entry = quote(self.batch_name), quote(self.entry_id)
        return (
            f"`orchestrator cancel {batch} --entry {entry} --yes` deletes the job, "
            f"then `orchestrator retry {batch} --entry {entry}` makes a new one"
        )

    @property
    def facts(self) -> Facts:
        """What the next step depends on."""
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
        """How much of the entry has its receipt."""
        return sum(segment.segment.length for segment in self.segments if segment.receipt is not None)

    async def load_segments(self) -> None:
        """Read the segments from the journal; without a job there are none."""
        if self.record.job_id is not None:
            self.segments = await self._run.journal.segments(self.record)

    def step(self, point: Point, segment: SegmentRecord | None = None) -> AbstractContextManager[None]:
        """Publish the moments before and, unless it fails, after the request or journal write inside."""
        # An entry has dozens of steps, and in most runs no subscriber wants them.
        return self._published_step(point, segment) if self._run.events.is_heard(StepReached) else _UNHEARD

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
        """Publish what a person should know."""
        message = without(message, self._contacts)
        self._publish(WarningRaised, message=message)

    def warn_if(self, message: str | None) -> None:
        """Publish *message*, where there is one."""
        if message is not None:
            self.warn(message)

    async def transition(self, target: EntryState, reason: str, **facts: Any) -> None:
        """Change the state, in the journal and then for the subscribers."""
        write = self._run.journal.transition(self.record, target, reason, **facts)
        await self._write(Point(f"journal.{target}"), reason, write)

    async def request_job(self, tag: str, reason: str, *, of_job: SeenJob | None = None) -> None:
        """Write down that a job, *of_job* if it exists, may come to carry *tag*, before that is asked for."""
        write = self._run.journal.create_requested(self.record, tag, reason, of_job=of_job)
        await self._write(Point.WRITE_CREATING, reason, write)

    async def adopt_job(self, job_id: str, target: EntryState, reason: str, delivered: str) -> None:
        """Write down a job that holds its files already."""
        write = self._run.journal.job_adopted(self.record, job_id, target, reason, delivered=delivered)
        await self._write(Point.WRITE_ADOPTED, reason, write, segments=())

    async def take_job_of(self, twin: Twin) -> None:
        """Write down that the entry has what its twin in another batch had."""
        reason = f"taken over from batch {twin.batch.name}"
        await self._write(
            Point.WRITE_MOVED, reason, self._run.journal.job_moved(self.record, twin.entry, reason)
        )
        self.is_reconciled = False
        await self.load_segments()

    async def keep_job(self, job_id: str, planned: Sequence[SegmentRecord], reason: str) -> None:
        """Write down the job and where its segments go."""
        write = self._run.journal.job_created(self.record, job_id, planned, reason)
        await self._write(Point.WRITE_JOB, reason, write, segments=planned)

    async def note(self, what: Point, **facts: Any) -> None:
        """Write down *facts*; the state stays."""
        await self._write(what, None, self._run.journal.set_facts(self.record, **facts))

    async def replace_segments(self, planned: Sequence[SegmentRecord]) -> None:
        """Write down fresh URLs for the job the entry has."""
        write = self._run.journal.replace_segments(self.record, planned)
        await self._write(Point.WRITE_URLS, None, write, segments=planned)
        self.is_reconciled = False

    async def reopen(self, planned: Sequence[SegmentRecord], reason: str) -> None:
        """Write down that the job takes files again, and where."""
        write = self._run.journal.job_reopened(self.record, planned, reason)
        await self._write(Point.WRITE_REOPENED, reason, write, segments=planned)
        self.is_reconciled = False

    async def forget_job(self, reason: str) -> None:
        """Write down that the service does not have the job any more."""
        await self._write(
            Point.WRITE_JOB_GONE, reason, self._run.journal.job_gone(self.record, reason), segments=()
        )
        self.is_reconciled = True

    async def put_plan_back(self) -> None:
        """Write down that the job stays as it is: the service refused the change."""
        await self._write(Point.WRITE_PLAN, None, self._run.journal.put_plan_back(self.record))
        self.avatar = self.record.avatar

    async def confirmed(self, reason: str, delivered: str, **facts: Any) -> None:
        """Write down that the service has joined the parts, and *facts*."""
        write = self._run.journal.confirmed(self.record, reason, delivered=delivered, **facts)
        await self._write(Point.WRITE_CONFIRMED, reason, write)

    async def failed(self, error: OrchestratorError) -> None:
        """Write down why the entry cannot go on."""
        if self.record.state in {EntryState.FAILED, EntryState.CANCELLED}:
            return
        error.conceal(self._contacts)
        reason = ErrorRecord(**error.facts, hint=error.hint)
        await self._write(Point.WRITE_FAILED, error.message, self._run.journal.failed(self.record, reason))
        self._publish(EntryFailed, **error.facts, hint=error.hint)

    async def hand_back(self, error: OrchestratorError) -> None:
        """Write down that this host cannot use the entry's files; another may, so nothing else changes."""
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
        """Await the journal's *write*, and mirror it; with a *reason* subscribers learn of the new state."""
        before = self.record.state
        with self.step(point):
            self.record = await write
        if segments is not None:
            self.segments = list(segments)
        if reason is not None:
            self._publish(EntryTransitioned, from_state=before, to_state=self.record.state, reason=reason)

    async def drop_receipts(self, missing: Sequence[SegmentRecord]) -> None:
        """Write down that the service does not have these segments; their URLs may be used up all the same."""
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
        """Write the receipt down; *attempt* 0 means that the service had the segment already."""
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
        """Write down what was learned since of a segment that counts as stored already."""
        number = sent.segment.part_number
        with self.step(Point.WRITE_RECEIPT, sent):
            await self._run.journal.segment_stored(self.record, sent.kind, number, receipt, 0)
        self._update_segment(sent, receipt)

    def _update_segment(self, sent: SegmentRecord, receipt: Receipt) -> None:
        # By identity: comparing the fields of a thousand parts for each of them is felt.
        place = next(number for number, segment in enumerate(self.segments) if segment is sent)
        self.segments[place] = replace(sent, stored_at=self._run.clocks.clock(), receipt=receipt)

    def attempts(
        self,
        operation: str,
        sent: SegmentRecord | None = None,
        *,
        on: type[RetryableError] = RetryableError,
    ) -> Attempts:
        """The attempts of one operation: as many as the run's policy and the budgets of entry and run allow.

        They end with GaveUpError when these are used up, with StoppedError when the run drains.
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
            # The gate is what makes the next attempt wait.
            return 0
        await self._run.drain.sleep(delay)
        return 1


def awake_and_asleep() -> float:
    """A monotonic clock, in seconds, that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Held(Protocol):
    """What is asked before anything is sent."""

    async def check(self) -> None:
        """Return where the entry is held; raises HoldLostError."""

    def uncut(self) -> AbstractContextManager[object]:
        """Keep the block from being cut off when the hold is lost meanwhile; what follows it is."""


class _Always:
    """The hold of a run that has the batch to itself, by its lock: no other worker can take an entry over."""

    async def check(self) -> None:
        """Return at once."""

    def uncut(self) -> AbstractContextManager[object]:
        """Do nothing: it cannot be lost."""
        return nullcontext()


ALWAYS_HELD: Final = _Always()


class Hold:
    """The hold of one entry for *seconds* from its last renewal; who gives it renews it meanwhile by `renewed`.

    *renew* asks the giver itself, and may wait for it; it returns whether the entry is still this worker's. The hold
    was given at *since*, by *monotonic*; None is now.
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
        self._renewed_at = monotonic() if since is None else since
        self._asking = anyio.Lock()
        self._scope = anyio.CancelScope()
        self._uncut = 0
        self.is_lost = False

    def __repr__(self) -> str:
        age = self._monotonic() - self._renewed_at
        return f"<Hold {'lost' if self.is_lost else 'held'}, renewed {age:.1f} s ago, good for {self._seconds:g} s>"

    async def check(self) -> None:
        """Return while the hold is young, and else ask whether it is; raises HoldLostError when it is not.

        After a beat that came late, a suspended machine or a server that was away, others may not have taken over.
        """
        if self._is_good():
            return
        async with self._asking:
            # An answer that came too late is worth nothing: it says how it was when it was asked for.
            while not (self.is_lost or self._is_good()):
                asked_at = self._monotonic()
                if await self._renew():
                    self.renewed(asked_at)
                else:
                    self.lose()
        if self.is_lost:
            raise HoldLostError("another worker has taken the entry over; nothing was sent")

    def _is_good(self) -> bool:
        return not self.is_lost and self._monotonic() <= self._renewed_at + _GOOD_SHARE * self._seconds

    def renewed(self, at: float) -> None:
        """Count from *at*, the time before the giver was asked: it counts from a later one."""
        self._renewed_at = max(self._renewed_at, at)

    def lose(self) -> None:
        """Another worker has the entry: cut off what this one does for it."""
        self.is_lost = True
        if not self._uncut:
            self._scope.cancel()

    @contextmanager
    def uncut(self) -> Iterator[None]:
        """Let what the block has sent come to its end: only its answer tells what would be left behind."""
        self._uncut += 1
        try:
            yield
        finally:
            self._uncut -= 1
            if self.is_lost and not self._uncut:
                self._scope.cancel()

    async def work(self, do: Callable[[], Awaitable[T]]) -> T:
        """*do* what is to be done under this hold, once; raises HoldLostError when it was lost meanwhile."""
        with self._scope, acting_under(self):
            return await do()
        raise HoldLostError("another worker has taken the entry over")


#: Of a task and those it starts. Requests are sent many layers below the step that asks for them, and one that is
#: added later must not go past the check.
_acting_under: ContextVar[Held] = ContextVar("acting_under", default=ALWAYS_HELD)


async def check_hold() -> None:
    """Check the hold under which this task acts; raises HoldLostError."""
    await _acting_under.get().check()


def uncut() -> AbstractContextManager[object]:
    """Keep the block from being cut off when the hold under which this task acts is lost meanwhile."""
    return _acting_under.get().uncut()


@contextmanager
def acting_under(hold: Held) -> Iterator[None]:
    """Act under *hold* in the block."""
    token = _acting_under.set(hold)
    try:
        yield
    finally:
        _acting_under.reset(token)
