"""A worker: takes entries from the queue, holds each while it works on it, and hands back what it does not finish."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import anyio
from pgqueuer.core.executors import EntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Job

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import ExitCode, HoldLostError, JournalError, RunError, exit_code_of
from orchestrator.domain.quantities import as_clock, format_duration
from orchestrator.domain.retry import RetryBudget
from orchestrator.domain.states import EntryState, is_done
from orchestrator.engine.context import Run, Workplace, WorkSettings
from orchestrator.engine.drain import Breaker, StopWishes
from orchestrator.engine.entry import check_hold
from orchestrator.engine.events import BatchDrained, Event, ServiceWarning
from orchestrator.engine.lifecycle import End, Lifecycle, Outcome
from orchestrator.engine.parallelism import AdaptiveParallelism
from orchestrator.fleet.batches import Batches, Incidents, Unreported, nothing
from orchestrator.fleet.parking import is_parked
from orchestrator.fleet.presence import PRESENCE_SECONDS, Place, Presence
from orchestrator.fleet.queue import OwnedQueries, wanted_of
from orchestrator.fleet.rate_limit import Brake
from orchestrator.fleet.unusable_files import Caution, is_given_up
from orchestrator.journal.history import process_name
from orchestrator.journal.postgres import PATIENCE_SECONDS
from orchestrator.journal.records import BatchRecord, EntryRecord

#: PgQueuer cannot work on fewer at once.
LEAST_ENTRIES: Final = 2
#: How often the queue is asked for work, and the journal for batches that are new.
_POLL_SECONDS: Final = 1.0
#: The same while entries wait: for so long a place may be empty, and a full worker asks in vain.
_BUSY_POLL_SECONDS: Final = 0.25
_SWEEP_SECONDS: Final = 300.0
_LEAVE_SECONDS: Final = 2.0
#: A worker that was frozen may write between the heir's look at the entry and its claim.
_CLAIMS: Final = 3
_AFTER_LOST_CLAIM: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker takes; *batch* is the digest of the only one it works on, None for all of its project.

    Another worker may take an entry over *hold_seconds* after this one's last sign of life, and on another *host* one
    whose files this one cannot use. *work_of* says how a batch is worked on, part of which it decides itself.
    """

    entries: int
    hold_seconds: float
    host: str
    work_of: Callable[[BatchRecord], WorkSettings]
    batch: str | None = None
    is_until_done: bool = False
    #: True for one that is to end with the signal's exit code when it is stopped before all is done.
    is_stop_failure: bool = False


