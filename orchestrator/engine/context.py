"""What every part of the engine works with: one run of a batch, and what the runs of a process share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import RetryableError
from orchestrator.domain.evidence import ObjectFacts
from orchestrator.domain.presigned import PresignedUrl, ServiceTime
from orchestrator.domain.retry import RetryBudget, RetryPolicy
from orchestrator.domain.states import Change
from orchestrator.engine.drain import Drain, Listening, by_signals
from orchestrator.engine.events import EventBus, ServiceWarning, telling_attempts
from orchestrator.engine.outage import Outages, gates
from orchestrator.engine.service_connection import Clocks, Connection, MakePacer, connect
from orchestrator.metastudio.rate_limit import Retrying
from orchestrator.transfer.answer import probe_object
from orchestrator.transfer.bandwidth import BandwidthLimit, PutSlots, RateEstimate
from orchestrator.transfer.sender import SegmentSender

if TYPE_CHECKING:
    from orchestrator.engine.service_connection import ServiceSettings
    from orchestrator.journal.journal import Journal
    from orchestrator.metastudio.client import MetaStudioClient

#: More PUTs at once have not been seen to gain anything, and each costs memory and a connection.
MAX_PARALLEL: Final = 64
#: A receipt proves delivery too, so an object that cannot be seen is worth no more attempts than these.
_PROBE_POLICY: Final = RetryPolicy(attempts=3, cap_seconds=5.0)


class OnExpired(StrEnum):
    """What to do when upload URLs have expired and the service returns no new ones for the job."""

    RECREATE = "recreate"
    FAIL = "fail"


class OnExisting(StrEnum):
    """What to do about a job that exists before the first create of its entry."""

    ASK = "ask"
    ADOPT = "adopt"
    CREATE = "create"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How a run behaves: what can be set, and below it what cannot."""

    jobs: int
    #: PUTs at once over the whole run; None finds out while it runs.
    parallel: int | None
    part_bytes: int
    is_submit_wanted: bool
    #: Submit also what is known to be refused.
    is_submit_forced: bool
    is_fail_fast: bool
    on_expired: OnExpired
    on_change: Change | None
    on_existing: OnExisting
    is_object_verified: bool
    #: When to take no new work, in seconds of work and in bytes sent; None for no limit.
    max_duration: float | None
    max_transfer: int | None
    #: Send the good entries of a manifest in which others have errors.
    is_skipping_invalid: bool
    #: Leave entries whose files were written within this many seconds; None sends all.
    min_age: float | None
    entry_retries: int = 200
    run_retries: int = 5000
    url_refreshes: int = 8
    settle_seconds: float = 5.0
    breaker_entries: int = 3

    @property
    def most_parallel(self) -> int:
        """How many PUTs at once there can be."""
        return MAX_PARALLEL if self.parallel is None else self.parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSettings:
    """How to reach the service, how the run behaves, and how long it may take to stop after a signal."""

    service: ServiceSettings
    settings: RunSettings
    policy: RetryPolicy
    grace_seconds: float
    run_id: str
    bandwidth: BandwidthLimit = field(default_factory=BandwidthLimit)
    #: How the run hears that it is to stop.
    listening: Listening = by_signals
    #: The file to which events are written, for readers of the run's record; None where there is none.
    events_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one batch, made once and passed to every part of the engine."""

    batch: BatchKey
    work: WorkSettings
    journal: Journal
    events: EventBus
    clocks: Clocks
    drain: Drain
    outages: Outages
    connection: Connection
    sender: SegmentSender
    slots: PutSlots
    budget: RetryBudget
    rate: RateEstimate = field(default_factory=RateEstimate)
    #: This one, where it works together with others; None where a run has its batch to itself.
    host: str | None = None

    @property
    def settings(self) -> RunSettings:
        """How the run behaves."""
        return self.work.settings

    @property
    def client(self) -> MetaStudioClient:
        """The client for the service."""
        return self.connection.client

    @property
    def service_time(self) -> ServiceTime:
        """The service's time, by which upload URLs expire."""
        return self.connection.service_time

    async def probe(self, url: PresignedUrl) -> ObjectFacts | None:
        """Read an object's head through its download URL; None when the store does not show it.

        An outage of the store is waited for; any other failure says nothing about the object.
        """
        retrying = Retrying(
            policy=_PROBE_POLICY,
            sleep=self.drain.sleep,
            draw=self.clocks.draw,
            gate=lambda _operation, subject, turn: self.outages.put(url.host, subject, turn),
        )
        service = self.work.service
        try:
            return await retrying.run(
                lambda _attempt: probe_object(
                    self.connection.session,
                    url,
                    timeout_seconds=service.idle_timeout,
                    is_insecure_http_allowed=service.is_insecure_http_allowed,
                ),
                operation="probe",
                subject=url.object_name,
            )
        except RetryableError:
            return None


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
    #: The one sender that compares MD5s, and the one that does not.
    sender_for: Callable[[bool], SegmentSender]
    slots: PutSlots
    rate: RateEstimate

    def run(
        self, batch: BatchKey, work: WorkSettings, *, budget: RetryBudget, host: str | None = None
    ) -> Run:
        """A run of *batch* by *work*, which differs from the place's own in what a batch decides.

        Who works with it has the batch's lock, or, on a *host* among others, the holds of entries.
        """
        return Run(
            batch=batch,
            work=work,
            journal=self.journal,
            events=self.events,
            clocks=self.clocks,
            drain=self.drain,
            outages=self.outages,
            connection=self.connection,
            sender=self.sender_for(work.service.is_verifying),
            slots=self.slots,
            budget=budget,
            rate=self.rate,
            host=host,
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

        @cache
        def sender_for(is_verifying: bool) -> SegmentSender:
            return SegmentSender(
                connection.session,
                readers=connection.readers,
                idle_timeout=service.idle_timeout,
                is_verifying=is_verifying,
                is_insecure_http_allowed=service.is_insecure_http_allowed,
                clock=connection.service_time.now,
                on_warning=lambda message: events.publish(ServiceWarning(message=message)),
            )

        yield Workplace(
            work=work,
            journal=journal,
            events=events,
            clocks=clocks,
            drain=drain,
            outages=outages,
            connection=connection,
            sender_for=sender_for,
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
            yield place.run(key, work, budget=RetryBudget(work.settings.run_retries))
