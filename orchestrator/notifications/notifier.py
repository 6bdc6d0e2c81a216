"""Notifications about a batch, once per subject: a run's events, its end, and the findings of `watch`.

Event subscribers are called within the run and must not block, so they only buffer events. One task, which lives as
long as the session, records the notices in the journal and sends them. `watch` reads everything it reports from the
journal, so the next `watch` sends whatever a killed one did not. A notice is first owed in the journal, then taken,
sent, and settled. Any failure here results in a single warning.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Self

import anyio

from orchestrator.domain.errors import ExitCode, JournalError
from orchestrator.domain.quantities import as_clock
from orchestrator.domain.states import EntryState
from orchestrator.domain.untrusted_text import disarmed_json
from orchestrator.engine.events import (
    DecisionNeeded,
    EntryFailed,
    Event,
    OutageBegan,
    OutageEnded,
    RunStarted,
)
from orchestrator.engine.following import Milestone, Progress
from orchestrator.engine.report import RunOutcome
from orchestrator.journal.journal import Journal
from orchestrator.journal.outbox import Notice, NoticeBook, NoticeKind
from orchestrator.journal.records import BatchRecord
from orchestrator.notifications.notices import finish_of, notice_of, notice_of_entry
from orchestrator.notifications.sending import Complaints, Delivery, Target, targets_of
from orchestrator.observe.streams import ReportingContext

#: Seconds that a command may take; a run that waited for it forever would block the next one.
COMMAND_SECONDS: Final = 600.0
#: Seconds between the first notice and the message, to gather other notices of its kind.
GATHER_SECONDS: Final = 2.0
#: Seconds between two messages: a batch in which everything fails must not send hundreds of them.
REST_SECONDS: Final = 30.0
_FAILED: Final = frozenset({EntryState.FAILED, EntryState.REVIEW_FAILED})
#: Seconds that a command waits at its end for unsent notices.
FLUSH_SECONDS: Final = 30.0


class Notifier(ABC):
    """A subscriber that buffers events, and a task that owes notices to the targets and sends them.

    `_note` gets the events buffered since its last call.
    """

    name = "the notifications"
    event_types: Collection[type[Event]] = ()

    def __init__(
        self, targets: Sequence[Target], command: str | None, journal: Journal, reporting: ReportingContext
    ) -> None:
        self._targets = targets
        self._command = command
        self._journal = journal
        self._reporting = reporting
        self._events: list[Event] = []
        self._news = anyio.Event()
        self._ending = anyio.Event()
        self._task: asyncio.Task[None] | None = None
        self._complaints = Complaints(reporting)

    def __call__(self, event: Event) -> None:
        """Buffer *event* for the task."""
        self._events.append(event)
        self._news.set()

    async def __aenter__(self) -> Self:
        # An asyncio task: a task group would wrap whatever the block raises.
        self._task = asyncio.create_task(self._keep_sending())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await self._end_task()
            await self._guarded(partial(self._leave, has_failed=kind is not None))

    async def unreported(self) -> Collection[str]:
        """Return the digests of batches with owed or promised notices; raises JournalError."""
        return await self._journal.batches_to_notify_of(self._digests())

    @abstractmethod
    async def finish(self, report: RunOutcome) -> None:
        """Report the end of a run that held its batch's lock."""

    @abstractmethod
    async def _note(self, events: Sequence[Event]) -> None:
        """Owe the notices for *events*."""

    @abstractmethod
    async def _send_owed(self) -> None:
        """Send the owed notices."""

    @abstractmethod
    async def _leave(self, *, has_failed: bool) -> None:
        """Finish when the session ends, after the task has ended."""

    def _digests(self) -> list[str]:
        command = [] if self._command is None else [digest_of_command(self._command)]
        return [*(target.digest for target in self._targets), *command]

    async def _keep_sending(self) -> None:
        while not self._ending.is_set():
            await self._news.wait()
            self._news = anyio.Event()
            await self._guarded(self._note_events)
            await self._pause(GATHER_SECONDS)
            await self._guarded(self._send_owed)
            await self._pause(REST_SECONDS)

    async def _note_events(self) -> None:
        events, self._events = self._events, []
        await self._note(events)

    async def _end_task(self) -> None:
        """Let the task finish its current send, for a limited time."""
        task, self._task = self._task, None
        if task is None:
            return
        self._ending.set()
        self._news.set()
        await asyncio.wait([task], timeout=FLUSH_SECONDS)
        task.cancel()
        await asyncio.wait([task])

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run *work*; a journal failure is one warning here, and the run handles its own."""
        try:
            await work()
        except JournalError as error:
            self._complaints.complain("some address", error.message)

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._ending.wait()

    async def _run_command(self, book: NoticeBook, finish: Notice, document: Mapping[str, object]) -> None:
        taken = await book.take([finish])
        if self._command is None or not taken:
            return
        # In the same form as `--json`: the command may show it on a terminal.
        text = disarmed_json(json.dumps(document, ensure_ascii=False))
        failure = await run_shell_command(self._command, text, self._reporting.command_output)
        if failure is not None:
            self._reporting.warn(f"the command of --on-finish {failure}")
        # A failed command is not run again: its side effects must not happen twice.
        await book.settle(taken, is_sent=True)


class RunNotifier(Notifier):
    """The notifier of the run *run_id*, which holds its batch's lock.

    *has_worked* is called at the end: a run without work is not reported. *document* returns the command's input
    for a report.
    """

    event_types = frozenset({RunStarted, EntryFailed, DecisionNeeded, OutageBegan, OutageEnded})

    def __init__(
        self,
        targets: Sequence[Target],
        command: str | None,
        journal: Journal,
        run_id: str,
        *,
        has_worked: Callable[[], bool],
        document: Callable[[RunOutcome, Journal], Awaitable[Mapping[str, object]]],
        reporting: ReportingContext,
    ) -> None:
        super().__init__(targets, command, journal, reporting)
        self._document = document
        #: None until the run's batch is known.
        self._delivery: Delivery | None = None
        self._run_id = run_id
        self._has_worked = has_worked
        self._outages = 0
        #: Digests of targets to which a killed earlier run still owes its end.
        self._continued: set[str] = set()

    async def finish(self, report: RunOutcome) -> None:
        """Send all owed notices, and the end of the run if it had work or continued a killed run."""
        await self._end_task()
        await self._guarded(partial(self._finish, report))

    async def _note(self, events: Sequence[Event]) -> None:
        notices = []
        for event in events:
            if isinstance(event, RunStarted):
                await self._begin(event)
            self._outages += isinstance(event, OutageBegan)
            notices.append(notice_of(event, f"{self._run_id} {self._outages}"))
        if self._delivery is not None:
            await self._delivery.owe(notices)

    async def _send_owed(self) -> None:
        if self._delivery is not None:
            await self._delivery.send_owed()

    async def _leave(self, *, has_failed: bool) -> None:
        if self._delivery is not None and has_failed and not self._has_worked():
            await self._break_promises(self._delivery)

    async def _begin(self, event: RunStarted) -> None:
        found = [one for one in await self._journal.batches() if one.last_run_id == self._run_id]
        if not found:
            return
        self._delivery = Delivery(
            self._targets, self._journal, self._complaints, batch=found[0].batch, name=event.batch
        )
        for digest in self._digests():
            book = self._delivery.book(digest)
            if await book.promise(f"finished:{self._run_id}", NoticeKind.FINISHED):
                self._continued.add(digest)
            # A killed run can no longer report the end of its outages.
            await book.drop_stale(NoticeKind.OUTAGE_BEGUN)
            await book.drop_stale(NoticeKind.OUTAGE_OVER)

    async def _finish(self, report: RunOutcome) -> None:
        await self._note_events()
        delivery = self._delivery
        if delivery is None:
            return
        await owe_failures(delivery, self._journal)
        finish = delivery.masked(
            finish_of(
                report.run_id,
                report.exit_code,
                report.elapsed_seconds,
                report.entries.as_dict(),
                None if report.cause is None else report.cause.message,
            )
        )
        reported = [digest for digest in self._digests() if self._has_worked() or digest in self._continued]
        for digest in reported:
            await delivery.book(digest).keep_promise(finish)
        if not reported:
            await self._break_promises(delivery)
        with anyio.move_on_after(FLUSH_SECONDS):
            await delivery.send_owed()
        if self._command is not None and (command := digest_of_command(self._command)) in reported:
            document = await self._document(report, self._journal)
            await self._run_command(delivery.book(command), finish, document)

    async def _break_promises(self, delivery: Delivery) -> None:
        for digest in self._digests():
            await delivery.book(digest).break_promise(f"finished:{self._run_id}")


def digest_of_command(command: str) -> str:
    return "command:" + hashlib.sha256(command.encode()).hexdigest()[:16]


async def run_shell_command(command: str, document: str, output: int) -> str | None:
    """Run *command* in the shell with *document* as its input; return the failure, None on success.

    *output* is the file descriptor for its output, or asyncio's DEVNULL.
    """
    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.PIPE, stdout=output, stderr=output
    )
    try:
        with anyio.fail_after(COMMAND_SECONDS):
            await process.communicate((document + "\n").encode())
    except TimeoutError:
        return f"was stopped: it took longer than {as_clock(COMMAND_SECONDS)}"
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return f"failed with exit code {process.returncode}" if process.returncode else None


async def owe_failures(delivery: Delivery, journal: Journal) -> None:
    """Owe notices for all failed entries of the journal: a killed run had no time to send them."""
    reading = journal.entries(delivery.batch, states=_FAILED)
    await delivery.owe([notice_of_entry(record) async for record in reading])


class WatchNotifier:
    """The notifier of `watch` about *batch* for the addresses *urls*; *only* is as in `watch`."""

    def __init__(
        self,
        urls: Sequence[str],
        journal: Journal,
        reporting: ReportingContext,
        batch: BatchRecord,
        *,
        only: Collection[str] | None,
    ) -> None:
        self._complaints = Complaints(reporting)
        self._delivery = Delivery(
            targets_of(urls) if urls else (), journal, self._complaints, batch=batch.batch, name=batch.name
        )
        self._journal = journal
        self._only = None if only is None else frozenset(only)

    async def report_reviews(self) -> None:
        """Send every failed review that its target was not notified of; a journal failure is one warning."""
        if not self._delivery.targets:
            return
        try:
            failed = self._journal.entries(self._delivery.batch, states=(EntryState.REVIEW_FAILED,))
            await self._delivery.owe(
                [
                    notice_of_entry(record)
                    async for record in failed
                    if self._only is None or record.entry_id in self._only
                ]
            )
            await self._delivery.send_owed()
        except JournalError as error:
            self._complaints.complain("some address", error.message)

    async def report_end(self, until: Milestone, exit_code: ExitCode, progress: Progress) -> None:
        """Send owed notices, and the end if no entry is in progress any more; takes half a minute at most."""
        if not self._delivery.targets:
            return
        with anyio.move_on_after(FLUSH_SECONDS):
            if progress.exit_code() is exit_code:
                try:
                    await self._delivery.owe([await self._end(until, exit_code, progress)])
                except JournalError as error:
                    self._complaints.complain("some address", error.message)
            await self.report_reviews()

    async def _end(self, until: Milestone, exit_code: ExitCode, progress: Progress) -> Notice:
        """Return the notice for the end of following to *until*.

        A later submission makes it a different notice; watching again does not.
        """
        newest = 0.0
        async for record in self._journal.entries(self._delivery.batch):
            if self._only is None or record.entry_id in self._only:
                newest = max(newest, record.submitted_at or 0.0)
        others = f", {progress.stuck} need attention" if progress.stuck else ""
        entries = "" if self._only is None else f" {sorted(self._only)}"
        return Notice(
            f"watched:{until}{entries}",
            NoticeKind.WATCH_FINISHED,
            f"{progress.reached} of {progress.reached + progress.stuck} entries {until}{others}; "
            f"exit code {int(exit_code)}",
            f"{progress.reached} {progress.stuck} {newest}",
        )