class Worker:
    """Works on what is queued for the endpoint and the project of its *place* until it is asked to stop."""

    def __init__(
        self,
        place: Workplace,
        queries: OwnedQueries,
        settings: WorkerSettings,
        unreported: Unreported = nothing,
    ) -> None:
        self._place = place
        self._queries = queries
        self._settings = settings
        self._manager = QueueManager(queries)
        self._manager.min_dequeue_poll_interval = timedelta(seconds=_BUSY_POLL_SECONDS)
        endpoint, project_id = place.connection.endpoint, place.connection.project_id
        queries.taker = self._manager.queue_manager_id
        queries.place = Place.of(
            settings.host, endpoint=endpoint, project_id=project_id, batch=settings.batch
        )
        queries.may_take = self._may_take
        self._presence = Presence(
            queries.driver, queries.taker, process_name(os.getpid(), settings.host), queries.place
        )
        self._caution = Caution(place.events, place.clocks.monotonic)
        place.events.subscribe(self._caution)
        patience = queries.driver.patience
        patience.on_wait, patience.on_return = self._note_absence, self._note_return
        self._brake = Brake(queries.driver, endpoint=endpoint, project_id=project_id)
        self._is_braked = False
        self._breaker = Breaker(place.work.settings.breaker_entries)
        self._is_done = False
        self._batches = Batches(
            place, queries, only=settings.batch, meet=self._register, unreported=unreported
        )
        #: By batch and what it decides; the batch's entries share turns.
        self._parts: dict[tuple[str, bool, str | None], tuple[Run, Lifecycle]] = {}

    async def work(self) -> int:
        """Work until a signal, or until nothing is left where that is wanted; returns the exit code.

        A signal is an expected end, too; a scheduler that would take it for the end of the work asks for a failure.
        An error that concerns more than an entry, as when the server is away for too long, ends it as a signal does.
        """
        place = self._place
        stops = StopWishes(place.drain, place.work.grace_seconds, place.clocks.sleep, place.work.listening)
        place.events.subscribe(_Shutter(self._manager.shutdown.set))
        if place.work.settings.parallel is None:
            place.events.subscribe(AdaptiveParallelism(place.slots, place.events, place.clocks.monotonic))
        async with anyio.create_task_group() as group:
            place.events.subscribe(Incidents(place.journal, self._settings.host, group.start_soon))
            with anyio.CancelScope() as scope, stops.heard(group, partial(self._cut_off, scope)):
                try:
                    await self._presence.show()
                    await self._batches.look()
                    await self._mind_brake()
                    group.start_soon(self._look_around)
                    await self._manager.run(
                        dequeue_timeout=timedelta(seconds=_POLL_SECONDS),
                        # As many as PgQueuer allows: small entries end faster than the queue is asked.
                        batch_size=max(self._settings.entries // 2, 1),
                        max_concurrent_tasks=max(self._settings.entries, LEAST_ENTRIES),
                        heartbeat_timeout=timedelta(seconds=self._settings.hold_seconds),
                        # Statistics of each second, kept for ever: who looks at them has them made from the log.
                        log_aggregation_interval=timedelta(),
                    )
                except RunError as error:
                    place.drain.begin(error.message, error)
            group.cancel_scope.cancel()
        # Others need not wait for it, but neither has it to wait for the server.
        with anyio.move_on_after(_LEAVE_SECONDS, shield=True), suppress(RunError):
            await self._presence.leave()
        is_early = scope.cancelled_caught or (self._settings.is_stop_failure and not self._is_done)
        if is_early and stops.received is not None:
            return 128 + stops.received
        return ExitCode.OK if place.drain.cause is None else exit_code_of(place.drain.cause)

    def _cut_off(self, scope: anyio.CancelScope) -> None:
        """End what runs, also what waits for the server with a receipt: other workers find the segment stored."""
        self._place.journal.stop_waiting()
        self._queries.stop_waiting()
        scope.cancel()

    async def _look_around(self) -> None:
        """Put lost rows back, now and every few minutes; meet new batches; see when nothing is left."""
        clocks, queue_again_at, show_at = self._place.clocks, 0.0, 0.0
        while not self._place.drain.is_draining:
            try:
                if clocks.monotonic() >= show_at:
                    await self._presence.show()
                    show_at = clocks.monotonic() + PRESENCE_SECONDS
                await self._batches.look()
                await self._mind_brake()
                if clocks.monotonic() >= queue_again_at:
                    await self._batches.put_back()
                    await self._queries.forget_old_log()
                    queue_again_at = clocks.monotonic() + _SWEEP_SECONDS
                if self._settings.is_until_done and await self._is_all_done():
                    self._is_done = True
                    # The last row may have gone since.
                    await self._batches.look()
                    self._place.drain.begin("nothing is queued any more")
                    return
            except RunError as error:
                self._place.drain.begin(error.message, error)
                return
            await clocks.sleep(_POLL_SECONDS)

    async def _mind_brake(self) -> None:
        pulled = await self._brake.pulled()
        if pulled is not None and not self._is_braked:
            self._place.events.publish(
                ServiceWarning(
                    message=f"no entries are taken for {format_duration(pulled.seconds)}: {pulled.reason}; "
                    "`orchestrator fleet release` ends that"
                )
            )
        self._is_braked = pulled is not None

    def _note_absence(self, error: JournalError) -> None:
        message = (
            f"{error.message}; nothing new is begun until it is back, "
            f"and the worker ends when that takes longer than {format_duration(PATIENCE_SECONDS)}"
        )
        self._place.events.publish(ServiceWarning(message=message))

    def _note_return(self, seconds: float) -> None:
        message = f"the journal's server is back after {as_clock(seconds)}"
        self._place.events.publish(ServiceWarning(message=message))

    def _may_take(self) -> bool:
        return not self._is_braked and self._caution.may_take()

    async def _is_all_done(self) -> bool:
        if not self._batches.met.isdisjoint(await self._queries.batches()):
            return False
        # The row of an entry that was left in the middle may have been lost.
        return await self._batches.put_back() == 0

    def _register(self, digest: str) -> None:
        """Tell PgQueuer of a batch, under its digest: it gives out no others."""
        parameters = EntrypointExecutorParameters(func=self._handle, concurrency_limit=0)
        self._manager.register_executor(digest, EntrypointExecutor(parameters))

    async def _handle(self, job: Job) -> None:
        """Work on the entry of a row; returns when nothing is left to do, raises RetryRequested to hand it back."""
        with self._queries.holding(job.id, self._settings.hold_seconds) as hold:
            try:
                outcome = await hold.work(partial(self._bring_to_its_end, job))
            except HoldLostError:
                return
            except RunError as error:
                # Of the server or of the batch: the next entry would meet it, too.
                self._place.drain.begin(error.message, error)
                raise RetryRequested(reason="the worker stops") from None
        if outcome is not None and not hold.is_lost:
            await self._learn(outcome)

    async def _bring_to_its_end(self, job: Job) -> Outcome | None:
        """The outcome of the entry; None where there is nothing to do."""
        wanted, journal, place = wanted_of(job), self._place.journal, self._place
        outcome = None
        for _ in range(_CLAIMS):
            # If this process was frozen or cut off since it took the row, or since its last claim, another one would
            # fence the heir.
            await check_hold()
            if place.drain.is_draining:
                return Outcome(End.STOPPED)
            found = await journal.entry_with_batch(wanted.batch, wanted.entry_id)
            if found is None or not _is_left(*found):
                return None
            batch, record = found
            run, lifecycle = self._parts_for(batch)
            if await is_parked(run, self._queries, job.id, record):
                return None
            # Entries of two batches may have one id.
            with place.slots.member(wanted.key):
                outcome = await lifecycle.bring_to_its_end(record)
            if outcome.end is End.HANDED_BACK and await is_given_up(run, self._queries, wanted):
                return None
            if outcome.end is not End.LOST or isinstance(outcome.error, HoldLostError):
                break
        return outcome

    def _parts_for(self, batch: BatchRecord) -> tuple[Run, Lifecycle]:
        decided = (batch.batch, batch.is_submit_wanted, batch.settings)
        if (known := self._parts.get(decided)) is not None:
            return known
        key = BatchKey(batch.endpoint, batch.project_id, batch.name, known_digest=batch.batch)
        # A worker has no end by which the retries of all its entries could be counted; each entry has its own budget.
        budget = RetryBudget(sys.maxsize)
        work = self._settings.work_of(batch)
        run = self._place.run(key, work, budget=budget, host=self._settings.host)
        parts = self._parts[decided] = run, Lifecycle(run)
        return parts

    async def _learn(self, outcome: Outcome) -> None:
        """Stop the worker, or pull the brake, where the end is about more; raises RetryRequested to hand back."""
        drain, error = self._place.drain, outcome.error
        match outcome.end:
            case End.DONE:
                self._breaker.passed()
            case End.FAILED:
                cause = None if error is None else self._breaker.failed(error)
                if cause is not None:
                    await self._brake.pull(cause.message)
                    # After the brake it takes as many refusals again.
                    self._breaker.passed()
                    await self._mind_brake()
            case End.STOPPED:
                if isinstance(error, RunError):
                    drain.begin(error.message, error)
                raise RetryRequested(reason="the worker stops")
            case End.LOST:
                raise RetryRequested(_AFTER_LOST_CLAIM, "the entry could not be claimed")
            case End.HANDED_BACK:
                raise RetryRequested(reason="its files cannot be used on this host")


def _is_left(batch: BatchRecord, record: EntryRecord) -> bool:
    """True when something is to be done for the entry."""
    if record.state is EntryState.CANCELLED:
        return False
    with_submit = batch.is_submit_wanted or record.is_submit_wanted
    return record.change_wanted is not None or not is_done(record.state, with_submit=with_submit)


class _Shutter:
    """Has no more taken from the queue once the worker drains."""

    name = "the end of the queue"
    hears = frozenset({BatchDrained})

    def __init__(self, shut: Callable[[], object]) -> None:
        self._shut = shut

    def __call__(self, _event: Event) -> None:
        """Take no more."""
        self._shut()
