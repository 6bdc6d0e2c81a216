"""The resources of a run or worker: the journal, the event bus and its subscribers."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.api.checking import ManifestRequest
from orchestrator.api.run_report import document_of_queued_batch, document_of_run
from orchestrator.domain.errors import ExitCode, LockHeldError, exit_code_of_any
from orchestrator.engine.batch import RunRequest
from orchestrator.engine.context import WorkSettings
from orchestrator.engine.events import EventBus, ServiceWarning, Subscriber
from orchestrator.engine.report import RunOutcome
from orchestrator.engine.service_connection import Clocks
from orchestrator.journal.backend import is_shared
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.manifest import Manifest, Problem
from orchestrator.observe.streams import ReportingContext
from orchestrator.observe.tracking import RunTracker
from orchestrator.settings.values import STDOUT, Settings

if TYPE_CHECKING:
    from orchestrator.notifications.notifier import Notifier
    from orchestrator.observe.metrics import RunMetrics


@dataclass(slots=True)
class RunEnd:
    """The exit code of a run; until the run ends, that of a crash."""

    exit_code: int = ExitCode.UNEXPECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The open resources of one run, or of a fleet's worker."""

    work: WorkSettings
    journal: Journal
    events: EventBus
    clocks: Clocks
    tracker: RunTracker | None
    ending: RunEnd
    notifier: Notifier | None

    @property
    def has_worked(self) -> bool:
        """True once the run has started an entry."""
        return self.tracker is not None and self.tracker.has_worked

    async def batches_to_notify_of(self) -> Collection[str]:
        """Return the digests of batches with unsent notices; raises JournalError."""
        return () if self.notifier is None else await self.notifier.unreported()

    async def report_end(self, report: RunOutcome) -> None:
        """Report the end of the run to the addresses and the command of the settings."""
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
    reporting: ReportingContext,
) -> AsyncIterator[Session]:
    """Open the resources of one run or worker; *context*, with the batch, is added to every event line.

    Raises JournalError, and ConfigurationError for an invalid journal setting.
    """
    new_notifier = _notifier_of(values, work.run_id, tracker, reporting)
    async with AsyncExitStack() as stack:
        ending = RunEnd()
        if values.heartbeat is not None:
            # Loaded only if heartbeats are configured.
            from orchestrator.notifications.heartbeat import heartbeats  # noqa: PLC0415

            beating = heartbeats(values.heartbeat, reporting.warn, lambda: ending.exit_code)
            await stack.enter_async_context(beating)
        outputs = stack.enter_context(
            event_outputs(values, context, clocks.clock, reporting, run_id=work.run_id, ending=ending)
        )
        journal = await stack.enter_async_context(open_journal(values.state, clock=clocks.clock))
        notifier = None
        if new_notifier is not None:
            notifier = await stack.enter_async_context(new_notifier(journal))
        events = EventBus(
            *filter(None, [tracker]), *subscribers, *outputs.subscribers, *filter(None, [notifier])
        )
        for warning in work.service.credentials.warnings:
            events.publish(ServiceWarning(message=warning))
        yield Session(
            work=replace(work, events_path=outputs.events_path),
            journal=journal,
            events=events,
            clocks=clocks,
            tracker=tracker,
            ending=ending,
            notifier=notifier,
        )


def _notifier_of(
    values: Settings, run_id: str, tracker: RunTracker | None, reporting: ReportingContext
) -> Callable[[Journal], Notifier] | None:
    """Return the factory of a run's notifier, or of a fleet's if the journal is a server's.

    None if the settings ask for no notifications. Raises ConfigurationError.
    """
    if not values.notify and values.on_finish is None:
        return None
    # Loaded only if notifications are configured; of the two notifiers, only the one that is needed.
    from orchestrator.notifications.sending import targets_of  # noqa: PLC0415

    targets = targets_of(values.notify) if values.notify else []
    if is_shared(values.state):
        from orchestrator.notifications.fleet import FleetNotifier  # noqa: PLC0415

        return partial(
            FleetNotifier, targets, values.on_finish, document=document_of_queued_batch, reporting=reporting
        )
    from orchestrator.notifications.notifier import RunNotifier  # noqa: PLC0415

    return partial(
        RunNotifier,
        targets,
        values.on_finish,
        run_id=run_id,
        has_worked=lambda: tracker is not None and tracker.has_worked,
        document=document_of_run,
        reporting=reporting,
    )


def run_request(
    session: Session,
    request: ManifestRequest,
    manifest: Manifest,
    *,
    with_media: bool,
    on_problems: Callable[[list[Problem]], None],
) -> RunRequest:
    """Return the engine's request for the opened *manifest*, to run or to queue in *session*."""
    return RunRequest(
        manifest=manifest,
        work=session.work,
        with_media=with_media,
        is_batch_named=request.batch_name is not None,
        patterns=tuple(request.patterns),
        on_problems=on_problems,
    )


@dataclass(frozen=True, slots=True)
class EventOutputs:
    """The subscribers for event outputs, and the path of the events file, None without one."""

    subscribers: tuple[Subscriber, ...] = ()
    events_path: str | None = None


@contextmanager
def event_outputs(
    values: Settings,
    context: Mapping[str, str],
    clock: Callable[[], float],
    reporting: ReportingContext,
    *,
    run_id: str | None = None,
    ending: RunEnd | None = None,
) -> Iterator[EventOutputs]:
    """Open the event outputs of the settings for the block; *context* is added to every line.

    Only a run or a worker, which has a *run_id*, is measured and traced: another command for the batch must not
    show up as a run. A worker has no batch and publishes no end; its exit code comes from *ending*.
    """
    with ExitStack() as stack:
        lines = None
        if values.events is not None:
            # Loaded only if an events file is configured.
            from orchestrator.observe.event_file import event_file  # noqa: PLC0415

            lines = stack.enter_context(
                event_file(
                    reporting.stdout() if values.events == STDOUT else values.events,
                    context,
                    clock=clock,
                    hidden=reporting.hidden,
                    warn=reporting.warn,
                )
            )
        subscribers: list[Subscriber] = [] if lines is None else [lines]
        if run_id is not None and (values.metrics_file is not None or values.metrics_port is not None):
            # Loaded only if metrics are configured.
            from orchestrator.observe.metrics import RunMetrics  # noqa: PLC0415

            metrics = RunMetrics(context["batch"] or None, run_id, clock)
            subscribers.append(stack.enter_context(_written(values, metrics, reporting, ending)))
        # A program that has set up OpenTelemetry has imported it; otherwise it need not even be installed.
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
    reporting: ReportingContext,
    ending: RunEnd | None,
) -> Iterator[Subscriber]:
    from orchestrator.observe.metrics import metrics_file, metrics_port  # noqa: PLC0415 - only with metrics

    with ExitStack() as stack:
        if values.metrics_file is not None:
            stack.enter_context(metrics_file(values.metrics_file, metrics, reporting.warn))
        if values.metrics_port is not None:
            stack.enter_context(metrics_port(values.metrics_port, metrics, reporting.warn))
        try:
            yield metrics
            if metrics.is_worker and ending is not None:
                metrics.end(ending.exit_code)
        except LockHeldError:
            # Another run holds the lock: the metrics must keep describing that run.
            raise
        except BaseException as error:
            metrics.end(exit_code_of_any(error))
            raise
