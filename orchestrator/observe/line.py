"""Progress for panes and notebooks: one line that is rewritten in place, and no other output."""

from __future__ import annotations

import shutil
import threading
from types import TracebackType
from typing import Self, TextIO

from orchestrator.domain.quantities import as_clock, format_bytes
from orchestrator.domain.untrusted_text import shown
from orchestrator.engine.events import Event, FilmsChecked, RunFinished, RunStarted
from orchestrator.observe.tracking import RunTracker
from orchestrator.observe.wording import checking, outage_line, retries

INTERVAL_SECONDS = 1.0


class LineProgress:
    """A progress display of one line about *tracker* on *stream*, overwritten every *interval_seconds*."""

    name = "the progress display"
    event_types = frozenset({RunStarted, FilmsChecked, RunFinished})

    def __init__(
        self, tracker: RunTracker, stream: TextIO, interval_seconds: float = INTERVAL_SECONDS
    ) -> None:
        self._tracker = tracker
        self._stream = stream
        self._interval_seconds = interval_seconds
        self._columns = 0
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, name="progress", daemon=True)

    def __enter__(self) -> Self:
        """Return the display, which writes from the first event on."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the last line and keep it on the stream."""
        self._end()

    def __call__(self, event: Event) -> None:
        """Start writing at the first event, and stop when the run has finished."""
        if isinstance(event, RunFinished):
            self._end()
        elif self._thread.ident is None:
            self._thread.start()

    def line(self) -> str:
        """Return the progress of the run in one line."""
        tracker = self._tracker
        tracker.sample()
        if tracker.checking is not None:
            return checking(tracker.checking)
        left = tracker.seconds_left
        parts = [
            f"{tracker.entries_done} of {tracker.entries_total} done, {len(tracker.active)} at work",
            f"{tracker.entries_failed} failed" if tracker.entries_failed else "",
            f"{format_bytes(tracker.bytes_done)} of {format_bytes(tracker.bytes_total)}",
            f"{format_bytes(tracker.bytes_per_second)}/s",
            f"{as_clock(left)} left" if left is not None else "",
            retries(tracker.causes),
            "stopping" if tracker.is_draining else "",
            *(f"waiting: {outage_line(event, passed_seconds=passed)}" for event, passed in tracker.waits()),
        ]
        return " · ".join(filter(None, parts))

    def _keep_writing(self) -> None:
        while not self._has_ended.wait(self._interval_seconds):
            self.write()

    def write(self) -> None:
        """Write the line over the last one."""
        # A line that breaks would not be written over.
        text = shown(self.line())[: shutil.get_terminal_size().columns - 1]
        self._stream.write(f"\r{text.ljust(self._columns)}")
        self._stream.flush()
        self._columns = len(text)

    def _end(self) -> None:
        if self._has_ended.is_set() or self._thread.ident is None:
            return
        self._has_ended.set()
        self._thread.join()
        self.write()
        self._stream.write("\n")
        self._stream.flush()
