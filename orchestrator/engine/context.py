"""The context of the engine: one run of a batch, and the resources that the runs of a process share."""

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
from orchestrator.engine.events import EventBus, ServiceWarning, publishing_attempts
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

#: No gain has been observed from more concurrent PUTs, and each one costs memory and a connection.
MAX_AUTO_PARALLEL: Final = 64
#: A receipt proves delivery too, so an object that the store does not show gets no more attempts than these.
_PROBE_POLICY: Final = RetryPolicy(attempts=3, cap_seconds=5.0)


class OnExpired(StrEnum):
    """What to do when upload URLs have expired and the service returns no new ones for the job."""

    RECREATE = "recreate"
    FAIL = "fail"


class OnExisting(StrEnum):
    """What to do when a job exists before the first create of its entry."""

    ASK = "ask"
    ADOPT = "adopt"
    CREATE = "create"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The settings of a run; the fields with defaults cannot be set by users."""

    jobs: int
    #: Concurrent PUTs of the whole run; None adapts the number while it runs.
    parallel: int | None
    part_bytes: int
    is_submit_wanted: bool
    #: Also submit entries that the service is known to refuse.
    is_submit_forced: bool
    is_fail_fast: bool
    on_expired: OnExpired
    on_change: Change | None
    on_existing: OnExisting
    is_object_verified: bool
    #: Limits after which the run takes no new work, in seconds of work and in bytes sent; None for no limit.
    max_duration: float | None
    max_transfer: int | None
    #: Send the valid entries of a manifest in which others have errors.
    is_skipping_invalid: bool
    #: Skip entries whose files were written within this many seconds; None sends all.
    min_age: float | None
    entry_retries: int = 200
    run_retries: int = 5000
    url_refreshes: int = 8
    settle_seconds: float = 5.0
    breaker_entries: int = 3

    @property
    def max_parallel(self) -> int:
        """The highest possible number of concurrent PUTs."""
        return MAX_AUTO_PARALLEL if self.parallel is None else self.parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSettings:
    """The connection settings, the run's settings, and the time a run may take to stop after a signal."""

    service: ServiceSettings
    settings: RunSettings
    policy: RetryPolicy
    grace_seconds: float
    run_id: str
    bandwidth: BandwidthLimit = field(default_factory=BandwidthLimit)
    #: How the run receives requests to stop.
    listening: Listening = by_signals
    #: The file that events are written to, kept in the run's record for its readers; None when there is none.
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
    #: This host, when it is one of a fleet; None when the run holds its batch's lock.
    host: str | None = None

    @property
    def settings(self) -> RunSettings:
        """The settings of the run."""
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
        """Read an object's metadata through its download URL; return None when the store does not show it.

        An outage of the store is waited out. Any other retryable failure proves nothing about the object and also
        returns None.
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
class SharedResources:
    """The connection to the service and the limits of this process, shared by its runs."""

    work: WorkSettings
    journal: Journal
    events: EventBus
    clocks: Clocks
    drain: Drain
    outages: Outages
    connection: Connection
    #: Returns the sender that compares MD5s (True) or the one that does not (False).
    sender_for: Callable[[bool], SegmentSender]
    slots: PutSlots
    rate: RateEstimate

    def new_run(
        self, batch: BatchKey, work: WorkSettings, *, budget: RetryBudget, host: str | None = None
    ) -> Run:
        """Return a run of *batch* with *work*, which differs from these resources' own in the batch's settings.

        The caller holds the batch's lock or, when it is one *host* of a fleet, the holds of entries.
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
async def open_shared_resources(
    work: WorkSettings,
    journal: Journal,
    events: EventBus,
    clocks: Clocks,
    *,
    make_pacer: MakePacer | None = None,
) -> AsyncIterator[SharedResources]:
    """Connect and assemble the shared resources; raises ConfigurationError, CredentialsError or JournalError.

    *make_pacer* is passed to `connect`.
    """
    service = work.service
    drain = Drain(clocks.sleep, events)
    outages = gates(service.outage, clocks, drain, events)
    async with connect(
        service,
        # The waits of calls must also end as soon as the run drains.
        replace(clocks, sleep=drain.sleep),
        reader_threads=os.cpu_count() or 1,
        on_attempt=publishing_attempts(events),
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

        yield SharedResources(
            work=work,
            journal=journal,
            events=events,
            clocks=clocks,
            drain=drain,
            outages=outages,
            connection=connection,
            sender_for=sender_for,
            slots=PutSlots(work.settings.max_parallel, work.bandwidth),
            rate=RateEstimate(),
        )


@asynccontextmanager
async def open_run(
    work: WorkSettings, batch_name: str, journal: Journal, events: EventBus, clocks: Clocks
) -> AsyncIterator[Run]:
    """Connect, take the batch's lock and return the run; the lock is held until the block ends.

    Raises LockHeldError while another run has the batch, and whatever `open_shared_resources` raises.
    """
    async with open_shared_resources(work, journal, events, clocks) as resources:
        connection = resources.connection
        key = await journal.known_key(BatchKey(connection.endpoint, connection.project_id, batch_name))
        async with journal.hold_batch(key):
            yield resources.new_run(key, work, budget=RetryBudget(work.settings.run_retries))
