"""The resources of a running command (journal, logs, progress, events, client), and the record of its end."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.api.engine_settings import real_clocks, service_settings, work_settings
from orchestrator.api.run_report import IsMeant, keep_end, new_run_id
from orchestrator.api.session import Session, event_outputs, open_session
from orchestrator.cli.process import StoppedBySignal, cursor_shown_while_suspended, run_async
from orchestrator.cli.work.listings import ProblemReport, refuse_invalid
from orchestrator.domain.errors import OrchestratorError, UsageError, exit_code_of_any
from orchestrator.domain.quantities import format_bytes
from orchestrator.domain.untrusted_text import shown
from orchestrator.engine.drain import Drain, listening
from orchestrator.engine.events import (
    Event,
    EventBus,
    OutageBegan,
    OutageEnded,
    OutageEvent,
    OutageProlonged,
    ServiceWarning,
    Subscriber,
    WarningRaised,
    publishing_attempts,
)
from orchestrator.engine.outage import gates
from orchestrator.engine.service_connection import Clocks, connect
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.observe.streams import ReportingContext, failure_of
from orchestrator.observe.tracking import RunTracker
from orchestrator.observe.wording import outage_news
from orchestrator.settings.options import ENVIRONMENT_PREFIX
from orchestrator.settings.sources import EffectiveSettings, environment_doubts, settings_of_flags
from orchestrator.settings.values import ProgressStyle, Settings
from orchestrator.transfer.bandwidth import BandwidthLimit

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orchestrator.api.checking import ManifestRequest
    from orchestrator.cli.invocation import Invocation
    from orchestrator.cli.output import Output
    from orchestrator.cli.work.batches import KnownBatch
    from orchestrator.journal.records import BatchRecord

#: The descriptor for --on-finish commands: their output must not get into a document on stdout.
_STDERR = 2


@asynccontextmanager
async def open_shown_session(
    output: Output,
    effective: EffectiveSettings,
    batch_name: str,
    *,
    is_submit_wanted: bool,
    environ: Mapping[str, str],
) -> AsyncIterator[Session]:
    """Open the resources of one run of a batch; raises ConfigurationError or JournalError."""
    # Modules loaded so far are never freed: the garbage collector need not scan them.
    gc.freeze()
    clocks = real_clocks()
    run_id = new_run_id(clocks.clock())
    output.known |= {"batch": batch_name, "run_id": run_id}
    output.is_record = True
    for doubt in environment_doubts(environ):
        output.note(f"warning: {doubt}")
    with logs_of(effective.values, output.complain, batch=batch_name, run_id=run_id) as logs:
        work = work_settings(effective, environ, is_submit_wanted=is_submit_wanted, run_id=run_id)
        logs.hidden.extend((*work.service.credentials.secret.texts, *effective.values.secret_texts))
        tracker = RunTracker(clocks.monotonic)
        with (
            _display(effective.values, tracker, clocks) as displays,
            changeable_bandwidth(output, effective, work.bandwidth),
        ):
            subscribers = [*displays, *logs.subscribers]
            async with open_session(
                work,
                effective.values,
                clocks,
                tracker,
                context={"batch": batch_name, "run_id": run_id},
                subscribers=subscribers,
                reporting=reporting_context(output, logs),
            ) as session:
                yield session


def reporting_context(output: Output, logs: Logs) -> ReportingContext:
    """Return the outputs that reporters use next to the command's own output."""
    return ReportingContext(
        hidden=logs.hidden,
        warn=lambda sentence: output.complain(f"warning: {sentence}"),
        stdout=output.give_stdout_away,
        command_output=_STDERR,
    )


@contextmanager
def changeable_bandwidth(
    output: Output, effective: EffectiveSettings, bandwidth: BandwidthLimit
) -> Iterator[None]:
    """Read the settings again on SIGUSR1 and apply their bandwidth limit; an invalid one changes nothing."""

    def change() -> None:
        try:
            timetable = (effective.reread or (lambda: effective))().values.bwlimit
        except OrchestratorError as error:
            output.note(f"warning: the bandwidth limit is unchanged: {error.message}")
            return
        bandwidth.change(timetable)
        rate = bandwidth.bytes_per_second
        output.note(f"bandwidth limit: {'off' if rate is None else f'{format_bytes(rate)}/s'}")

    with listening((signal.SIGUSR1,), lambda _: change()):
        yield


