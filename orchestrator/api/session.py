"""What is open while batches are worked on: the journal, the events, and who hears them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.api.checking import Asked
from orchestrator.api.run_report import document_of_queued_batch, document_of_run
from orchestrator.domain.errors import ExitCode, LockHeldError, exit_code_of_any
from orchestrator.engine.batch import RunRequest, run_batch
from orchestrator.engine.context import WorkSettings
from orchestrator.engine.events import EventBus, ServiceWarning, Subscriber
from orchestrator.engine.report import RunReport
from orchestrator.engine.service_connection import Clocks
from orchestrator.journal.backend import is_url
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.manifest import Manifest, Problem
from orchestrator.observe.streams import Surroundings
from orchestrator.observe.tracking import RunTracker
from orchestrator.settings.values import STDOUT, Settings

if TYPE_CHECKING:
    from orchestrator.notifications.notifier import Notifier
    from orchestrator.observe.metrics import RunMetrics


@dataclass(slots=True)
class Ending:
    """How a run ends, once it is known; until then as one that crashed."""

    exit_code: int = ExitCode.UNEXPECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One batch at work, or those of a worker of a fleet."""

    work: WorkSettings
    journal: Journal
    events: EventBus
    clocks: Clocks
    tracker: RunTracker | None
    ending: Ending
    notifier: Notifier | None

    @property
    def has_worked(self) -> bool:
        """True once a run has taken an entry."""
        return self.tracker is not None and self.tracker.has_worked

    async def batches_to_notify_of(self) -> Collection[str]:
        """The digests of batches of which there is something left to say; raises JournalError."""
        return () if self.notifier is None else await self.notifier.unreported()

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
    tracker: RunTracker | None,
    *,
    context: Mapping[str, str],
    subscribers: Collection[Subscriber],
    around: Surroundings,
) -> AsyncIterator[Session]:
    """Open all for one run, or for a worker; *context*, with the batch, is in every line of the events.

    Raises JournalError, and ConfigurationError for a journal there cannot be.
    """
    new_notifier = _notifier_of(values, work.run_id, tracker, around)
    async with AsyncExitStack() as opened:
        ending = Ending()
        if values.heartbeat is not None:
            # Loaded for those who want heartbeats only.
            from orchestrator.notifications.heartbeat import heartbeats  # noqa: PLC0415

            beating = heartbeats(values.heartbeat, around.warn, lambda: ending.exit_code)
            await opened.enter_async_context(beating)
        told = opened.enter_context(
            event_outputs(values, context, clocks.clock, around, run_id=work.run_id, ending=ending)
        )
        journal = await opened.enter_async_context(open_journal(values.state, clock=clocks.clock))
        notifier = None
        if new_notifier is not None:
            notifier = await opened.enter_async_context(new_notifier(journal))
        events = EventBus(
            *filter(None, [tracker]), *subscribers, *told.subscribers, *filter(None, [notifier])
        )
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


def _notifier_of(
    values: Settings, run_id: str, tracker: RunTracker | None, around: Surroundings
) -> Callable[[Journal], Notifier] | None:
    """What makes the notifier of a run, or of a fleet where the journal is one; raises ConfigurationError.

    None where the settings want none.
    """
    if not values.notify and values.on_finish is None:
        return None
    # Loaded for those who want notifications only, and of the two notifiers the one that is needed.
    from orchestrator.notifications.sending import targets_of  # noqa: PLC0415

    targets = targets_of(values.notify) if values.notify else []
    if is_url(values.state):
        from orchestrator.notifications.fleet import FleetNotifier  # noqa: PLC0415

        return partial(
            FleetNotifier, targets, values.on_finish, document=document_of_queued_batch, around=around
        )
    from orchestrator.notifications.notifier import RunNotifier  # noqa: PLC0415

    return partial(
        RunNotifier,
        targets,
        values.on_finish,
        run_id=run_id,
        has_worked=lambda: tracker is not None and tracker.has_worked,
        document=document_of_run,
        around=around,
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


@dataclass(frozen=True, slots=True)
class EventOutputs:
    """The subscribers, and where the events are written, None where no file takes them."""

    subscribers: tuple[Subscriber, ...] = ()
    events_path: str | None = None


@contextmanager
def event_outputs(
    values: Settings,
    context: Mapping[str, str],
    clock: Callable[[], float],
    around: Surroundings,
    *,
    run_id: str | None = None,
    ending: Ending | None = None,
) -> Iterator[EventOutputs]:
    """Report events as the settings say for the block; *context* is in every line.

    What has a *run_id*, a run or a worker, is measured and traced: another command about a batch does not make it
    look like one. A worker has no batch, and publishes no end: that is its *ending*.
    """
    with ExitStack() as open_ones:
        lines = None
        if values.events is not None:
            # Loaded for those who want events only.
            from orchestrator.observe.event_file import event_file  # noqa: PLC0415

            opened = event_file(
                around.stdout() if values.events == STDOUT else values.events,
                context,
                clock=clock,
                hidden=around.hidden,
                warn=around.warn,
            )
            lines = open_ones.enter_context(opened)
        subscribers: list[Subscriber] = [] if lines is None else [lines]
        if run_id is not None and (values.metrics_file is not None or values.metrics_port is not None):
            # Loaded for those who want metrics only.
            from orchestrator.observe.metrics import RunMetrics  # noqa: PLC0415

            metrics = RunMetrics(context["batch"] or None, run_id, clock)
            subscribers.append(open_ones.enter_context(_written(values, metrics, around, ending)))
        # A program that has set up OpenTelemetry has loaded it; for others it need not even be installed.
        if run_id is not None and "opentelemetry.trace" in sys.modules:
            from orchestrator.observe.spans import run_spans  # noqa: PLC0415

            if (spans := run_spans()) is not None:
                subscribers.append(spans)
        is_file = lines is not None and values.events != STDOUT
        events_path = str(Path(values.events or "").absolute()) if is_file else None
        yield EventOutputs(tuple(subscribers), events_path)


@contextmanager
def _written(
    values: Settings,
    metrics: RunMetrics,
    around: Surroundings,
    ending: Ending | None,
) -> Iterator[Subscriber]:
    from orchestrator.observe.metrics import metrics_file, metrics_port  # noqa: PLC0415 - as those of a run

    with ExitStack() as open_ones:
        if values.metrics_file is not None:
            open_ones.enter_context(metrics_file(values.metrics_file, metrics, around.warn))
        if values.metrics_port is not None:
            open_ones.enter_context(metrics_port(values.metrics_port, metrics, around.warn))
        try:
            yield metrics
            if metrics.is_worker and ending is not None:
                metrics.end(ending.exit_code)
        except LockHeldError:
            # The metrics are those of the run that works.
            raise
        except BaseException as error:
            metrics.end(exit_code_of_any(error))
            raise
