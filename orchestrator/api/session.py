"""What is open while a batch is worked on: the journal, the events and who hears them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from orchestrator.api.checking import Asked
from orchestrator.api.delivering import targets_of
from orchestrator.api.hooks import Ending, beating
from orchestrator.api.notifying import Notifier
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
    ending: Ending
    notifier: Notifier | None

    async def report_end(self, report: RunReport) -> None:
        """Notify the addresses and the command of the settings of how the run went."""
        self.ending.exit_code = int(report.exit_code)
        if self.notifier is not None:
            await self.notifier.finish(report)


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
    targets = targets_of(values.notify) if values.notify else []
    async with AsyncExitStack() as opened:
        ending = await opened.enter_async_context(beating(values.heartbeat, around.warn))
        told = opened.enter_context(telling(values, context, clocks.clock, around))
        journal = await opened.enter_async_context(open_journal(values.state, clock=clocks.clock))
        notifier = None
        if targets or values.on_finish is not None:
            made = Notifier(
                targets,
                values.on_finish,
                journal,
                work.run_id,
                has_worked=lambda: tracker.has_worked,
                around=around,
            )
            notifier = await opened.enter_async_context(made)
        events = EventBus(tracker, *subscribers, *told.subscribers, *filter(None, [notifier]))
        for warning in work.service.credentials.warnings:
            events.publish(ServiceWarning(message=warning))
        yield Session(
            work=replace(work, events_path=told.events_path),
            journal=journal,
            events=events,
            clocks=clocks,
            tracker=tracker,
            ending=ending,
            notifier=notifier,
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
