"""What a command that works on entries has open: journal, logs, progress, events."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.logs import logs_of
from orchestrator.cli.service import new_run_id, real_clocks, work_settings
from orchestrator.cli.settings import EffectiveSettings, ProgressStyle, Settings
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.quantities import format_bytes
from orchestrator.engine.connection import Clocks
from orchestrator.engine.context import WorkSettings
from orchestrator.engine.drain import listening
from orchestrator.engine.events import EventBus, Subscriber
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.observe.tracking import RunTracker
from orchestrator.transfer.bandwidth import BandwidthLimit

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from orchestrator.cli.output import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One command at work."""

    work: WorkSettings
    journal: Journal
    events: EventBus
    clocks: Clocks
    tracker: RunTracker


@asynccontextmanager
async def open_session(
    output: Output,
    effective: EffectiveSettings,
    batch_name: str,
    *,
    is_submit_wanted: bool,
    environ: Mapping[str, str],
) -> AsyncIterator[Session]:
    """Open all for one run of a batch; raises ConfigurationError or JournalError."""
    # What is loaded by now stays to the end: nobody needs to look through it for garbage.
    gc.freeze()
    clocks = real_clocks()
    run_id = new_run_id(clocks.clock())
    output.known |= {"batch": batch_name, "run_id": run_id}
    output.is_record = True
    with logs_of(effective.values, output.complain, batch=batch_name, run_id=run_id) as logs:
        work = work_settings(
            effective, environ, is_submit_wanted=is_submit_wanted, run_id=run_id, on_attempt=logs.on_attempt
        )
        logs.hidden.extend(work.service.credentials.secret.texts)
        for warning in work.service.credentials.warnings:
            output.note(f"warning: {warning}")
        tracker = RunTracker(clocks.monotonic)
        with (
            _display(effective.values, tracker, clocks) as shown,
            _changeable_bandwidth(output, effective, work.bandwidth),
        ):
            async with open_journal(effective.values.state, clock=clocks.clock) as journal:
                events = EventBus(tracker, *shown, *logs.subscribers)
                yield Session(work=work, journal=journal, events=events, clocks=clocks, tracker=tracker)


@contextmanager
def _changeable_bandwidth(
    output: Output, effective: EffectiveSettings, bandwidth: BandwidthLimit
) -> Iterator[None]:
    """Read the settings again on SIGUSR1, for the bandwidth limit they name; a wrong one changes nothing."""

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
    """The progress that is wanted, as subscribers; none when quiet."""
    style = progress_style(values)
    if style is ProgressStyle.NONE:
        yield []
        return
    display = _bar(tracker) if style is ProgressStyle.BAR else _plain(tracker, clocks)
    with display as shown:
        yield [shown]


def progress_style(values: Settings) -> ProgressStyle:
    """How progress is shown where AUTO leaves it open."""
    if values.quiet:
        return ProgressStyle.NONE
    if values.progress is not ProgressStyle.AUTO:
        return values.progress
    # Log lines would tear a picture that is painted over and over.
    is_picture_kept = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not values.verbose
    return ProgressStyle.BAR if is_picture_kept else ProgressStyle.PLAIN


def _bar(tracker: RunTracker) -> AbstractContextManager[Subscriber]:
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks

    from orchestrator.observe.bar import BarProgress  # noqa: PLC0415

    return BarProgress(tracker, Console(stderr=True))


def _plain(tracker: RunTracker, clocks: Clocks) -> AbstractContextManager[Subscriber]:
    from orchestrator.observe.plain import PlainProgress  # noqa: PLC0415

    return PlainProgress(tracker, sys.stderr, clocks.clock)
