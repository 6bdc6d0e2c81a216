"""Following submitted jobs through review and training with list calls, 100 jobs each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import (
    ExitCode,
    InterruptedTransferError,
    OrchestratorError,
    RequestRejectedError,
    RetryableError,
    ServiceUnreachableError,
    StaleEpochError,
)
from orchestrator.domain.states import AFTER_SUBMIT, STATE_OF_GROUP, EntryState, JobGroup, group_of
from orchestrator.domain.untrusted_text import plain_name, quotable
from orchestrator.engine.events import EntryTransitioned, JobStateChanged, ServiceWarning
from orchestrator.journal.history import ReviewRecord
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord
from orchestrator.metastudio.answers import is_job_gone
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.wire import JobDetail, JobQuery, OperationLog

if TYPE_CHECKING:
    from orchestrator.engine.events import EventBus


class Milestone(StrEnum):
    """The milestone up to which `watch` follows a batch."""

    SUBMITTED = "submitted"
    REVIEWED = "reviewed"
    TRAINED = "trained"


#: States after a passed review.
_PASSED = frozenset({EntryState.TRAINING, EntryState.TRAINED})
_REACHED = {
    Milestone.SUBMITTED: AFTER_SUBMIT,
    Milestone.REVIEWED: _PASSED,
    Milestone.TRAINED: frozenset({EntryState.TRAINED}),
}
_NO_REASON = "the service gives no reason"
_DELETED = "the job no longer exists on the service"
_LONGEST_REASON = 2000
#: The most jobs that one poll asks for one by one because the list lacks them; the next poll asks for others.
MOST_SHOWN: Final = 100
#: States and groups from which only a person can move a job on.
_STUCK_STATES = frozenset({EntryState.REVIEW_FAILED, EntryState.FAILED, EntryState.CANCELLED})
_STUCK_GROUPS = frozenset({JobGroup.AWAITING_USER, JobGroup.REJECTED, JobGroup.SUSPENDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The numbers of entries that have reached a milestone, that need a person, and that are still under way."""

    reached: int = 0
    stuck: int = 0
    under_way: int = 0

    def exit_code(self) -> ExitCode | None:
        """Return the exit code of `watch`; None while something is under way."""
        if self.under_way:
            return None
        return ExitCode.SOME_FAILED if self.stuck else ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class PollPace:
    """Seconds between polls: from *first* on, growing while nothing changes, at most *cap*."""

    first: float = 15.0
    cap: float = 120.0
    growth: float = 1.5

    def after(self, wait: float, *, has_changed: bool) -> float:
        """Return the wait that follows *wait*."""
        return self.first if has_changed else min(wait * self.growth, self.cap)


class _Refusal(NamedTuple):
    """The service's explanation of a failed review; empty when no review failed."""

    reason: str | None = None
    code: str | None = None
    redo_reasons: tuple[str, ...] = ()