@contextmanager
def _display(values: Settings, tracker: RunTracker, clocks: Clocks) -> Iterator[list[Subscriber]]:
    """Yield the subscribers that show progress; none when quiet."""
    style = progress_style(values)
    if style is ProgressStyle.NONE:
        yield [] if values.quiet else [WarningPrinter()]
        return
    # A bar that is redirected to a file is plain text and hides no cursor.
    is_painted = style is ProgressStyle.BAR and sys.stderr.isatty()
    with (
        cursor_shown_while_suspended() if is_painted else nullcontext(),
        _display_of(style, tracker, clocks) as display,
    ):
        yield [display]


class WarningPrinter:
    """A subscriber that writes warnings to stderr if no progress is shown: warnings are not progress."""

    name = "the printing of warnings"
    event_types = frozenset({WarningRaised, ServiceWarning})

    def __call__(self, event: Event) -> None:
        """Write the warning of *event*."""
        if isinstance(event, WarningRaised):
            sys.stderr.write(shown(f"{event.entry}: warning: {event.message}") + "\n")
        elif isinstance(event, ServiceWarning):
            sys.stderr.write(shown(f"warning: {event.message}") + "\n")


def progress_style(values: Settings) -> ProgressStyle:
    """Return the progress style, with AUTO resolved."""
    if values.quiet:
        return ProgressStyle.NONE
    if values.progress is not ProgressStyle.AUTO:
        return values.progress
    # Log lines would break up a bar that is redrawn in place.
    is_picture_kept = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not values.verbose
    return ProgressStyle.BAR if is_picture_kept else ProgressStyle.PLAIN


