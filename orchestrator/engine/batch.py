"""The commands `run`, `retry` and `submit` from end to end: lock, plan, work, report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from orchestrator.domain.errors import (
    ExitCode,
    LimitReachedError,
    RunError,
    exit_code_of,
    exit_code_of_failures,
)
from orchestrator.domain.states import EntryState
from orchestrator.engine.context import Run, WorkSettings, open_run
from orchestrator.engine.drain import Breaker, StopRequests, TransferLimit, limit_duration
from orchestrator.engine.events import (
    ComparisonStarted,
    EventBus,
    FilmsChecked,
    RunFinished,
    RunStarted,
    Totals,
)
from orchestrator.engine.file_comparison import ContentComparison
from orchestrator.engine.following import Follower
from orchestrator.engine.lifecycle import End, Lifecycle, Outcome
from orchestrator.engine.parallelism import AdaptiveParallelism
from orchestrator.engine.planning import FilmCount, Planner
from orchestrator.engine.report import (
    EntryCounts,
    IncidentKeeper,
    RunOutcome,
    Tally,
    count_entries,
    publish_left_alone,
)
from orchestrator.engine.selection import (
    EntryQueue,
    Registration,
    Selection,
    earlier_manifest,
    retry_selection,
    run_selection,
    scope_of,
    submit_selection,
)
from orchestrator.engine.service_connection import Clocks
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord
from orchestrator.manifest import Manifest, Problem

if TYPE_CHECKING:
    from orchestrator.engine.decision import Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The batch to run and its settings; `on_problems` gets the manifest's problems before anything is sent."""

    manifest: Manifest
    work: WorkSettings
    with_media: bool
    is_batch_named: bool = False  #: the batch was named explicitly, whatever manifest it was made from
    patterns: tuple[str, ...] = ()  #: globs that select entries; none for all
    retry: Retry | None = None  #: the failed entries to retry, instead of all unfinished ones
    on_problems: Callable[[list[Problem]], None]


async def run_batch(request: RunRequest, journal: Journal, events: EventBus, clocks: Clocks) -> RunOutcome:
    """Finish the remaining entries of the manifest's batch, or retry failed ones with the current manifest.

    In a retry, an entry whose review failed is amended when its files or fields have been replaced, or when it is
    named. A cancelled entry is revived when it is named, or when all cancelled entries are.

    Raises ManifestError before anything is sent, DecisionNeededError when the manifest looks like that of another
    batch, LockHeldError when another run works on the batch, and ConfigurationError, CredentialsError or JournalError
    when the work could not start.
    """
    async with open_run(request.work, request.manifest.batch_name, journal, events, clocks) as run:
        registration = await register(request, run)
        return await BatchRun(run, registration, selection_of(request, run, registration)).work()


def selection_of(request: RunRequest, run: Run, registration: Registration) -> Selection:
    """Return the selection of the entries that *request* is about."""
    if request.retry is None:
        return run_selection(
            is_submit_wanted=run.settings.is_submit_wanted,
            undecided=registration.held,
            named=registration.named,
        )
    return retry_selection(
        request.retry.entry_ids,
        undecided=registration.held,
        is_cancelled_wanted=request.retry.is_cancelled_wanted,
    )


async def submit_batch(
    work: WorkSettings,
    batch_name: str,
    journal: Journal,
    events: EventBus,
    clocks: Clocks,
    *,
    entry_ids: Collection[str] | None = None,
) -> RunOutcome:
    """Submit confirmed jobs to review, all or those of *entry_ids*; this needs no manifest.

    Raises the errors of `run_batch` except ManifestError and DecisionNeededError.
    """
    async with open_run(work, batch_name, journal, events, clocks) as run:
        await journal.start_run(
            run.batch,
            manifest_path=None,
            is_submit_wanted=True,
            run_id=work.run_id,
            events_path=work.events_path,
        )
        count = sum((await journal.counts(run.batch.digest)).values())
        segments, stored_bytes = await journal.count_stored(run.batch.digest)
        totals = Totals(entries=count, segments=segments, bytes=stored_bytes)
        return await BatchRun(run, Registration(totals=totals), submit_selection(entry_ids)).work()


