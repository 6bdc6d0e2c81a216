"""The batches of a worker: those that have entries in the queue, and those that have ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.domain.errors import ExitCode, exit_code_of_failures
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import (
    BatchFinished,
    BatchQueued,
    EntryEvent,
    Event,
    OutageBegan,
    OutageEnded,
    OutageEvent,
    ServiceWarning,
    WarningRaised,
)
from orchestrator.engine.report import IncidentKeeper, StartTask, count_entries
from orchestrator.engine.selection import run_selection
from orchestrator.fleet.queue import OwnedQueries, QueueItem

if TYPE_CHECKING:
    from orchestrator.engine.context import SharedResources
    from orchestrator.journal.journal import Journal
    from orchestrator.journal.records import BatchRecord

#: Returns the digests of ended batches whose end may not have been reported.
Unreported = Callable[[], Awaitable[Collection[str]]]


async def nothing() -> Collection[str]:
    """Return no batches: without notifications there is no end to report."""
    return ()


class Batches:
    """The batches of *resources*'s endpoint and project; with *only*, just the batch with this digest.

    `met` contains the digests for which *meet* was called, each once.
    """

    def __init__(
        self,
        resources: SharedResources,
        queries: OwnedQueries,
        *,
        only: str | None,
        meet: Callable[[str], None],
        unreported: Unreported,
    ) -> None:
        self._resources = resources
        self._queries = queries
        self._only = only
        self._meet = meet
        self._unreported = unreported
        self._looked_at: set[str] = set()
        self.met: set[str] = set()
        #: The batches that have been seen in the queue and have not ended since.
        self._open: set[str] = set()
        self._is_first_look = True

    async def look(self) -> None:
        """Check which batches have entries in the queue, and publish new and ended ones; raises JournalError."""
        before, queued = self._queries.open_batches, await self._queries.batches()
        for digest in queued - self._looked_at:
            await self._meet_if_own(digest)
        self._queries.open_batches = queued
        if before is not None and not queued.issubset(before):
            await self._queries.wake()
        await self._publish_changes(queued & self.met)

    async def put_back(self) -> int:
        """Queue the unfinished entries that have lost their row; returns their number."""
        batches = await self._resources.journal.batches()
        own = [batch for batch in batches if self._is_own(batch)]
        return await put_back(self._resources.journal, self._queries, own)

    def _is_own(self, batch: BatchRecord) -> bool:
        connection = self._resources.connection
        is_here = (batch.endpoint, batch.project_id) == (connection.endpoint, connection.project_id)
        return is_here and self._only in {None, batch.batch}

    async def _meet_if_own(self, digest: str) -> None:
        batch = await self._resources.journal.batch(digest)
        if batch is None:
            return
        self._looked_at.add(digest)
        if self._is_own(batch):
            self.met.add(digest)
            self._meet(digest)

    async def _publish_changes(self, queued: set[str]) -> None:
        ended = self._open - queued
        if self._is_first_look:
            # Workers that died with the last entry of a batch could not publish its end.
            self._is_first_look = False
            ended = set(await self._unreported()) - queued
        for digest in sorted(ended):
            await self._publish_end(digest)
        for digest in sorted(queued - self._open):
            batch = await self._resources.journal.batch(digest)
            if batch is not None:
                event = BatchQueued(batch=batch.name, digest=digest, run_id=batch.last_run_id or "")
                self._resources.events.publish(event)
                self._open.add(digest)

    async def _publish_end(self, digest: str) -> None:
        journal = self._resources.journal
        batch = await journal.batch(digest)
        if batch is not None and self._is_own(batch):
            # An unfinished entry may have lost its row: then the batch has not ended.
            if await put_back(journal, self._queries, [batch]):
                return
            self._resources.events.publish(await end_batch(batch, journal, self._resources.clocks.clock()))
        self._open.discard(digest)


class Incidents:
    """A subscriber that records outages and warnings in the journal for the queued batches.

    Events that concern only this *host* are recorded for each of these batches. *start* starts a task of the worker.
    """

    name = "the history of the batches"
    event_types = frozenset(
        {BatchQueued, BatchFinished, OutageBegan, OutageEnded, WarningRaised, ServiceWarning}
    )

    def __init__(self, journal: Journal, host: str, start: StartTask) -> None:
        self._journal = journal
        self._host = host
        self._start = start
        self._keepers: dict[str, IncidentKeeper] = {}

    def __call__(self, event: Event) -> None:
        """Record *event*."""
        if isinstance(event, BatchQueued):
            keeper = IncidentKeeper(self._journal, event.digest, event.run_id, self._start)
            self._keepers[event.batch] = keeper
        elif isinstance(event, BatchFinished):
            self._keepers.pop(event.batch, None)
        elif isinstance(event, EntryEvent):
            if (keeper_of_batch := self._keepers.get(event.batch)) is not None:
                keeper_of_batch(event)
        else:
            if isinstance(event, OutageEvent):
                # Each host has its own outages, which end independently.
                event = replace(event, side=f"{event.side} on {self._host}")
            for keeper in self._keepers.values():
                keeper(event)


async def end_batch(batch: BatchRecord, journal: Journal, now: float) -> BatchFinished:
    """Record and return the end of a batch that has no more entries in the queue; several workers write the same.

    Entries that `enqueue` left to a person count as well.
    """
    counts = await journal.counts(batch.batch)
    left_alone = batch.last_exit_code == ExitCode.SOME_FAILED
    exit_code = exit_code_of_failures(
        await journal.failures(batch.batch),
        undecided=batch.last_exit_code == ExitCode.DECISION_NEEDED,
        reviews_failed=counts.get(EntryState.REVIEW_FAILED, 0) + left_alone,
    )
    run_id = batch.last_run_id or ""
    entries = count_entries(counts, undecided=0, with_submit=batch.is_submit_wanted).as_dict()
    await journal.end_queued_run(batch.batch, run_id, exit_code, entries)
    return BatchFinished(
        batch=batch.name,
        digest=batch.batch,
        run_id=run_id,
        exit_code=exit_code,
        elapsed_seconds=max(now - (batch.last_run_at or batch.created_at), 0.0),
        entries=entries,
    )


async def put_back(journal: Journal, queries: OwnedQueries, batches: Collection[BatchRecord]) -> int:
    """Queue the entries of *batches* that workers left unfinished and that have no row; returns their number.

    Entries that no worker has claimed are left to `enqueue`: they may wait for a person's decision.
    """
    count = 0
    for batch in batches:
        states = run_selection(is_submit_wanted=batch.is_submit_wanted).states
        left = [
            QueueItem(batch.batch, record.entry_id)
            async for record in journal.begun_entries(batch.batch, states)
        ]
        count += await queries.put(left)
    return count