def _display_of(
    style: ProgressStyle, tracker: RunTracker, clocks: Clocks
) -> AbstractContextManager[Subscriber]:
    # Only the display in use is loaded.
    if style is ProgressStyle.BAR:
        from rich.console import Console  # noqa: PLC0415

        from orchestrator.observe.bar import BarProgress  # noqa: PLC0415

        return BarProgress(tracker, Console(stderr=True))
    if style is ProgressStyle.LINE:
        from orchestrator.observe.line import LineProgress  # noqa: PLC0415

        return LineProgress(tracker, sys.stderr)
    from orchestrator.observe.plain import PlainProgress  # noqa: PLC0415

    return PlainProgress(tracker, sys.stderr, clocks.clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSession:
    """The open resources of a command about a batch: a journal, a client for the service, and the events."""

    journal: Journal
    client: MetaStudioClient
    events: EventBus
    clocks: Clocks
    reporting: ReportingContext


class OutageNotes:
    """A subscriber that prints on stderr why the command waits."""

    name = "the notes about outages"
    event_types = frozenset({OutageBegan, OutageProlonged, OutageEnded})

    def __init__(self, output: Output) -> None:
        self._output = output

    def __call__(self, event: Event) -> None:
        if isinstance(event, OutageEvent):
            self._output.note(outage_news(event))


@asynccontextmanager
async def open_service_session(
    output: Output,
    effective: EffectiveSettings,
    batch_name: str | None,
    *subscribers: Subscriber,
    is_patient: bool = True,
) -> AsyncIterator[ServiceSession]:
    """Open the resources of a command about *batch_name*, None for all; raises ConfigurationError or JournalError.

    During an outage its calls wait like those of a run, unless *is_patient* is False because the command has its
    own way to wait.
    """
    output.is_record = True
    service = service_settings(effective, os.environ)
    for warning in service.credentials.warnings:
        output.note(f"warning: {warning}")
    clocks = real_clocks()
    context = {} if batch_name is None else {"batch": batch_name}
    with ExitStack() as stack:
        logs = stack.enter_context(logs_of(effective.values, output.complain, **context))
        reporting = reporting_context(output, logs)
        outputs = stack.enter_context(event_outputs(effective.values, context, clocks.clock, reporting))
        logs.hidden.extend((*service.credentials.secret.texts, *effective.values.secret_texts))
        events = EventBus(*subscribers, *logs.subscribers, OutageNotes(output), *outputs.subscribers)
        outages = gates(service.outage, clocks, Drain(clocks.sleep, events), events)
        gate = outages.call if is_patient else None
        async with (
            open_journal(effective.values.state, clock=clocks.clock) as journal,
            connect(
                service, clocks, reader_threads=1, on_attempt=publishing_attempts(events), gate=gate
            ) as connection,
        ):
            yield ServiceSession(
                journal=journal, client=connection.client, events=events, clocks=clocks, reporting=reporting
            )


@dataclass(frozen=True, slots=True)
class Logs:
    """The subscribers that log events; texts added to `hidden` are masked in every later line."""

    subscribers: tuple[Subscriber, ...] = ()
    hidden: list[str] = field(default_factory=list)


@contextmanager
def logs_of(values: Settings, warn: Callable[[str], None], **context: str | None) -> Iterator[Logs]:
    """Set up the logs of the settings for the block, each line with *context*.

    *warn* is called when a log is lost. Raises ConfigurationError if the log file cannot be opened.
    """
    if not values.verbose and values.log_file is None:
        # Without a handler on the root logger, Python prints the warnings of libraries to stderr.
        root, handler = logging.getLogger(), logging.NullHandler()
        root.addHandler(handler)
        try:
            yield Logs()
        finally:
            root.removeHandler(handler)
        return
    # Loaded only if logs are configured: structlog and its imports take a tenth of the startup time.
    import structlog  # noqa: PLC0415

    from orchestrator.observe.logs import EventLog, logging_to  # noqa: PLC0415

    stderr = sys.stderr if values.verbose else None
    hidden: list[str] = []
    with (
        logging_to(
            stderr,
            values.log_file,
            is_verbose=values.verbose,
            on_lost=lambda sentence: warn(f"warning: {sentence}"),
            hidden=hidden,
            max_bytes=values.log_max_size,
        ),
        structlog.contextvars.bound_contextvars(**context),
    ):
        log = structlog.get_logger()
        try:
            yield Logs((EventLog(),), hidden)
        finally:
            failure = failure_of(sys.stderr)
            if failure is not None:
                log.warning("stderr.lost", reason=failure.strerror)


@contextmanager
def kept_in_history(output: Output, state: Callable[[], str], is_meant: IsMeant) -> Iterator[None]:
    """Record the end of the block in the journal at *state* if it raises; the error is raised again.

    *is_meant* selects the batch; nothing is recorded if it matches no batch of the journal, or several of which the
    run's id identifies none. A command line that cannot be executed is not a run.
    """
    started_at = time.time()
    try:
        yield
    except UsageError:
        raise
    except (Exception, StoppedBySignal) as error:
        # The history matters less than the work: if recording fails, the original error is still raised.
        with suppress(OrchestratorError, StoppedBySignal):
            code = error.exit_code if isinstance(error, StoppedBySignal) else exit_code_of_any(error)
            run_id = output.known.get("run_id")
            run_async(keep_end, state(), is_meant, started_at, code, None if run_id is None else str(run_id))
        raise


def known_kept_in_history(output: Output, known: KnownBatch) -> AbstractContextManager[None]:
    """Like `kept_in_history`, for a command on a batch that is already in the journal."""
    digest, state = known.record.batch, known.effective.values.state
    return kept_in_history(output, lambda: state, lambda batch: batch.batch == digest)


def batch_predicate(output: Output, manifest: Path, name: str | None) -> IsMeant:
    """Return a predicate for the batch of a run: by name once it is known or given, otherwise by manifest."""
    made_from = str(manifest.absolute())

    def is_meant(batch: BatchRecord) -> bool:
        known = output.known.get("batch") or name
        return batch.manifest_path == made_from if known is None else batch.is_named(str(known))

    return is_meant


def journal_location(invocation: Invocation, beside: Path) -> str:
    """Return the journal's location, even if another setting is wrong."""
    try:
        return invocation.settings(beside=beside).values.state
    except OrchestratorError:
        flags = {name: value for name, value in invocation.flags.items() if name == "state"}
        variable = os.environ.get(f"{ENVIRONMENT_PREFIX}STATE")
        return settings_of_flags({"state": variable, **flags} if variable else flags).values.state


@contextmanager
def problems_first(invocation: Invocation, request: ManifestRequest) -> Iterator[ProblemReport]:
    """Raise the manifest's errors if a setting is wrong in the block, and record the block's end if it raises.

    The block calls the yielded report with the manifest's problems.
    """
    output = invocation.output
    problems = ProblemReport(output)
    is_meant = batch_predicate(output, request.path, request.batch_name)
    with kept_in_history(output, lambda: journal_location(invocation, request.path), is_meant):
        try:
            yield problems
        except OrchestratorError as error:
            # A manifest is fixed before settings are.
            if error.kind in {"configuration", "credentials"} and not problems.was_called:
                refuse_invalid(invocation, request, problems)
            raise
