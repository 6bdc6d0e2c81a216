"""What is open while a batch is worked on: the journal, the events and who hears them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from orchestrator.api.checking import Asked
from orchestrator.api.settings import Settings
from orchestrator.api.telling import Surroundings, telling
from orchestrator.engine.batch import RunRequest, run_batch
from orchestrator.engine.connection import Clocks
from orchestrator.engine.context import WorkSettings
from orchestrator.engine.event_bus import EventBus, Subscriber
from orchestrator.engine.events import ServiceWarning
from orchestrator.engine.report import RunReport
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.manifest import Manifest, Problem
from orchestrator.observe.tracking import RunTracker


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One batch at work."""

    work: WorkSettings
    journal: Journal
    events: EventBus
    clocks: Clocks
    tracker: RunTracker


@asynccontextmanager
async def open_session(
    work: WorkSettings,
    values: Settings,
    clocks: Clocks,
    tracker: RunTracker,
    *,
    batch_name: str,
    subscribers: Collection[Subscriber],
    around: Surroundings,
) -> AsyncIterator[Session]:
    """Open all for one run of a batch; raises JournalError, and ConfigurationError for a journal there cannot be."""
    context = {"batch": batch_name, "run_id": work.run_id}
    with telling(values, context, clocks.clock, around) as told:
        async with open_journal(values.state, clock=clocks.clock) as journal:
            events = EventBus(tracker, *subscribers, *told.subscribers)
            for warning in work.service.credentials.warnings:
                events.publish(ServiceWarning(message=warning))
            yield Session(
                work=replace(work, events_path=told.events_path),
                journal=journal,
                events=events,
                clocks=clocks,
                tracker=tracker,
            )


async def work_on(
    session: Session,
    asked: Asked,
    manifest: Manifest,
    *,
    with_media: bool,
    on_problems: Callable[[list[Problem]], None],
) -> RunReport:
    """Bring the manifest's batch to its end; raises as `engine.batch.run_batch` does."""
    request = RunRequest(
        manifest=manifest,
        work=session.work,
        with_media=with_media,
        is_batch_named=asked.batch_name is not None,
        patterns=tuple(asked.patterns),
        on_problems=on_problems,
    )
    return await run_batch(request, session.journal, session.events, session.clocks)
