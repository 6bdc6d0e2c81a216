"""What `watch` shows while it waits: the groups of a batch as a table on a terminal, elsewhere a line per change."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from orchestrator.api.settings import ProgressStyle
from orchestrator.cli.output import Output
from orchestrator.cli.process import cursor_shown_while_suspended
from orchestrator.cli.session import progress_style
from orchestrator.domain.foreign import shown
from orchestrator.domain.states import EntryState, JobGroup, group_of
from orchestrator.engine.events import EntryTransitioned, Event, JobStateChanged, ServiceWarning
from orchestrator.observe.wording import duration, moment

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from orchestrator.cli.work.batches import KnownBatch


class Display(Protocol):
    """Hears events, and how the batch stands before each wait."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""

    def __call__(self, event: Event) -> None:
        """Show *event* if it is one for people."""

    def show(self, counts: JobCounts, wait_seconds: float) -> None:
        """Show how many jobs are in each group, until the next check in *wait_seconds*."""


class Lines:
    """Prints a line per change through *write*."""

    name = "the display of watch"

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def __enter__(self) -> Self:
        """Nothing to set up."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to put back."""

    def __call__(self, event: Event) -> None:
        """Write a line about *event*."""
        line = _line(event)
        if line is not None:
            self._write(f"{moment(time.time())} {line}")

    def show(self, counts: JobCounts, wait_seconds: float) -> None:
        """Nothing: lines are for changes only."""


class Board:
    """A table of the console's groups on a terminal, with the changes above it."""

    name = "the display of watch"

    def __init__(self, name: str, console: Console) -> None:
        from rich.live import Live  # noqa: PLC0415 - slow to load, and only terminals need it

        self._name = name
        self._has_begun = False
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._cursor = cursor_shown_while_suspended()

    def __enter__(self) -> Self:
        """Take the terminal's last lines."""
        self._cursor.__enter__()
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give them back."""
        self._live.stop()
        self._cursor.__exit__(kind, error, traceback)

    def __call__(self, event: Event) -> None:
        """Leave a line about *event* above the table; where jobs stand at the start is in the table."""
        if not self._has_begun and isinstance(event, JobStateChanged) and event.reason is None:
            return
        line = _line(event)
        if line is not None:
            self._live.console.print(shown(line), markup=False, highlight=False)

    def show(self, counts: JobCounts, wait_seconds: float) -> None:
        """Paint the table again."""
        from rich.console import Group  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        self._has_begun = True
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        wait = f"at {now}; next check in {duration(wait_seconds)}; Ctrl-C stops watching, nothing is lost"
        # A table's own caption would be wrapped to the width of the table.
        self._live.update(Group(self._table(counts), Text(wait, style="dim")), refresh=True)

    def _table(self, counts: JobCounts) -> Table:
        from rich.box import SIMPLE_HEAD  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=SIMPLE_HEAD, title=Text(shown(self._name)))
        for heading in ("group", "jobs", "service states"):
            table.add_column(heading)
        for group, count in count_groups(counts).items():
            table.add_row(group, str(count), Text(shown(states_in(group, counts))))
        return table


def display_for(output: Output, known: KnownBatch) -> Display:
    """What the settings and the terminal call for; lines are the result itself unless there is a document."""
    style = progress_style(known.effective.values)
    if style is ProgressStyle.BAR and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console  # noqa: PLC0415

        return Board(known.record.name, Console(stderr=True, highlight=False))
    if style is ProgressStyle.NONE:
        return Lines(lambda _: None)
    return Lines(output.note if output.is_json else output.say)


def _line(event: Event) -> str | None:
    match event:
        case JobStateChanged():
            code = f" ({event.code})" if event.code else ""
            reason = f": {event.reason}{code}" if event.reason else ""
            return f"{event.entry}: {event.group} ({event.service_state}){reason}"
        case EntryTransitioned(to_state=EntryState.CANCELLED):
            return f"{event.entry}: cancelled: {event.reason}"
        case ServiceWarning():
            return f"warning: {event.message}"
    return None


NOT_UPLOADED = "not uploaded"

_OF_STATE: Mapping[EntryState, str] = {
    EntryState.CONFIRMED: JobGroup.TO_SUBMIT.value,
    EntryState.SUBMITTING: JobGroup.TO_SUBMIT.value,
    EntryState.SUBMITTED: JobGroup.UNDER_REVIEW.value,
    EntryState.IN_REVIEW: JobGroup.UNDER_REVIEW.value,
    EntryState.REVIEW_FAILED: JobGroup.REVIEW_FAILED.value,
    EntryState.TRAINED: JobGroup.DONE.value,
    EntryState.FAILED: EntryState.FAILED.value,
    EntryState.CANCELLED: EntryState.CANCELLED.value,
}
#: In the order of a job's life.
GROUPS = (NOT_UPLOADED, *(group.value for group in JobGroup), "failed", "cancelled")

JobCounts = Mapping[tuple[EntryState, str | None], int]


def entry_group(state: EntryState, service_state: str | None) -> str:
    """The group of an entry; of one that trains, the service's state decides whether it waits for a person."""
    if state is EntryState.TRAINING:
        return group_of(service_state or "").value
    return _OF_STATE.get(state, NOT_UPLOADED)


def count_groups(counts: JobCounts) -> dict[str, int]:
    """How many entries are in each group, groups without any left out."""
    found: Counter[str] = Counter()
    for (state, service_state), count in counts.items():
        found[entry_group(state, service_state)] += count
    return {group: found[group] for group in GROUPS if found[group]}


def states_in(group: str, counts: JobCounts) -> str:
    """What the service calls the jobs of *group*, known or not: `TRAINING 3, ACTION_MARKING 1`."""
    found: Counter[str] = Counter()
    for (state, service_state), count in counts.items():
        if service_state is not None and entry_group(state, service_state) == group:
            found[service_state] += count
    return ", ".join(f"{state} {count}" for state, count in found.most_common())
