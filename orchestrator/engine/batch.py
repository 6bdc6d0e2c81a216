"""`run`, `retry` and `submit` from end to end: lock, plan, work, report."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from orchestrator.domain.entries import BatchKey
from orchestrator.engine.connection import Clocks, connect
from orchestrator.engine.decision import Retry
from orchestrator.engine.drain import Drain
from orchestrator.engine.earlier_manifest import EarlierManifest, earlier_manifest
from orchestrator.engine.events import ComparisonStarted, EventBus, Totals
from orchestrator.engine.file_comparison import ContentComparison
from orchestrator.engine.outage import gates
from orchestrator.engine.planning import Planner, Registration
from orchestrator.engine.queue import failed, unfinished, uploaded
from orchestrator.engine.report import RunReport
from orchestrator.engine.working import BatchWork, WorkSettings
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import BatchRecord
from orchestrator.journal.sqlite.lock import hold_run_lock
from orchestrator.manifest import Manifest, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What to run, and how; `on_problems` hears the manifest's problems before anything is sent."""

    manifest: Manifest
    work: WorkSettings
    with_media: bool
    is_batch_named: bool = False  #: a person named the batch, whatever manifest it was made from
    on_problems: Callable[[list[Problem]], None]


async def run_batch(request: RunRequest, journal: Journal, events: EventBus, clocks: Clocks) -> RunReport:
    """Do what is left of the manifest's batch.

    Raises ManifestError before anything is sent, LockHeldError when another run works on the batch,
    ConfigurationError, CredentialsError or JournalError when the work could not begin.
    """
    async with _open_work(request.work, request.manifest.batch_name, journal, events, clocks) as work:
        registration = await _register(request, work, retry=None)
        is_submit_wanted = request.work.settings.is_submit_wanted
        selection = unfinished(is_submit_wanted=is_submit_wanted, undecided=registration.undecided)
        return await work.run(registration, selection)


async def retry_batch(
    request: RunRequest,
    retry: Retry,
    journal: Journal,
    events: EventBus,
    clocks: Clocks,
) -> RunReport:
    """Retry failed entries, with the manifest as it is now; *retry* names some of them.

    An entry whose review failed is amended where its files or fields have been replaced, or when it is named;
    a cancelled one comes back when it is named, or all are.
    Raises as `run_batch` does.
    """
    async with _open_work(request.work, request.manifest.batch_name, journal, events, clocks) as work:
        registration = await _register(request, work, retry=retry)
        selection = failed(
            retry.entry_ids,
            undecided=registration.undecided,
            is_cancelled_wanted=retry.is_cancelled_wanted,
        )
        return await work.run(registration, selection)


async def submit_batch(
    work_settings: WorkSettings, batch_name: str, journal: Journal, events: EventBus, clocks: Clocks
) -> RunReport:
    """Hand the jobs that hold their files to review; no manifest is needed for that.

    Raises as `run_batch` does, but for ManifestError.
    """
    async with _open_work(work_settings, batch_name, journal, events, clocks) as work:
        await journal.open_batch(
            work.key, manifest_path=None, is_submit_wanted=True, run_id=work_settings.run_id
        )
        counts = await journal.counts(work.key.digest)
        segments, stored_bytes = await journal.count_stored(work.key.digest)
        totals = Totals(entries=sum(counts.values()), segments=segments, bytes=stored_bytes)
        return await work.run(Registration(totals=totals, undecided={}, removed=()), uploaded())


@asynccontextmanager
async def _open_work(
    settings: WorkSettings, batch_name: str, journal: Journal, events: EventBus, clocks: Clocks
) -> AsyncIterator[BatchWork]:
    drain = Drain(clocks.sleep, events)
    waiting = replace(clocks, sleep=drain.sleep)
    outages = gates(settings.service.outage, clocks, drain, events)
    async with connect(
        settings.service,
        waiting,
        reader_threads=os.cpu_count() or 1,
        on_attempt=settings.on_attempt,
        gate=outages.call,
    ) as connection:
        key = await journal.known_key(BatchKey(connection.endpoint, connection.project_id, batch_name))
        with hold_run_lock(journal.lock_path(key)):
            yield BatchWork(
                work=settings,
                journal=journal,
                events=events,
                clocks=clocks,
                drain=drain,
                outages=outages,
                connection=connection,
                key=key,
            )


async def _register(request: RunRequest, work: BatchWork, *, retry: Retry | None) -> Registration:
    settings, path = request.work.settings, request.manifest.path
    known = await work.journal.batch(work.key.digest)
    await work.journal.open_batch(
        work.key,
        # Which file a known batch is made from is settled once its entries are known.
        manifest_path=str(path.absolute()) if known is None else None,
        is_submit_wanted=settings.is_submit_wanted,
        run_id=request.work.run_id,
    )
    planner = Planner(
        request.manifest,
        work.journal,
        work.key.digest,
        settings,
        with_media=request.with_media,
        retry=retry,
        earlier=None if known is None else _earlier(request, known),
        contents=ContentComparison(
            work.journal, lambda files: work.events.publish(ComparisonStarted(files=files))
        ),
    )
    try:
        registration = await planner.register()
    finally:
        request.on_problems(planner.problems)
    await work.journal.name_manifest(work.key.digest, str(path.absolute()))
    await work.journal.require_before_submit(work.key.digest, request.manifest.submit_requires)
    return registration


def _earlier(request: RunRequest, known: BatchRecord) -> EarlierManifest | None:
    if request.is_batch_named:
        return None
    return earlier_manifest(known.manifest_path, request.manifest.path, known.name)
