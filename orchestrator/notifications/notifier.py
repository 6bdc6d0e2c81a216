"""Notifies people of a batch, each of everything once: of a run while it works, its end, and what `watch` sees.

Subscribers of events are called within the run and must not wait, so they only note what there is to say; one task,
which lives as long as the session, keeps it in the journal and sends it. What `watch` reports is all read from the
journal, so what it had no time to say before it was killed is said by the next one. A notice is owed in the journal
first, taken, sent, and settled. Whatever fails here is one warning.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
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
from orchestrator.engine.report import RunReport
from orchestrator.journal.journal import Journal
from orchestrator.journal.outbox import Notice, NoticeBook, NoticeKind
from orchestrator.journal.records import BatchRecord
from orchestrator.notifications.notices import finish_of, notice_of, notice_of_entry
from orchestrator.notifications.sending import Complaints, Delivery, Target, targets_of
from orchestrator.observe.streams import Surroundings

#: What a command may take; a run that waits for it for ever would keep the next one out.
COMMAND_SECONDS: Final = 600.0
#: Seconds from the first thing to say to the message, in which others of its kind come along.
GATHER_SECONDS: Final = 2.0
#: Seconds between two messages: a batch in which everything fails is no reason to send hundreds.
REST_SECONDS: Final = 30.0
_FAILED: Final = frozenset({EntryState.FAILED, EntryState.REVIEW_FAILED})
#: Seconds that a command waits at its end for what is still to be sent.
FLUSH_SECONDS: Final = 30.0


class Notifier:
    """A subscriber that notes what happens, and a task that owes it to the targets and sends it.

    What owes and sends is its heir's: `_note` with the events noted since, `_send_owed`.
    """

    name = "the notifications"
    hears: Collection[type[Event]] = ()

    def __init__(
        self, targets: Sequence[Target], command: str | None, journal: Journal, around: Surroundings
    ) -> None:
        self._targets = targets
        self._command = command
        self._journal = journal
        self._around = around
        self._events: list[Event] = []
        self._news = anyio.Event()
        self._ending = anyio.Event()
        self._task: asyncio.Task[None] | None = None
        self._complaints = Complaints(around)

    def __call__(self, event: Event) -> None:
        """Note *event* for the task."""
        self._events.append(event)
        self._news.set()

    async def __aenter__(self) -> Self:
        # A task of asyncio's: a task group would wrap whatever the block raises.
        self._task = asyncio.create_task(self._keep_sending())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await self._end_task()
            await self._guarded(partial(self._leave, has_failed=kind is not None))

    async def unreported(self) -> Collection[str]:
        """The digests of batches of which there is something left to say, perhaps their end; raises JournalError."""
        return await self._journal.batches_to_notify_of(self._digests())

    async def finish(self, report: RunReport) -> None:
        """Say how a run ended that had its batch to itself."""

    async def _note(self, events: Sequence[Event]) -> None:
        """Owe what *events* give to say."""
        raise NotImplementedError

    async def _send_owed(self) -> None:
        """Send what is owed."""
        raise NotImplementedError

    async def _leave(self, *, has_failed: bool) -> None:
        """Finish, after the task, when the session ends."""

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
        """Let the task send what it is at, but not for ever."""
        task, self._task = self._task, None
        if task is None:
            return
        self._ending.set()
        self._news.set()
        await asyncio.wait([task], timeout=FLUSH_SECONDS)
        task.cancel()
        await asyncio.wait([task])

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work*; a failure of the journal is one warning here, and the run's own business elsewhere."""
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
        # As `--json` prints it: the command may well show it on a terminal.
        text = disarmed_json(json.dumps(document, ensure_ascii=False))
        failure = await feed(self._command, text, self._around.command_output)
        if failure is not None:
            self._around.warn(f"the command of --on-finish {failure}")
        # One that failed is not run again: what it did until then must not be done twice.
        await book.settle(taken, is_sent=True)


class RunNotifier(Notifier):
    """What is notified of in the run *run_id*, which has its batch to itself.

    *has_worked* is asked at the end: a run that found nothing to do is not reported. *document* makes of the report
    what the command reads.
    """

    hears = frozenset({RunStarted, EntryFailed, DecisionNeeded, OutageBegan, OutageEnded})

    def __init__(
        self,
        targets: Sequence[Target],
        command: str | None,
        journal: Journal,
        run_id: str,
        *,
        has_worked: Callable[[], bool],
        document: Callable[[RunReport, Journal], Awaitable[Mapping[str, object]]],
        around: Surroundings,
    ) -> None:
        super().__init__(targets, command, journal, around)
        self._document = document
        #: None until it is known what the notices are about.
        self._delivery: Delivery | None = None
        self._run_id = run_id
        self._has_worked = has_worked
        self._outages = 0
        #: Those to which an earlier run owes its end, because it was killed.
        self._continued: set[str] = set()

    async def finish(self, report: RunReport) -> None:
        """Send all that is owed, and the end of the run where it had work or continued one that was killed."""
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
            # A run that was killed can no longer say how its outages went.
            await book.drop_stale(NoticeKind.OUTAGE_BEGUN)
            await book.drop_stale(NoticeKind.OUTAGE_OVER)

    async def _finish(self, report: RunReport) -> None:
        await self._note_events()
        delivery = self._delivery
        if delivery is None:
            return
        await owe_failures(delivery, self._journal)
        finish = delivery.hidden(
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


async def feed(command: str, document: str, output: int) -> str | None:
    """Run *command* with the shell and *document* as its input; return what went wrong, None where nothing did.

    *output* is the descriptor to which it writes, or asyncio's DEVNULL.
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
    """Owe what the journal has to say of failed entries: who was killed had no time for it."""
    reading = journal.entries(delivery.batch, states=_FAILED)
    await delivery.owe([notice_of_entry(record) async for record in reading])


class WatchNotifier:
    """Owes and sends what there is to say of *batch* to the addresses *urls*; *only* as in `watch`."""

    def __init__(
        self,
        urls: Sequence[str],
        journal: Journal,
        around: Surroundings,
        batch: BatchRecord,
        *,
        only: Collection[str] | None,
    ) -> None:
        self._complaints = Complaints(around)
        self._delivery = Delivery(
            targets_of(urls) if urls else (), journal, self._complaints, batch=batch.batch, name=batch.name
        )
        self._journal = journal
        self._only = None if only is None else frozenset(only)

    async def report_reviews(self) -> None:
        """Send every failed review of which its target has not heard; a failure of the journal is one warning."""
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
        """Send what is still owed, and the end where nothing is under way any more; for half a minute at most."""
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
        """The end of following to *until*; a later submission makes it another one, watching again does not."""
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
