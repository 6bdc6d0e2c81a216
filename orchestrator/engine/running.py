"""`run` from end to end: lock, plan, work, report."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from signal import SIGINT

import anyio

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.exit_codes import ExitCode, exit_code_of, exit_code_of_failures
from orchestrator.domain.retry import RetryBudget, RetryPolicy
from orchestrator.engine.collaborators import Collaborators, RunSettings
from orchestrator.engine.connection import Clocks, Connection, ServiceSettings, connect
from orchestrator.engine.drain import Drain
from orchestrator.engine.events import EventBus, RunFinished, RunStarted, ServiceWarning
from orchestrator.engine.planning import Planner, Registration
from orchestrator.engine.queue import EntryQueue
from orchestrator.engine.report import RunReport, count_entries
from orchestrator.engine.run import BatchRun
from orchestrator.engine.signals import StopSignals
from orchestrator.engine.tally import Tally
from orchestrator.journal.journal import Journal
from orchestrator.journal.lock import hold_run_lock
from orchestrator.manifest import Manifest, Problem
from orchestrator.metastudio.attempts import ApiAttempt
from orchestrator.transfer.probe import probe_object
from orchestrator.transfer.sender import SegmentSender


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What to run, and how; `on_problems` hears the manifest's problems before anything is sent."""

    manifest: Manifest
    service: ServiceSettings
    settings: RunSettings
    policy: RetryPolicy
    with_media: bool
    grace_seconds: float
    run_id: str
    on_problems: Callable[[list[Problem]], None]
    on_attempt: Callable[[ApiAttempt], None]


async def run_batch(request: RunRequest, journal: Journal, events: EventBus, clocks: Clocks) -> RunReport:
    """Do what is left of the manifest's batch.

    Raises ManifestError before anything is sent, LockHeldError when another run works on the batch,
    ConfigurationError, CredentialsError or JournalError when the work could not begin.
    """
    drain = Drain(clocks.sleep, events)
    waiting = replace(clocks, sleep=drain.sleep)
    threads = os.cpu_count() or 1
    async with connect(
        request.service, waiting, reader_threads=threads, on_attempt=request.on_attempt
    ) as connection:
        key = BatchKey(connection.endpoint, connection.project_id, request.manifest.batch_name)
        with hold_run_lock(journal.lock_path(key)):
            registration = await _register(request, journal, key)
            work = _Work(
                request=request,
                journal=journal,
                events=events,
                clocks=clocks,
                drain=drain,
                connection=connection,
                key=key,
            )
            return await work.run(registration)


async def _register(request: RunRequest, journal: Journal, key: BatchKey) -> Registration:
    planner = Planner(request.manifest, journal, key.digest, request.settings, with_media=request.with_media)
    await journal.open_batch(
        key,
        manifest_path=str(request.manifest.path.absolute()),
        is_submit_wanted=request.settings.is_submit_wanted,
        run_id=request.run_id,
    )
    try:
        return await planner.register()
    finally:
        request.on_problems(planner.problems)


class _Work:
    """The part of a run during which signals drain rather than kill."""

    def __init__(
        self,
        *,
        request: RunRequest,
        journal: Journal,
        events: EventBus,
        clocks: Clocks,
        drain: Drain,
        connection: Connection,
        key: BatchKey,
    ) -> None:
        self._request = request
        self._journal = journal
        self._events = events
        self._clocks = clocks
        self._drain = drain
        self._connection = connection
        self._key = key
        self._tally = Tally()
        self._signals = StopSignals(drain, request.grace_seconds, clocks.sleep)

    async def run(self, registration: Registration) -> RunReport:
        began_at, began = self._clocks.clock(), self._clocks.monotonic()
        self._events.subscribe(self._tally)
        await self._announce(registration)
        queue = EntryQueue(
            self._journal,
            self._key.digest,
            is_submit_wanted=self._request.settings.is_submit_wanted,
            excluded=registration.undecided,
            run_began_at=began_at,
        )
        await self._until_stopped(BatchRun(self._collaborators(), queue))
        with anyio.CancelScope(shield=True):
            report = await self._report(registration, self._clocks.monotonic() - began)
            await self._journal.close_batch(self._key.digest, report.exit_code)
        self._events.publish(
            RunFinished(
                batch=self._key.name, exit_code=report.exit_code, elapsed_seconds=report.elapsed_seconds
            )
        )
        return report

    async def _until_stopped(self, run: BatchRun) -> None:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                group.start_soon(self._signals.listen, scope)
                await run.run()
            group.cancel_scope.cancel()

    async def _announce(self, registration: Registration) -> None:
        with_submit = self._request.settings.is_submit_wanted
        counts = await self._journal.counts(self._key.digest)
        segments, stored_bytes = await self._journal.count_stored(self._key.digest)
        self._events.publish(
            RunStarted(
                batch=self._key.name,
                run_id=self._request.run_id,
                totals=registration.totals,
                done_entries=count_entries(counts, undecided=0, with_submit=with_submit).done,
                stored_segments=segments,
                stored_bytes=stored_bytes,
            )
        )

    def _collaborators(self) -> Collaborators:
        request, settings = self._request, self._request.settings
        return Collaborators(
            batch=self._key,
            settings=settings,
            journal=self._journal,
            client=self._connection.client,
            sender=SegmentSender(
                self._connection.session,
                readers=self._connection.readers,
                idle_timeout=request.service.idle_timeout,
                is_verifying=request.service.is_verifying,
                is_insecure_http_allowed=request.service.is_insecure_http_allowed,
                clock=self._clocks.clock,
                on_warning=lambda message: self._events.publish(ServiceWarning(message=message)),
            ),
            probe=lambda url: probe_object(
                self._connection.session, url, timeout_seconds=request.service.idle_timeout
            ),
            events=self._events,
            drain=self._drain,
            policy=request.policy,
            budget=RetryBudget(settings.run_retries),
            segment_limiter=anyio.CapacityLimiter(settings.parallel),
            clock=self._clocks.clock,
            monotonic=self._clocks.monotonic,
            draw=self._clocks.draw,
            nonce=self._clocks.nonce,
        )

    async def _report(self, registration: Registration, elapsed_seconds: float) -> RunReport:
        batch, with_submit = self._key.digest, self._request.settings.is_submit_wanted
        segments, stored_bytes = await self._journal.count_stored(batch)
        counts = count_entries(
            await self._journal.counts(batch),
            undecided=len(registration.undecided),
            with_submit=with_submit,
        )
        return RunReport(
            batch=self._key.name,
            batch_digest=batch,
            run_id=self._request.run_id,
            exit_code=await self._exit_code(registration),
            elapsed_seconds=elapsed_seconds,
            totals=registration.totals,
            entries=counts,
            stored_segments=segments,
            stored_bytes=stored_bytes,
            tally=self._tally,
            cause=self._drain.cause,
            undecided=registration.undecided,
        )

    async def _exit_code(self, registration: Registration) -> ExitCode:
        if self._signals.received is not None:
            return ExitCode.INTERRUPTED if self._signals.received == SIGINT else ExitCode.TERMINATED
        if self._drain.cause is not None:
            return exit_code_of(self._drain.cause)
        failures = await self._journal.failures(self._key.digest)
        return exit_code_of_failures(failures, len(registration.undecided))