async def register(request: RunRequest, run: Run) -> Registration:
    """Bring the journal in line with the manifest, entry by entry; send nothing.

    Raises ManifestError, or DecisionNeededError when the manifest looks like that of another batch, after
    `on_problems` was called with the problems.
    """
    digest, path = run.batch.digest, request.manifest.path
    known = await run.journal.batch(digest)
    earlier = None
    if known is not None and not request.is_batch_named:
        earlier = earlier_manifest(known.manifest_path, path, known.name)
    await run.journal.start_run(
        run.batch,
        # The manifest of a known batch is only replaced once its entries have been checked.
        manifest_path=str(path.absolute()) if known is None else None,
        is_submit_wanted=run.settings.is_submit_wanted,
        run_id=run.work.run_id,
        events_path=run.work.events_path,
    )
    planner = Planner(
        request.manifest,
        run.journal,
        digest,
        run.settings,
        with_media=request.with_media,
        retry=request.retry,
        earlier=earlier,
        scope=scope_of(request.patterns, run.settings.min_age, run.clocks.clock()),
        contents=ContentComparison(
            run.journal, lambda files: run.events.publish(ComparisonStarted(files=files))
        ),
        films=FilmCount(
            lambda done, total: run.events.publish(FilmsChecked(done=done, total=total)), run.clocks.monotonic
        ),
    )
    try:
        registration = await planner.register()
    finally:
        request.on_problems(planner.problems)
    await run.journal.set_manifest_path(digest, str(path.absolute()))
    await run.journal.set_submit_requirement(digest, request.manifest.submit_requires)
    return registration


