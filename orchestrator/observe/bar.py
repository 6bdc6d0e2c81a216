"""Progress for terminals: one bar for the run, and one line for each active entry."""

from __future__ import annotations

from itertools import islice
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.domain.quantities import as_clock, format_bytes
from orchestrator.domain.states import EntryState
from orchestrator.domain.untrusted_text import shown
from orchestrator.engine.events import (
    BatchDrained,
    ComparisonStarted,
    EntryFailed,
    Event,
    FilmsChecked,
    OutageBegan,
    OutageEnded,
    OutageEvent,
    RunFinished,
    RunStarted,
    ServiceWarning,
    SubscriberDropped,
    WarningRaised,
)
from orchestrator.observe.tracking import ActiveEntry, RunTracker
from orchestrator.observe.wording import (
    checking,
    comparing,
    outage_line,
    outage_news,
    retries,
    retry_line,
    stop_reason,
)

REPAINTS_PER_SECOND = 5
_SHOWN_ENTRIES = 12
_BAR_COLUMNS = 30


class BarProgress:
    """A progress display of *tracker* on *console*, repainted by rich's own thread while the run works."""

    name = "the progress display"
    event_types = frozenset(
        {
            RunStarted,
            RunFinished,
            EntryFailed,
            WarningRaised,
            ServiceWarning,
            SubscriberDropped,
            ComparisonStarted,
            OutageBegan,
            OutageEnded,
            BatchDrained,
            FilmsChecked,
        }
    )

    def __init__(self, tracker: RunTracker, console: Console) -> None:
        self._tracker = tracker
        self._live = Live(
            console=console,
            get_renderable=self.render,
            refresh_per_second=REPAINTS_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Return the display, which paints from the start of the run until its end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the display from the terminal."""
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Print a line above the bar for an important event."""
        if isinstance(event, RunStarted | FilmsChecked):
            self._live.start()
        elif isinstance(event, RunFinished):
            self._live.stop()
        line = _line(event)
        if isinstance(event, OutageEvent):
            line = Text(outage_news(event), style="yellow")
        if line is not None:
            self._live.console.print(line)

    def render(self) -> RenderableType:
        """Return the current display."""
        self._tracker.sample()
        if self._tracker.checking is not None:
            return Text(checking(self._tracker.checking))
        # Use a copy, because the run changes the original while this thread paints.
        active = list(self._tracker.active.values())
        shown = Table.grid(padding=(0, 2), expand=False)
        for entry in islice(active, _SHOWN_ENTRIES):
            shown.add_row(*self._entry_row(entry))
        waits = [
            Text(f"waiting: {outage_line(event, passed_seconds=passed)}", style="yellow")
            for event, passed in self._tracker.waits()
        ]
        parts: list[RenderableType] = [self._overall(), self._counts(len(active)), *waits, shown]
        if len(active) > _SHOWN_ENTRIES:
            parts.append(Text(f"  and {len(active) - _SHOWN_ENTRIES} more", style="dim"))
        return Group(*parts)

    def _overall(self) -> Table:
        tracker = self._tracker
        done, total = tracker.bytes_done, tracker.bytes_total
        left = tracker.seconds_left
        line = Table.grid(padding=(0, 2))
        line.add_row(
            Text(shown(tracker.batch), style="bold"),
            ProgressBar(total=max(total, 1), completed=done, width=_BAR_COLUMNS),
            f"{100 * done // total if total else 0:3d} %",
            f"{format_bytes(done)} of {format_bytes(total)}",
            f"{format_bytes(tracker.bytes_per_second)}/s",
            f"{as_clock(left)} left" if left is not None else "",
        )
        return line

    def _counts(self, active: int) -> Text:
        tracker = self._tracker
        counts = Text(f"{tracker.entries_done} of {tracker.entries_total} done", style="dim")
        counts.append(f" · {active} at work")
        if tracker.entries_failed:
            counts.append(f" · {tracker.entries_failed} failed", style="red")
        if tracker.causes:
            counts.append(f" · {retries(tracker.causes)}", style="yellow")
        counts.append(f" · {as_clock(tracker.elapsed_seconds)}")
        if tracker.is_draining:
            counts.append(" · stopping", style="yellow")
        return counts

    def _entry_row(self, entry: ActiveEntry) -> tuple[RenderableType, ...]:
        """Return the row of an entry: a bar while it uploads, else the time in its state; then its pending retry."""
        name = Text(f"  {shown(entry.entry)}", no_wrap=True, overflow="ellipsis")
        state = Text(entry.state, style="cyan")
        retry = self._tracker.retry_of(entry)
        again = Text("" if retry is None else shown(retry_line(*retry)), style="yellow", no_wrap=True)
        if entry.state is not EntryState.UPLOADING:
            return name, state, as_clock(self._tracker.seconds_in_state(entry)), "", again
        bar = ProgressBar(
            total=max(entry.bytes_total, 1), completed=entry.bytes_done, width=_BAR_COLUMNS // 2
        )
        return (
            name,
            state,
            bar,
            f"{format_bytes(entry.bytes_done)} of {format_bytes(entry.bytes_total)}",
            again,
        )


def _line(event: Event) -> Text | None:
    match event:
        case EntryFailed():
            return Text(shown(f"{event.entry}: failed: {event.message}"), style="red")
        case WarningRaised():
            return Text(shown(f"{event.entry}: {event.message}"), style="yellow")
        case ServiceWarning() | SubscriberDropped():
            return Text(shown(event.message), style="yellow")
        case ComparisonStarted():
            return Text(comparing(event.files))
        case BatchDrained():
            return Text(shown(f"stopping: {stop_reason(event.reason)}"), style="yellow")
        case _:
            return None
