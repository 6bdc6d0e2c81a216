"""What the runs of one process share, and the runs that are made from it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.retry import RetryBudget
from orchestrator.engine.connection import Clocks, Connection, MakePacer, connect
from orchestrator.engine.context import Run, WorkSettings
from orchestrator.engine.drain import Drain
from orchestrator.engine.events import EventBus, ServiceWarning, telling_attempts
from orchestrator.engine.outage import Outages, gates
from orchestrator.transfer.pacing import PutSlots, RateEstimate
from orchestrator.transfer.sender import SegmentSender

if TYPE_CHECKING:
    from orchestrator.journal.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """The connection to the service and the limits of this process; batches are worked on through its runs."""

    work: WorkSettings
    journal: Journal
    events: EventBus
    clocks: Clocks
    drain: Drain
    outages: Outages
    connection: Connection
    sender: SegmentSender
    slots: PutSlots
    rate: RateEstimate

    def run(self, batch: BatchKey, *, is_submit_wanted: bool, budget: RetryBudget) -> Run:
        """A run of *batch*; who works with it has the batch's lock, or the entries' holds."""
        settings = replace(self.work.settings, is_submit_wanted=is_submit_wanted)
        return Run(
            batch=batch,
            work=replace(self.work, settings=settings),
            journal=self.journal,
            events=self.events,
            clocks=self.clocks,
            drain=self.drain,
            outages=self.outages,
            connection=self.connection,
            sender=self.sender,
            slots=self.slots,
            budget=budget,
            rate=self.rate,
        )


@asynccontextmanager
async def open_workplace(
    work: WorkSettings,
    journal: Journal,
    events: EventBus,
    clocks: Clocks,
    *,
    make_pacer: MakePacer | None = None,
) -> AsyncIterator[Workplace]:
    """Connect, and put together what runs share; raises ConfigurationError, CredentialsError or JournalError.

    *make_pacer* is as `connect` takes it.
    """
    service = work.service
    drain = Drain(clocks.sleep, events)
    outages = gates(service.outage, clocks, drain, events)
    async with connect(
        service,
        # The waits of calls end, too, as soon as the run drains.
        replace(clocks, sleep=drain.sleep),
        reader_threads=os.cpu_count() or 1,
        on_attempt=telling_attempts(events),
        gate=outages.call,
        make_pacer=make_pacer,
    ) as connection:
        yield Workplace(
            work=work,
            journal=journal,
            events=events,
            clocks=clocks,
            drain=drain,
            outages=outages,
            connection=connection,
            sender=SegmentSender(
                connection.session,
                readers=connection.readers,
                idle_timeout=service.idle_timeout,
                is_verifying=service.is_verifying,
                is_insecure_http_allowed=service.is_insecure_http_allowed,
                clock=connection.service_time.now,
                on_warning=lambda message: events.publish(ServiceWarning(message=message)),
            ),
            slots=PutSlots(work.settings.most_parallel, work.bandwidth),
            rate=RateEstimate(),
        )


@asynccontextmanager
async def open_run(
    work: WorkSettings, batch_name: str, journal: Journal, events: EventBus, clocks: Clocks
) -> AsyncIterator[Run]:
    """Connect, take the batch's lock, and put together what the engine works with.

    Raises LockHeldError while another run has the batch, and what `open_workplace` raises; the lock is held until the
    block is left.
    """
    async with open_workplace(work, journal, events, clocks) as place:
        connection = place.connection
        key = await journal.known_key(BatchKey(connection.endpoint, connection.project_id, batch_name))
        async with journal.hold_batch(key):
            yield place.run(
                key,
                is_submit_wanted=work.settings.is_submit_wanted,
                budget=RetryBudget(work.settings.run_retries),
            )
