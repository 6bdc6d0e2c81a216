"""`watch`: follows jobs through review and training, and prints the results."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from shlex import quote
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import anyio

from orchestrator.api.run_report import error_of
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output, Row, print_table
from orchestrator.cli.process import cursor_shown_while_suspended, run_on_network
from orchestrator.cli.session import ServiceSession, open_service_session, progress_style
from orchestrator.cli.work.batches import KnownBatch, known_batch, matching_entries
from orchestrator.cli.work.listings import review_text
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.quantities import as_clock, moment
from orchestrator.domain.states import EntryState, JobGroup, group_of
from orchestrator.domain.untrusted_text import shown
from orchestrator.engine.drain import until_signalled
from orchestrator.engine.events import EntryTransitioned, Event, JobStateChanged, ServiceWarning
from orchestrator.engine.following import Follower, Milestone, PollPace, Progress
from orchestrator.journal.reading import JournalReader
from orchestrator.notifications.notifier import WatchNotifier
from orchestrator.settings.values import ProgressStyle

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SHOWN_ENTRIES = 40
_NEEDS_PERSON = (EntryState.REVIEW_FAILED, EntryState.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRequest:
    """The milestone to follow to, the pace of polls, and a timeout in seconds, None for no timeout.

    *patterns* select the entries to follow, None for all.
    """

    until: Milestone
    pace: PollPace
    timeout_seconds: float | None
    patterns: Collection[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The result of watching a batch."""

    known: KnownBatch
    request: WatchRequest
    exit_code: ExitCode
    progress: Progress
    elapsed_seconds: float
    groups: Mapping[str, int]
    only: Collection[str] | None


def watch_batch(invocation: Invocation, name: str, request: WatchRequest) -> int:
    """Follow the jobs of the batch called *name* and return the exit code; it is safe to stop at any time."""
    known = known_batch(invocation, name)
    return run_on_network(_watch, invocation.output, known, request)


async def _watch(output: Output, known: KnownBatch, request: WatchRequest) -> int:
    output.known["batch"] = known.record.name
    began = time.monotonic()
    display = display_for(output, known)
    async with open_service_session(
        output, known.effective, known.record.name, display, is_patient=False
    ) as session:
        only = await matching_entries(session.journal, known.record, request.patterns)
        follower = _follower(session, known, only)
        notifier = WatchNotifier(
            known.effective.values.notify, session.journal, session.reporting, known.record, only=only
        )

        async def wait(seconds: float) -> None:
            display.show(await follower.job_counts(), seconds)
            await notifier.report_reviews()
            await anyio.sleep(seconds)

        with display, until_signalled() as received:
            exit_code = await follower.follow(
                request.until,
                pace=request.pace,
                timeout_seconds=request.timeout_seconds,
                monotonic=session.clocks.monotonic,
                sleep=wait,
            )
        # The results are printed completely, whichever signal arrives.
        with anyio.CancelScope(shield=True):
            watched = Watched(
                known=known,
                request=request,
                exit_code=ExitCode(128 + received[0]) if received else exit_code,
                progress=await follower.progress(request.until),
                elapsed_seconds=time.monotonic() - began,
                groups=count_groups(await follower.job_counts()),
                only=only,
            )
            await _print_result(output, session.journal, watched)
            await notifier.report_end(request.until, watched.exit_code, watched.progress)
    return watched.exit_code


def _follower(session: ServiceSession, known: KnownBatch, only: Collection[str] | None) -> Follower:
    """Return a follower of the entries *only*, None for all; entries not reached by a running run are in progress."""

    async def is_run_under_way() -> bool:
        return await session.journal.batch_holder(known.record.key) is not None

    return Follower(
        session.journal,
        session.client,
        session.events,
        known.record.key,
        is_run_under_way=is_run_under_way,
        only=None if only is None else frozenset(only),
    )


async def _print_result(output: Output, journal: JournalReader, watched: Watched) -> None:
    groups = watched.groups
    if output.is_json:
        await output.stream_document(
            {
                "schema": SCHEMA,
                "batch": watched.known.record.name,
                "digest": watched.known.record.batch,
                "until": watched.request.until.value,
                "exit_code": int(watched.exit_code),
                "elapsed_seconds": round(watched.elapsed_seconds, 3),
                "groups": groups,
            },
            "entries",
            _entries(journal, watched),
        )
        return
    rows: list[Row] = []
    total = 0
    async for record in journal.entries(watched.known.record.batch, states=_NEEDS_PERSON):
        if watched.only is not None and record.entry_id not in watched.only:
            continue
        total += 1
        if total > _SHOWN_ENTRIES:
            continue
        why = f"review failed: {review_text(record) or 'no reason was given'}"
        if record.state is EntryState.FAILED and record.error is not None:
            why = f"failed: {record.error.message}"
        rows.append((record.entry_id, record.job_id or "-", why))
    if rows:
        print_table(output, ("entry", "job", "reason"), rows)
    if total > len(rows):
        command = f"`orchestrator status {quote(watched.known.record.name)} --failed --all`"
        output.say(f"... and {total - len(rows)} more; {command} lists all")
    counted = ", ".join(f"{count} {group}" for group, count in groups.items()) or "no entries"
    output.say(f"{watched.known.record.name}: {counted}")
    for line in _next_steps(watched):
        output.note(line)


