"""Requests of commands for a batch, written to the journal and queued for the workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import ExitCode, ServiceRefusesError, StaleEpochError, exit_code_of_failures
from orchestrator.domain.states import EntryState
from orchestrator.engine.batch import RunRequest, register, selection_of
from orchestrator.engine.context import Run, WorkSettings, open_run
from orchestrator.engine.events import BatchQueued, EventBus
from orchestrator.engine.report import IncidentKeeper, publish_left_alone
from orchestrator.engine.selection import (
    EntryQueue,
    Registration,
    Selection,
    run_selection,
    submit_selection,
)
from orchestrator.fleet.batches import end_batch
from orchestrator.fleet.queue import OwnedQueries, QueueItem
from orchestrator.fleet.rate_limit import Brake

if TYPE_CHECKING:
    from orchestrator.engine.service_connection import Clocks
    from orchestrator.journal.journal import Journal
    from orchestrator.journal.records import EntryRecord

#: How often `wait` checks whether the queued entries are done.
_POLL_SECONDS: Final = 1.0
#: How often a write is tried: a worker may write to the entry between the read and the write.
_WRITES: Final = 3
#: The states from which no worker continues before a person has looked at the entry.
_GIVEN_UP: Final = frozenset({EntryState.FAILED, EntryState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """The entries `wanted` from a batch: some had a row in the queue `already`, the others were `queued`.

    `undecided` maps the entries that a person must decide on to the reasons. `has_skipped_errors` is True if entries
    with errors in the manifest were skipped.
    """

    batch: BatchKey
    wanted: frozenset[QueueItem]
    queued: int
    undecided: Mapping[str, str]
    has_skipped_errors: bool
    is_submit_wanted: bool

    @property
    def already(self) -> int:
        """The number of entries that were already queued or in progress."""
        return len(self.wanted) - self.queued

    @property
    def exit_code(self) -> ExitCode:
        """The exit code for what already needs a person, whatever happens to the queued entries."""
        return exit_code_of_failures({}, len(self.undecided), reviews_failed=self.has_skipped_errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueuer:
    """The writer of a fleet's work; *settings* is JSON with the decisions for all workers of a batch."""

    journal: Journal
    queries: OwnedQueries
    events: EventBus
    clocks: Clocks
    settings: str

    async def enqueue(self, request: RunRequest) -> Enqueued:
        """Bring the journal in line with the manifest, as a run does, and queue the entries that it would work on.

        Raises the errors that `engine.batch.run_batch` raises before it sends anything.
        """
        name = request.manifest.batch_name
        async with open_run(request.work, name, self.journal, self.events, self.clocks) as run:
            registration = await register(request, run)
            await self.journal.set_worker_settings(run.batch.digest, self.settings)
            selection = selection_of(request, run, registration)
            return await self._queue(run, selection, registration, is_fresh=request.retry is not None)

    async def submit(
        self, work: WorkSettings, batch_name: str, entry_ids: Collection[str] | None
    ) -> Enqueued:
        """Queue the submits of jobs that hold their files: for all entries, or for those in *entry_ids*."""
        async with open_run(work, batch_name, self.journal, self.events, self.clocks) as run:
            known = await self.journal.batch(run.batch.digest)
            await self.journal.start_run(
                run.batch,
                manifest_path=None,
                # The command does not concern the entries that are still to be uploaded.
                is_submit_wanted=known is not None and known.is_submit_wanted,
                run_id=work.run_id,
            )
            await self.journal.set_worker_settings(run.batch.digest, self.settings)
            selection = submit_selection(entry_ids)
            async for record in _entries_of(run, selection):
                await self._want_submitted(QueueItem(record.batch, record.entry_id))
            return await self._queue(run, selection)

    async def _want_submitted(self, wanted: QueueItem) -> None:
        for attempt in range(1, _WRITES + 1):
            record = await self.journal.entry(wanted.batch, wanted.entry_id)
            if record is None or record.is_submit_wanted or record.submitted_at is not None:
                return
            try:
                await self.journal.set_facts(record, is_submit_wanted=True)
            except StaleEpochError:
                if attempt == _WRITES:
                    raise
            else:
                return

    async def _queue(
        self,
        run: Run,
        selection: Selection,
        registration: Registration | None = None,
        *,
        is_fresh: bool = False,
    ) -> Enqueued:
        """Queue the entries of *selection*.

        Every host may try the files of the failed entries again, or with *is_fresh* those of all entries.
        """
        wanted, again = [], []
        async for record in _entries_of(run, selection):
            wanted.append(QueueItem(record.batch, record.entry_id))
            if is_fresh or record.state is EntryState.FAILED:
                again.append(record.entry_id)
        await self.journal.forget_handbacks(run.batch.digest, again)
        enqueued = Enqueued(
            batch=run.batch,
            wanted=frozenset(wanted),
            queued=await self.queries.put(wanted),
            undecided={} if registration is None else registration.undecided,
            has_skipped_errors=registration is not None and registration.has_skipped_errors,
            is_submit_wanted=run.settings.is_submit_wanted,
        )
        if wanted:
            self.events.publish(
                BatchQueued(batch=run.batch.name, digest=run.batch.digest, run_id=run.work.run_id)
            )
        if registration is not None:
            # No calls follow, so no outage can begin that would have to be written at once.
            keeper = IncidentKeeper(self.journal, run.batch.digest, run.work.run_id, start=lambda _: None)
            # The keeper records these decisions and no later event of the process, which may go on to wait.
            publish_left_alone(registration, run.batch.name, EventBus(keeper, self.events.publish), keeper)
        # The end of the batch is recorded by the process that sees it.
        await self.journal.end_run(run.batch.digest, run.work.run_id, enqueued.exit_code)
        return enqueued

    async def wait(self, enqueued: Enqueued) -> ExitCode:
        """Wait until workers are done with all wanted entries; returns the exit code that a run would have.

        Lost rows are put back while it waits. Raises ServiceRefusesError when the brake is pulled, and JournalError.
        """
        digest = enqueued.batch.digest
        brake = Brake(
            self.queries.driver, endpoint=enqueued.batch.endpoint, project_id=enqueued.batch.project_id
        )
        while True:
            if not await self.queries.has_rows([digest]):
                left = [wanted async for wanted in self._still_left(enqueued)]
                if not left:
                    break
                await self.queries.put(left)
            pulled = await brake.pulled()
            if pulled is not None:
                raise ServiceRefusesError(
                    f"the workers were stopped: {pulled.reason}",
                    hint="check quota, balance and permissions of the account, then "
                    "`orchestrator fleet release` lets them continue",
                )
            await self.clocks.sleep(_POLL_SECONDS)
        batch = await self.journal.batch(digest)
        if batch is None:
            # The batch was deleted during the wait: its end can no longer be determined.
            return enqueued.exit_code
        end = await end_batch(batch, self.journal, self.clocks.clock())
        self.events.publish(end)
        return ExitCode(end.exit_code)

    async def _still_left(self, enqueued: Enqueued) -> AsyncIterator[QueueItem]:
        digest, states = (
            enqueued.batch.digest,
            run_selection(is_submit_wanted=enqueued.is_submit_wanted).states,
        )
        for has_job in (True, False):
            async for record in self.journal.unfinished_entries(digest, states, has_job=has_job):
                wanted = QueueItem(digest, record.entry_id)
                if wanted in enqueued.wanted and record.state not in _GIVEN_UP:
                    yield wanted


async def _entries_of(run: Run, selection: Selection) -> AsyncIterator[EntryRecord]:
    async with EntryQueue(run.journal, run.batch.digest, selection) as queue:
        while (record := await queue.take()) is not None:
            yield record
