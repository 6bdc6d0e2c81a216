"""Progress for log files and mail: whole lines, one per transition and one every half minute."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TextIO

from orchestrator.domain.quantities import as_clock, format_bytes
from orchestrator.domain.states import EntryState
from orchestrator.domain.untrusted_text import shown
from orchestrator.engine.events import (
    BatchDrained,
    ComparisonStarted,
    EntryFailed,
    EntryTransitioned,
    Event,
    FilmsChecked,
    OutageBegan,
    OutageEnded,
    OutageEvent,
    OutageProlonged,
    RunStarted,
    ServiceWarning,
    SubscriberDropped,
    WarningRaised,
)
from orchestrator.observe.tracking import RunTracker
from orchestrator.observe.wording import checking, comparing, outage_news, retries, stop_reason

INTERVAL_SECONDS = 30.0
#: States that are journaled before a request is sent; only the result is printed.
_INTENTS = frozenset({EntryState.CREATING, EntryState.CONFIRMING, EntryState.SUBMITTING})


class PlainProgress:
    """A progress display that writes a line about *tracker* to *stream* every *interval_seconds*.

    *clock* returns the time of a line in seconds since the epoch.
    """

    name = "the progress display"
    event_types = frozenset(
        {
            RunStarted,
            EntryTransitioned,
            EntryFailed,
            WarningRaised,
            ServiceWarning,
            SubscriberDropped,
            OutageBegan,
            OutageProlonged,
            OutageEnded,
            BatchDrained,
            ComparisonStarted,
            FilmsChecked,
        }
    )

    def __init__(
        self,
        tracker: RunTracker,
        stream: TextIO,
        clock: Callable[[], float],
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._tracker = tracker
        self._stream = stream
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._checking_at: float | None = None
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_reporting, name="progress", daemon=True)

    def __enter__(self) -> Self:
        """Return the display, which reports from the start of the run on."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop reporting."""
        self._has_ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def __call__(self, event: Event) -> None:
        """Write a line for *event* if it is of interest to users."""
        if isinstance(event, RunStarted):
            self._thread.start()
        if isinstance(event, FilmsChecked):
            last, now = self._checking_at, self._clock()
            if last is None or now - last >= self._interval_seconds:
                self._checking_at = now
                self._write(checking(event))
        line = outage_news(event) if isinstance(event, OutageEvent) else _line(event)
        if line is not None:
            self._write(line)

    def report(self) -> None:
        """Write the progress of the run."""
        tracker = self._tracker
        tracker.sample()
        if not tracker.entries_total:
            return
        left = tracker.seconds_left
        self._write(
            f"{tracker.entries_done} of {tracker.entries_total} entries done, {len(tracker.active)} at work, "
            f"{tracker.entries_failed} failed; {format_bytes(tracker.bytes_done)} of "
            f"{format_bytes(tracker.bytes_total)}, {format_bytes(tracker.bytes_per_second)}/s"
            + (f", {as_clock(left)} left" if left is not None else "")
            + "".join(f"; {part}" for part in (self._confirming(), retries(tracker.causes)) if part)
        )

    def _confirming(self) -> str:
        """Return `2 confirming, the longest for 0:42`; "" when no entry is confirming."""
        # Use a copy, because the run changes the original while this thread reads.
        waits = [
            self._tracker.seconds_in_state(entry)
            for entry in list(self._tracker.active.values())
            if entry.state is EntryState.CONFIRMING
        ]
        return f"{len(waits)} confirming, the longest for {as_clock(max(waits))}" if waits else ""

    def _keep_reporting(self) -> None:
        while not self._has_ended.wait(self._interval_seconds):
            self.report()

    def _write(self, line: str) -> None:
        time = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._stream.write(f"{time} {shown(line)}\n")
        self._stream.flush()


def _line(event: Event) -> str | None:
    line: str | None = None
    match event:
        case EntryTransitioned():
            is_told = event.to_state not in _INTENTS and event.to_state is not EntryState.FAILED
            line = f"{event.entry}: {event.to_state} ({event.reason})" if is_told else None
        case EntryFailed():
            line = f"{event.entry}: failed: {event.message}"
        case WarningRaised():
            line = f"{event.entry}: warning: {event.message}"
        case ServiceWarning() | SubscriberDropped():
            line = f"warning: {event.message}"
        case ComparisonStarted():
            line = comparing(event.files)
        case BatchDrained():
            line = f"stopping: {stop_reason(event.reason)}"
    return line