async def _entries(journal: JournalReader, watched: Watched) -> AsyncIterator[dict[str, object]]:
    async for record in journal.entries(watched.known.record.batch):
        if watched.only is not None and record.entry_id not in watched.only:
            continue
        yield {
            "entry": record.entry_id,
            "state": record.state.value,
            "group": entry_group(record.state, record.service_state),
            "service_state": record.service_state,
            "job_id": record.job_id,
            "review_reason": record.review_reason,
            "review_code": record.review_code,
            "error": error_of(record),
        }


def _next_steps(watched: Watched) -> Iterator[str]:
    name = quote(watched.known.record.name)
    match watched.exit_code:
        case ExitCode.SOME_FAILED:
            yield (
                f"some entries need attention: fix what the review rejected, then `orchestrator retry {name}`; "
                f"`orchestrator submit {name}` sends uploaded jobs to review"
            )
        case ExitCode.TEMPORARY:
            progress = watched.progress
            total = progress.reached + progress.stuck + progress.under_way
            yield (
                f"timed out after {as_clock(watched.elapsed_seconds)}: {total - progress.reached} of {total} jobs "
                f"are not {watched.request.until} yet; run the same command again to keep watching"
            )
        case ExitCode.INTERRUPTED:
            yield "interrupted; progress is saved, run the same command again to continue"
        case ExitCode.HUNG_UP | ExitCode.TERMINATED:
            yield "stopped; progress is saved, run the same command again to continue"


class Display(Protocol):
    """A display of events, and of the batch's job counts before each wait."""

    def __enter__(self) -> Self:
        """Start the display."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restore the terminal."""

    def __call__(self, event: Event) -> None:
        """Show *event* if it is relevant to people."""

    def show(self, counts: JobCounts, wait_seconds: float) -> None:
        """Show the number of jobs per group while waiting *wait_seconds* for the next poll."""


class Lines:
    """A display that prints a line per change through *write*."""

    name = "the display of watch"

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def __enter__(self) -> Self:
        """Do nothing: no setup is needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing: there is nothing to restore."""

    def __call__(self, event: Event) -> None:
        """Write a line about *event*, if it is relevant to people."""
        line = _line(event)
        if line is not None:
            self._write(f"{moment(time.time())} {line}")

    def show(self, counts: JobCounts, wait_seconds: float) -> None:
        """Do nothing: lines are for changes only."""


class Board:
    """A display with a table of the console's groups on a terminal, and lines about changes above it."""

    name = "the display of watch"

    def __init__(self, name: str, console: Console) -> None:
        from rich.live import Live  # noqa: PLC0415 - slow to load, and only terminals need it

        self._name = name
        self._has_begun = False
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._cursor = cursor_shown_while_suspended()

    def __enter__(self) -> Self:
        """Start the display in the terminal's last lines."""
        self._cursor.__enter__()
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the display and restore the cursor."""
        self._live.stop()
        self._cursor.__exit__(kind, error, traceback)

    def __call__(self, event: Event) -> None:
        """Print a line about *event* above the table; initial job states are only in the table."""
        if not self._has_begun and isinstance(event, JobStateChanged) and event.reason is None:
            return
        line = _line(event)
        if line is not None:
            self._live.console.print(shown(line), markup=False, highlight=False)

    def show(self, counts: JobCounts, wait_seconds: float) -> None:
        """Redraw the table."""
        from rich.console import Group  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        self._has_begun = True
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        wait = f"at {now}; next check in {as_clock(wait_seconds)}; Ctrl-C stops watching, nothing is lost"
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
    """Return the display for the settings and terminal; its lines are the result unless a document is printed."""
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
#: All groups, in the order in which a job passes through them.
GROUPS = (NOT_UPLOADED, *(group.value for group in JobGroup), "failed", "cancelled")

JobCounts = Mapping[tuple[EntryState, str | None], int]


def entry_group(state: EntryState, service_state: str | None) -> str:
    """Return the group of an entry; in training, the service's state decides whether it waits for a person."""
    if state is EntryState.TRAINING:
        return group_of(service_state or "").value
    return _OF_STATE.get(state, NOT_UPLOADED)


def count_groups(counts: JobCounts) -> dict[str, int]:
    """Return the number of entries per group, without empty groups."""
    found: Counter[str] = Counter()
    for (state, service_state), count in counts.items():
        found[entry_group(state, service_state)] += count
    return {group: found[group] for group in GROUPS if found[group]}


def states_in(group: str, counts: JobCounts) -> str:
    """Return the service's states of the jobs in *group*, known or not: `TRAINING 3, ACTION_MARKING 1`."""
    found: Counter[str] = Counter()
    for (state, service_state), count in counts.items():
        if service_state is not None and entry_group(state, service_state) == group:
            found[service_state] += count
    return ", ".join(f"{state} {count}" for state, count in found.most_common())
