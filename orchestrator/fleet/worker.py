"""A fleet worker: it takes entries from the queue, holds them while it works, and hands back unfinished ones."""

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
from orchestrator.engine.context import Run, SharedResources, WorkSettings
from orchestrator.engine.drain import Breaker, StopRequests
from orchestrator.engine.entry import check_hold
from orchestrator.engine.events import BatchDrained, Event, ServiceWarning
from orchestrator.engine.lifecycle import End, Lifecycle, Outcome
from orchestrator.engine.parallelism import AdaptiveParallelism
from orchestrator.fleet.batches import Batches, Incidents, Unreported, nothing
from orchestrator.fleet.parking import park_after_takeovers
from orchestrator.fleet.presence import PRESENCE_SECONDS, Presence, WorkerIdentity
from orchestrator.fleet.queue import OwnedQueries, queue_item_of
from orchestrator.fleet.rate_limit import Brake
from orchestrator.fleet.requirements import LEAST_ENTRIES
from orchestrator.fleet.unusable_files import FileThrottle, park_if_unreadable_everywhere
from orchestrator.journal.history import process_name
from orchestrator.journal.postgres import PATIENCE_SECONDS
from orchestrator.journal.records import BatchRecord, EntryRecord

#: How often the worker polls the queue for entries and for new batches.
_POLL_SECONDS: Final = 1.0
#: The poll interval while entries wait. A free slot stays empty for up to this long, and a full worker polls in vain.
_BUSY_POLL_SECONDS: Final = 0.25
_SWEEP_SECONDS: Final = 300.0
_LEAVE_SECONDS: Final = 2.0
#: How often a claim is tried: a worker that was frozen may write between its successor's read of the entry and claim.
_CLAIMS: Final = 3
_AFTER_LOST_CLAIM: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The settings of a worker; *batch* is the digest of the only batch it works on, None for all of its project.

    Another worker may take over an entry *hold_seconds* after this worker's last sign of life. A worker on another
    *host* may take an entry whose files this one cannot use. *work_of* returns the settings for work on a batch, some
    of which come from the batch itself.
    """

    entries: int
    hold_seconds: float
    host: str
    work_of: Callable[[BatchRecord], WorkSettings]
    batch: str | None = None
    is_until_done: bool = False
    #: True for a worker that must exit with the signal's code when it is stopped before everything is done.
    is_stop_failure: bool = False


class Worker:
    """A worker on the queued entries of the endpoint and project of its *resources*, until it is asked to stop."""

    def __init__(
        self,
        resources: SharedResources,
        queries: OwnedQueries,
        settings: WorkerSettings,
        unreported: Unreported = nothing,
    ) -> None:
        self._resources = resources
        self._queries = queries
        self._settings = settings
        self._manager = QueueManager(queries)
        self._manager.min_dequeue_poll_interval = timedelta(seconds=_BUSY_POLL_SECONDS)
        endpoint, project_id = resources.connection.endpoint, resources.connection.project_id
        queries.taker = self._manager.queue_manager_id
        queries.identity = WorkerIdentity.of(
            settings.host, endpoint=endpoint, project_id=project_id, batch=settings.batch
        )
        queries.may_take = self._may_take
        self._presence = Presence(
            queries.driver, queries.taker, process_name(os.getpid(), settings.host), queries.identity
        )
        self._throttle = FileThrottle(resources.events, resources.clocks.monotonic)
        resources.events.subscribe(self._throttle)
        patience = queries.driver.patience
        patience.on_wait, patience.on_return = self._note_absence, self._note_return
        self._brake = Brake(queries.driver, endpoint=endpoint, project_id=project_id)
        self._is_braked = False
        self._breaker = Breaker(resources.work.settings.breaker_entries)
        self._is_done = False
        self._batches = Batches(
            resources, queries, only=settings.batch, meet=self._register, unreported=unreported
        )
        #: The run and lifecycle by batch and its decisions; the batch's entries share the lifecycle's locks.
        self._parts: dict[tuple[str, bool, str | None], tuple[Run, Lifecycle]] = {}

    async def work(self) -> int:
        """Work until a signal arrives, or until everything is done if *is_until_done*; returns the exit code.

        A signal is a regular end; with *is_stop_failure* it is a failure, for schedulers that would take it for the
        end of the work. An error that concerns more than one entry, such as a server that is unreachable for too
        long, ends the worker as a signal does.
        """
        resources = self._resources
        stops = StopRequests(
            resources.drain, resources.work.grace_seconds, resources.clocks.sleep, resources.work.listening
        )
        resources.events.subscribe(_Shutter(self._manager.shutdown.set))
        if resources.work.settings.parallel is None:
            resources.events.subscribe(
                AdaptiveParallelism(resources.slots, resources.events, resources.clocks.monotonic)
            )
        async with anyio.create_task_group() as group:
            resources.events.subscribe(Incidents(resources.journal, self._settings.host, group.start_soon))
            with anyio.CancelScope() as scope, stops.heard(group, partial(self._cut_off, scope)):
                try:
                    await self._presence.show()
                    await self._batches.look()
                    await self._mind_brake()
                    group.start_soon(self._look_around)
                    await self._manager.run(
                        dequeue_timeout=timedelta(seconds=_POLL_SECONDS),
                        # As many as PgQueuer allows: small entries end faster than the queue is polled.
                        batch_size=max(self._settings.entries // 2, 1),
                        max_concurrent_tasks=max(self._settings.entries, LEAST_ENTRIES),
                        heartbeat_timeout=timedelta(seconds=self._settings.hold_seconds),
                        # No statistics for every second, which would be kept for ever: they can be made from the log.
                        log_aggregation_interval=timedelta(),
                    )
                except RunError as error:
                    resources.drain.begin(error.message, error)
            group.cancel_scope.cancel()
        # Leaving spares other workers the wait for this one, but this one must not wait long for the server.
        with anyio.move_on_after(_LEAVE_SECONDS, shield=True), suppress(RunError):
            await self._presence.leave()
        is_early = scope.cancelled_caught or (self._settings.is_stop_failure and not self._is_done)
        if is_early and stops.received is not None:
            return 128 + stops.received
        return ExitCode.OK if resources.drain.cause is None else exit_code_of(resources.drain.cause)

    def _cut_off(self, scope: anyio.CancelScope) -> None:
        """Cancel all running work, even receipts that wait for the server: other workers find the segments stored."""
        self._resources.journal.stop_waiting()
        self._queries.stop_waiting()
        scope.cancel()

    async def _look_around(self) -> None:
        """Register new batches, put lost rows back now and every few minutes, and drain when everything is done."""
        clocks, queue_again_at, show_at = self._resources.clocks, 0.0, 0.0
        while not self._resources.drain.is_draining:
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
                    # The last row may have been deleted since.
                    await self._batches.look()
                    self._resources.drain.begin("nothing is queued any more")
                    return
            except RunError as error:
                self._resources.drain.begin(error.message, error)
                return
            await clocks.sleep(_POLL_SECONDS)

    async def _mind_brake(self) -> None:
        pulled = await self._brake.pulled()
        if pulled is not None and not self._is_braked:
            self._resources.events.publish(
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
        self._resources.events.publish(ServiceWarning(message=message))

    def _note_return(self, seconds: float) -> None:
        message = f"the journal's server is back after {as_clock(seconds)}"
        self._resources.events.publish(ServiceWarning(message=message))

    def _may_take(self) -> bool:
        return not self._is_braked and self._throttle.may_take()

    async def _is_all_done(self) -> bool:
        if not self._batches.met.isdisjoint(await self._queries.batches()):
            return False
        # The row of an unfinished entry may have been lost.
        return await self._batches.put_back() == 0

    def _register(self, digest: str) -> None:
        """Register a batch with PgQueuer, under its digest: it returns only rows of registered batches."""
        parameters = EntrypointExecutorParameters(func=self.handle, concurrency_limit=0)
        self._manager.register_executor(digest, EntrypointExecutor(parameters))

    async def handle(self, job: Job) -> None:
        """Work on the entry of a row; returns when nothing remains to do, raises RetryRequested to hand it back."""
        with self._queries.holding(job.id, self._settings.hold_seconds) as hold:
            try:
                outcome = await hold.work(partial(self._bring_to_its_end, job))
            except HoldLostError:
                return
            except RunError as error:
                # The error concerns the server or the batch, so the next entry would meet it, too.
                self._resources.drain.begin(error.message, error)
                raise RetryRequested(reason="the worker stops") from None
        if outcome is not None and not hold.is_lost:
            await self._learn(outcome)

    async def _bring_to_its_end(self, job: Job) -> Outcome | None:
        """Return the outcome of the entry; None if there is nothing to do."""
        wanted, journal, resources = queue_item_of(job), self._resources.journal, self._resources
        outcome = None
        for _ in range(_CLAIMS):
            # If this process was frozen or cut off since it took the row, or since its last claim, another claim
            # would fence off the worker that has taken the entry over.
            await check_hold()
            if resources.drain.is_draining:
                return Outcome(End.STOPPED)
            found = await journal.entry_with_batch(wanted.batch, wanted.entry_id)
            if found is None or not _is_left(*found):
                return None
            batch, record = found
            run, lifecycle = self._parts_for(batch)
            if await park_after_takeovers(run, self._queries, job.id, record):
                return None
            # Entries of two batches may have the same id.
            with resources.slots.member(wanted.key):
                outcome = await lifecycle.bring_to_its_end(record)
            if outcome.end is End.HANDED_BACK and await park_if_unreadable_everywhere(
                run, self._queries, wanted
            ):
                return None
            if outcome.end is not End.LOST or isinstance(outcome.error, HoldLostError):
                break
        return outcome

    def _parts_for(self, batch: BatchRecord) -> tuple[Run, Lifecycle]:
        decided = (batch.batch, batch.is_submit_wanted, batch.settings)
        if (known := self._parts.get(decided)) is not None:
            return known
        key = BatchKey(batch.endpoint, batch.project_id, batch.name, known_digest=batch.batch)
        # A worker has no end, so there can be no total budget for the retries of its entries; each has its own.
        budget = RetryBudget(sys.maxsize)
        work = self._settings.work_of(batch)
        run = self._resources.new_run(key, work, budget=budget, host=self._settings.host)
        parts = self._parts[decided] = run, Lifecycle(run)
        return parts

    async def _learn(self, outcome: Outcome) -> None:
        """Stop the worker or pull the brake if the outcome concerns more than the entry.

        Raises RetryRequested to hand the entry back.
        """
        drain, error = self._resources.drain, outcome.error
        match outcome.end:
            case End.DONE:
                self._breaker.passed()
            case End.FAILED:
                cause = None if error is None else self._breaker.failed(error)
                if cause is not None:
                    await self._brake.pull(cause.message)
                    # After the brake is released, it takes as many refusals again.
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
    """True when there is still work to do for the entry."""
    if record.state is EntryState.CANCELLED:
        return False
    with_submit = batch.is_submit_wanted or record.is_submit_wanted
    return record.change_wanted is not None or not is_done(record.state, with_submit=with_submit)


class _Shutter:
    """A subscriber that stops the intake from the queue once the worker drains."""

    name = "the end of the queue"
    event_types = frozenset({BatchDrained})

    def __init__(self, shut: Callable[[], object]) -> None:
        self._shut = shut

    def __call__(self, _event: Event) -> None:
        """Stop the intake."""
        self._shut()
