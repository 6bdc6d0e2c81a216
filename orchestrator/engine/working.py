"""The part of a command during which entries are worked on and signals drain rather than kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from orchestrator.domain.delivery import ObjectFacts
from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import RetryableError
from orchestrator.domain.exit_codes import ExitCode, exit_code_of, exit_code_of_failures
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.domain.retry import RetryBudget, RetryPolicy
from orchestrator.domain.states import EntryState
from orchestrator.engine.connection import Clocks, Connection, ServiceSettings
from orchestrator.engine.context import Collaborators, RunSettings
from orchestrator.engine.drain import Drain, StopSignals
from orchestrator.engine.events import EventBus, RunFinished, RunStarted, ServiceWarning
from orchestrator.engine.following import Follower
from orchestrator.engine.outage import Outages
from orchestrator.engine.parallelism import AdaptiveParallelism
from orchestrator.engine.planning import Registration
from orchestrator.engine.queue import EntryQueue, Selection
from orchestrator.engine.report import RunReport, Tally, count_entries
from orchestrator.engine.run import BatchRun
from orchestrator.journal.journal import Journal
from orchestrator.metastudio.attempts import ApiAttempt, Retrying
from orchestrator.transfer.bandwidth import BandwidthLimit
from orchestrator.transfer.probe import probe_object
from orchestrator.transfer.sender import SegmentSender
from orchestrator.transfer.slots import PutSlots

#: A look at an object proves delivery, which a receipt does as well.
_PROBE_POLICY = RetryPolicy(attempts=3, cap_seconds=5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSettings:
    """How to reach the service, how to behave, and how long what runs may take after a signal."""

    service: ServiceSettings
    settings: RunSettings
    policy: RetryPolicy
    grace_seconds: float
    run_id: str
    on_attempt: Callable[[ApiAttempt], None]
    bandwidth: BandwidthLimit = field(default_factory=BandwidthLimit)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWork:
    """Works on the selected entries of one batch, whose lock the caller holds."""

    work: WorkSettings
    journal: Journal
    events: EventBus
    clocks: Clocks
    drain: Drain
    outages: Outages
    connection: Connection
    key: BatchKey

    async def run(self, registration: Registration, selection: Selection) -> RunReport:
        """Work until nothing selected is left or the run drains, and tell how it went."""
        began = self.clocks.monotonic()
        tally = Tally()
        self.events.subscribe(tally)
        await self._announce(registration)
        signals = StopSignals(self.drain, self.work.grace_seconds, self.clocks.sleep)
        queue = EntryQueue(self.journal, self.key.digest, selection)
        follower = Follower(self.journal, self.connection.client, self.events, self.key)
        is_followed = self.work.settings.is_submit_wanted and await follower.has_submitted()
        run = BatchRun(self._collaborators(), queue)
        await _until_stopped(run, signals)
        if is_followed and signals.received is None and self.drain.cause is None:
            await follower.look()
        with anyio.CancelScope(shield=True):
            elapsed = self.clocks.monotonic() - began
            exit_code = await self._exit_code(registration, signals, run.lost_entries)
            report = await self._report(registration, tally, exit_code, elapsed)
            await self.journal.close_batch(self.key.digest, report.exit_code)
        self.events.publish(RunFinished(batch=self.key.name, exit_code=exit_code, elapsed_seconds=elapsed))
        return report

    async def _announce(self, registration: Registration) -> None:
        counts = await self.journal.counts(self.key.digest)
        segments, stored_bytes = await self.journal.count_stored(self.key.digest)
        with_submit = self.work.settings.is_submit_wanted
        self.events.publish(
            RunStarted(
                batch=self.key.name,
                run_id=self.work.run_id,
                totals=registration.totals,
                done_entries=count_entries(counts, undecided=0, with_submit=with_submit).done,
                stored_segments=segments,
                stored_bytes=stored_bytes,
            )
        )

    def _collaborators(self) -> Collaborators:
        work, settings, service = self.work, self.work.settings, self.work.service
        return Collaborators(
            batch=self.key,
            settings=settings,
            journal=self.journal,
            client=self.connection.client,
            sender=SegmentSender(
                self.connection.session,
                readers=self.connection.readers,
                idle_timeout=service.idle_timeout,
                is_verifying=service.is_verifying,
                is_insecure_http_allowed=service.is_insecure_http_allowed,
                clock=self.connection.service_time.now,
                on_warning=lambda message: self.events.publish(ServiceWarning(message=message)),
            ),
            probe=self._probe,
            events=self.events,
            drain=self.drain,
            policy=work.policy,
            budget=RetryBudget(settings.run_retries),
            outages=self.outages,
            slots=self._slots(),
            bandwidth=work.bandwidth,
            clock=self.clocks.clock,
            service_time=self.connection.service_time,
            monotonic=self.clocks.monotonic,
            draw=self.clocks.draw,
            nonce=self.clocks.nonce,
        )

    async def _probe(self, url: PresignedUrl) -> ObjectFacts | None:
        """Look at an object; an outage of its store is waited for, what else fails says nothing of the object."""
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

    def _slots(self) -> PutSlots:
        bandwidth = self.work.bandwidth
        slots = PutSlots(
            self.work.settings.most_parallel, is_divided=lambda: bandwidth.bytes_per_second is not None
        )
        if self.work.settings.parallel is None:
            self.events.subscribe(AdaptiveParallelism(slots, self.events, self.clocks.monotonic))
        return slots

    async def _report(
        self, registration: Registration, tally: Tally, exit_code: ExitCode, elapsed_seconds: float
    ) -> RunReport:
        batch = self.key.digest
        segments, stored_bytes = await self.journal.count_stored(batch)
        states = await self.journal.counts(batch)
        counts = count_entries(
            states,
            undecided=len(registration.undecided),
            with_submit=self.work.settings.is_submit_wanted,
        )
        return RunReport(
            batch=self.key.name,
            batch_digest=batch,
            run_id=self.work.run_id,
            exit_code=exit_code,
            elapsed_seconds=elapsed_seconds,
            totals=registration.totals,
            entries=counts,
            stored_segments=segments,
            stored_bytes=stored_bytes,
            tally=tally,
            cause=self.drain.cause,
            undecided=registration.undecided,
            removed=registration.removed,
            replaced=registration.replaced,
            earlier_manifest=registration.earlier_manifest,
            counts=states,
        )

    async def _exit_code(
        self, registration: Registration, signals: StopSignals, lost_entries: int
    ) -> ExitCode:
        if signals.received is not None:
            return ExitCode(128 + signals.received)
        if self.drain.cause is not None:
            return exit_code_of(self.drain.cause)
        failures = await self.journal.failures(self.key.digest)
        counts = await self.journal.counts(self.key.digest)
        code = exit_code_of_failures(
            failures,
            undecided=len(registration.undecided),
            reviews_failed=counts.get(EntryState.REVIEW_FAILED, 0),
        )
        return ExitCode.TEMPORARY if code is ExitCode.OK and lost_entries else code


async def _until_stopped(run: BatchRun, signals: StopSignals) -> None:
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope, signals.heard(group, scope):
            await run.run()
        group.cancel_scope.cancel()