class Follower:
    """Journals what the service reports for every job of a batch."""

    def __init__(
        self,
        journal: Journal,
        client: MetaStudioClient,
        events: EventBus,
        key: BatchKey,
        *,
        is_run_under_way: Callable[[], Awaitable[bool]] | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        self._is_run_under_way = is_run_under_way
        #: The ids of the followed entries; None for all.
        self._only = only
        self._journal = journal
        self._client = client
        self._events = events
        self._key = key
        self._has_polled = False
        #: The entries missing from the list that were already asked for in this round of polls.
        self._shown: set[str] = set()
        self._shows_left = MOST_SHOWN

    async def follow(
        self,
        milestone: Milestone,
        *,
        pace: PollPace,
        timeout_seconds: float | None,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> ExitCode:
        """Poll until every entry has reached *milestone* or needs a person, or *timeout_seconds* have passed."""
        deadline = None if timeout_seconds is None else monotonic() + timeout_seconds
        wait = pace.first
        while True:
            try:
                has_changed = await self.poll()
                self._has_polled = True
            except (RetryableError, ServiceUnreachableError) as error:
                # A temporary failure is left to the next poll, but a service that never answered is an error.
                if isinstance(error, ServiceUnreachableError) and not self._has_polled:
                    raise
                self._events.publish(ServiceWarning(message=f"asking again later: {error.message}"))
                has_changed = False
            exit_code = (await self.progress(milestone)).exit_code()
            if exit_code is not None:
                return exit_code
            wait = pace.after(wait, has_changed=has_changed)
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                return ExitCode.TEMPORARY
            await sleep(wait if left is None else min(wait, left))

    async def poll(self) -> bool:
        """List the jobs once and journal the changes; return True when there were any."""
        # A service that ignores the filter lists all jobs of the account; others than ours are not kept.
        ours = {outcome.job_id async for outcome in self._journal.outcomes(self._key.digest)}
        listed = self._client.iterate_jobs(JobQuery(batch_name=self._key.name))
        states = {job.job_id: job.state async for job in listed if job.job_id in ours}
        self._shows_left = MOST_SHOWN
        changes = 0
        async for record in self._journal.entries(self._key.digest, has_job=True):
            if self._only is None or record.entry_id in self._only:
                changes += await self._take(record, states)
        if self._shows_left:
            # All missing jobs were asked for; the next poll starts a new round.
            self._shown.clear()
        return changes > 0

    async def job_counts(self) -> Mapping[tuple[EntryState, str | None], int]:
        """Return the number of followed entries by state and the service's state of the job."""
        if self._only is None:
            return await self._journal.job_counts(self._key.digest)
        found: Counter[tuple[EntryState, str | None]] = Counter()
        async for record in self._journal.entries(self._key.digest):
            if record.entry_id in self._only:
                found[record.state, record.service_state] += 1
        return found

    async def has_submitted(self) -> bool:
        """True when there are submitted jobs whose review or training may still change."""
        counts = await self._journal.counts(self._key.digest)
        return any(counts.get(state, 0) for state in AFTER_SUBMIT - {EntryState.TRAINED})

    async def poll_or_warn(self) -> None:
        """Poll once; publish a warning when that fails."""
        try:
            await self.poll()
        except OrchestratorError as error:
            self._events.publish(ServiceWarning(message=f"reviews were not asked about: {error.message}"))

    async def progress(self, milestone: Milestone) -> Progress:
        """Return the progress of the batch from the journal; while a run works, its entries are under way."""
        # Asked first: a run that ends between the two reads has already written everything.
        is_working = self._is_run_under_way is not None and await self._is_run_under_way()
        reached = stuck = under_way = 0
        for (state, service_state), count in (await self.job_counts()).items():
            if state in _REACHED[milestone]:
                reached += count
            elif _is_stuck(state, service_state, is_working=is_working):
                stuck += count
            else:
                under_way += count
        return Progress(reached=reached, stuck=stuck, under_way=under_way)

    async def _take(self, record: EntryRecord, states: Mapping[str, str]) -> bool:
        """Journal the service's state of one entry if it changed; return True when anything was journaled."""
        state = states.get(record.job_id or "")
        if record.confirmed_at is None or record.state is EntryState.CANCELLED:
            return False
        try:
            if state is None:
                return await self._take_missing(record)
            if state == record.service_state:
                return False
            await self._move(record, state)
        except StaleEpochError:
            # A run works on the entry; the next poll sees the result.
            return False
        return True

    async def _move(self, record: EntryRecord, state: str) -> None:
        group = group_of(state)
        target = STATE_OF_GROUP.get(group)
        refusal = _Refusal()
        if target is None or target is record.state:
            await self._journal.set_facts(record, service_state=state)
        else:
            if group is JobGroup.REVIEW_FAILED:
                refusal = await self._refusal(record)
            # The review goes first: after a kill in between, the next poll repeats both.
            await self._keep_review(record, target, refusal)
            why = f": {refusal.reason}" if refusal.reason else ""
            if refusal.code:
                why += f" ({refusal.code})"
            await self._journal.transition(
                record,
                target,
                f"the service says {state}{why}",
                service_state=state,
                review_reason=refusal.reason,
                review_code=refusal.code,
                submitted_at=record.submitted_at or record.updated_at,
            )
            self._publish_transition(record, target, f"{group}: {state}")
        self._events.publish(
            JobStateChanged(
                batch=self._key.name,
                entry=record.entry_id,
                job_id=record.job_id,
                service_state=state,
                group=group,
                reason=refusal.reason,
                code=refusal.code,
            )
        )

    async def _take_missing(self, record: EntryRecord) -> bool:
        """Show a job that the list lacks: it may be under another batch name, or deleted in the console."""
        if record.state in {EntryState.FAILED, EntryState.CONFIRMED} or record.job_id is None:
            return False
        if not self._shows_left or record.entry_id in self._shown:
            return False
        self._shows_left -= 1
        self._shown.add(record.entry_id)
        try:
            job = await self._show(record)
        except RequestRejectedError as error:
            if not is_job_gone(error):
                return False
            await self._journal.transition(record, EntryState.CANCELLED, _DELETED)
            self._publish_transition(record, EntryState.CANCELLED, _DELETED)
            return True
        if job is None or job.state == record.service_state:
            return False
        await self._move(record, job.state)
        return True

    async def _refusal(self, record: EntryRecord) -> _Refusal:
        """Return the reason for a failed review from the job's history; one call, when the failure is first seen."""
        try:
            job = await self._show(record)
        except RequestRejectedError:
            job = None
        if job is None or (log := review_log(job)) is None:
            return _Refusal(_NO_REASON)
        hidden = tuple(filter(None, (record.avatar.contact,)))
        reason = quotable(log.log_description or "", hidden=hidden, longest=_LONGEST_REASON)
        redo_reasons = tuple(
            quotable(redo, hidden=hidden, longest=_LONGEST_REASON)
            for step in job.operation_logs
            for redo in step.redo_reasons
        )
        return _Refusal(reason or _NO_REASON, plain_name(log.error_code), redo_reasons)

    async def _keep_review(self, record: EntryRecord, target: EntryState, refusal: _Refusal) -> None:
        """Journal the result of a review once, when the entry leaves it."""
        is_passed = target in _PASSED and record.state not in _PASSED
        if not is_passed and target is not EntryState.REVIEW_FAILED:
            return
        review = ReviewRecord(
            batch=record.batch,
            entry_id=record.entry_id,
            job_id=record.job_id,
            submitted_at=record.submitted_at or record.updated_at,
            is_passed=is_passed,
            reason=refusal.reason,
            code=refusal.code,
            redo_reasons=refusal.redo_reasons,
        )
        await self._journal.keep_review(review)

    async def _show(self, record: EntryRecord) -> JobDetail | None:
        """Show one job; return None when the answer cannot be used, so that the other jobs are still followed.

        Raises RequestRejectedError when the service refuses to show the job.
        """
        try:
            return await self._client.show_job(record.job_id or "", app_user_id=record.avatar.app_user_id)
        except InterruptedTransferError as error:
            if error.status is None or error.status >= 300:
                raise
            return None

    def _publish_transition(self, record: EntryRecord, target: EntryState, reason: str) -> None:
        self._events.publish(
            EntryTransitioned(
                batch=self._key.name,
                entry=record.entry_id,
                job_id=record.job_id,
                from_state=record.state,
                to_state=target,
                reason=reason,
            )
        )


def review_log(job: JobDetail) -> OperationLog | None:
    """Return the log entry of a failed review: the last with an error code or a type ending in VERIFY_FAILED."""
    reasons = [
        log for log in job.operation_logs if log.error_code or (log.log_type or "").endswith("VERIFY_FAILED")
    ]
    return reasons[-1] if reasons else None


def _is_stuck(state: EntryState, service_state: str | None, *, is_working: bool) -> bool:
    if state in _STUCK_STATES:
        return True
    if service_state is not None and group_of(service_state) in _STUCK_GROUPS:
        return True
    # Without a run, an entry that is not submitted does not change.
    return not is_working and state not in AFTER_SUBMIT and state is not EntryState.SUBMITTING