class BatchRun:
    """Works on the selected entries of a batch, whose lock the caller holds.

    The failure of one entry never stops the others; an error that concerns all of them drains the run.
    """

    def __init__(self, run: Run, registration: Registration, selection: Selection) -> None:
        self._run = run
        self._registration = registration
        self._queue = EntryQueue(run.journal, run.batch.digest, selection)
        self._lifecycle = Lifecycle(run)
        self._breaker = Breaker(run.settings.breaker_entries)
        self._tally = Tally()
        self._lost_entries = 0

    async def work(self) -> RunOutcome:
        """Work until no selected entry remains or the run drains, and return the report."""
        run = self._run
        began = run.clocks.monotonic()
        run.events.subscribe(self._tally)
        beginning = await self._beginning()
        stops = StopRequests(run.drain, run.work.grace_seconds, run.clocks.sleep, run.work.listening)
        follower = await self._follower()
        if run.settings.max_transfer is not None:
            run.events.subscribe(TransferLimit(run.settings.max_transfer, run.drain))
        if run.settings.parallel is None:
            run.events.subscribe(AdaptiveParallelism(run.slots, run.events, run.clocks.monotonic))
        async with anyio.create_task_group() as group:
            keeper = IncidentKeeper(run.journal, run.batch.digest, run.work.run_id, group.start_soon)
            run.events.subscribe(keeper)
            run.events.publish(beginning)
            publish_left_alone(self._registration, run.batch.name, run.events, keeper)
            if run.settings.max_duration is not None:
                group.start_soon(limit_duration, run.settings.max_duration, run.drain, run.clocks.sleep)
            with anyio.CancelScope() as scope, stops.heard(group, scope.cancel):
                async with self._queue, anyio.create_task_group() as workers:
                    for _ in range(run.settings.jobs):
                        workers.start_soon(self._worker)
            if follower is not None and stops.received is None and run.drain.cause is None:
                await follower.poll_or_warn()
            group.cancel_scope.cancel()
        # A second signal must not cancel the report: the journal would not record how the run ended.
        with anyio.CancelScope(shield=True):
            report = await self._report(stops, run.clocks.monotonic() - began)
            await run.journal.end_run(
                run.batch.digest, run.work.run_id, report.exit_code, report.entries.as_dict()
            )
        run.events.publish(
            RunFinished(
                batch=run.batch.name,
                run_id=run.work.run_id,
                exit_code=report.exit_code,
                elapsed_seconds=report.elapsed_seconds,
                entries=report.entries.as_dict(),
            )
        )
        return report

    async def _beginning(self) -> RunStarted:
        run = self._run
        counts = await run.journal.counts(run.batch.digest)
        segments, stored_bytes = await run.journal.count_stored(run.batch.digest)
        with_submit = run.settings.is_submit_wanted
        return RunStarted(
            batch=run.batch.name,
            run_id=run.work.run_id,
            totals=self._registration.totals,
            done_entries=count_entries(counts, undecided=0, with_submit=with_submit).done,
            stored_segments=segments,
            stored_bytes=stored_bytes,
        )

    async def _worker(self) -> None:
        run = self._run
        while not run.drain.is_draining:
            try:
                record = await self._queue.take()
            except RunError as error:
                run.drain.begin(error.message, error)
                return
            if record is None:
                return
            # For the entry's whole time: between two PUTs it keeps its share of the slots.
            with run.slots.member(record.entry_id):
                self._learn(record, await self._lifecycle.bring_to_its_end(record))

    async def _follower(self) -> Follower | None:
        """Return a follower of the jobs that earlier runs submitted; None when there are none."""
        run = self._run
        if not run.settings.is_submit_wanted:
            return None
        follower = Follower(run.journal, run.client, run.events, run.batch)
        return follower if await follower.has_submitted() else None

    def _learn(self, record: EntryRecord, outcome: Outcome) -> None:
        """Drain the run when the outcome of an entry predicts that of the entries that follow."""
        drain, error = self._run.drain, outcome.error
        match outcome.end:
            case End.DONE:
                self._breaker.passed()
            case End.LOST:
                self._lost_entries += 1
            case End.STOPPED:
                if isinstance(error, RunError):
                    drain.begin(error.message, error)
            case End.FAILED:
                cause = self._breaker.failed(error) if error is not None else None
                if cause is not None:
                    drain.begin(cause.message, cause)
                elif self._run.settings.is_fail_fast:
                    drain.begin(f"--fail-fast: entry {record.entry_id} failed")

    async def _report(self, stops: StopRequests, elapsed_seconds: float) -> RunOutcome:
        run, registration = self._run, self._registration
        segments, stored_bytes = await run.journal.count_stored(run.batch.digest)
        states = await run.journal.counts(run.batch.digest)
        return RunOutcome(
            batch=run.batch.name,
            batch_digest=run.batch.digest,
            run_id=run.work.run_id,
            exit_code=await self._exit_code(stops, states),
            elapsed_seconds=elapsed_seconds,
            totals=registration.totals,
            entries=self._count(states),
            stored_segments=segments,
            stored_bytes=stored_bytes,
            tally=self._tally,
            cause=run.drain.cause,
            undecided=registration.undecided,
            removed=registration.removed,
            replaced=registration.replaced,
            earlier_manifest=registration.earlier_manifest,
            counts=states,
            invalid=tuple(sorted(registration.invalid)),
            too_young=tuple(sorted(registration.too_young)),
            warnings=(*registration.warnings, *self._tally.warnings),
        )

    def _count(self, states: Mapping[EntryState, int]) -> EntryCounts:
        return count_entries(
            states,
            undecided=len(self._registration.undecided),
            undecided_done=self._registration.undecided_done,
            with_submit=self._run.settings.is_submit_wanted,
        )

    async def _exit_code(self, stops: StopRequests, states: Mapping[EntryState, int]) -> ExitCode:
        drain = self._run.drain
        if stops.received is not None:
            return ExitCode(128 + stops.received)
        # A limit that was reached with the last entry leaves no work for a later run.
        is_over = isinstance(drain.cause, LimitReachedError) and not self._count(states).pending
        if drain.cause is not None and not is_over:
            return exit_code_of(drain.cause)
        code = exit_code_of_failures(
            await self._run.journal.failures(self._run.batch.digest),
            undecided=len(self._registration.undecided),
            reviews_failed=states.get(EntryState.REVIEW_FAILED, 0) + self._registration.has_skipped_errors,
        )
        # An entry that this run lost is not known to be done.
        return ExitCode.TEMPORARY if code is ExitCode.OK and self._lost_entries else code
