"""Notifies people of a run while it works, and a command at its end; each of everything once.

Subscribers of events are called within the run and must not wait, so they only note what there is to say; one task,
which lives as long as the session, keeps it in the journal and sends it. Whatever fails here is one warning.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import anyio

from orchestrator.api.delivering import FLUSH_SECONDS, Delivery, Target
from orchestrator.api.hooks import feed
from orchestrator.api.run_document import with_results
from orchestrator.domain.errors import JournalError
from orchestrator.domain.foreign import disarmed_json
from orchestrator.domain.notices import Notice, NoticeKind
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import (
    DecisionNeeded,
    EntryFailed,
    Event,
    OutageBegan,
    OutageEnded,
    RunStarted,
)
from orchestrator.engine.report import RunReport
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import EntryRecord
from orchestrator.observe.wording import duration, outage_line

if TYPE_CHECKING:
    from orchestrator.api.telling import Surroundings

#: Seconds from the first thing to say to the message, in which others of its kind come along.
GATHER_SECONDS: Final = 2.0
#: Seconds between two messages: a batch in which everything fails is no reason to send hundreds.
REST_SECONDS: Final = 30.0
_FAILED: Final = frozenset({EntryState.FAILED, EntryState.REVIEW_FAILED})


def notice_of(event: Event, occasion: str) -> Notice | None:
    """What *event* gives to say, None where nothing; *occasion* makes one outage another than the last."""
    match event:
        case EntryFailed():
            return _failure(event.entry, event.kind, event.code, event.message)
        case DecisionNeeded():
            subject = f"decision:{event.entry}"
            return Notice(subject, NoticeKind.DECISION_NEEDED, f"{event.entry}: {event.reason}", event.reason)
        case OutageBegan():
            return Notice(f"outage:{event.side}", NoticeKind.OUTAGE_BEGUN, outage_line(event), occasion)
        case OutageEnded():
            text = f"{event.side} answers again after {duration(event.lasted_seconds)}"
            return Notice(f"outage_over:{event.side}", NoticeKind.OUTAGE_OVER, text, occasion)
        case _:
            return None


def notice_of_entry(record: EntryRecord) -> Notice | None:
    """What the journal has to say of an entry that failed, as the event said it; None where there is no reason."""
    if record.state is EntryState.FAILED and record.error is not None:
        return _failure(record.entry_id, record.error.kind, record.error.code, record.error.message)
    if record.state is not EntryState.REVIEW_FAILED:
        return None
    reason = record.review_reason or "no reason was given"
    code = f" ({record.review_code})" if record.review_code else ""
    return Notice(
        f"review:{record.entry_id}",
        NoticeKind.REVIEW_FAILED,
        f"{record.entry_id}: {reason}{code}",
        f"{record.submitted_at}: {reason}",
    )


def _failure(entry: str, kind: str, code: str | None, message: str) -> Notice:
    is_decision = kind == "decision_needed"
    return Notice(
        f"{'decision' if is_decision else 'failed'}:{entry}",
        NoticeKind.DECISION_NEEDED if is_decision else NoticeKind.FAILED,
        f"{entry}: {message}{f' ({code})' if code else ''}",
        f"{kind} {code} {message}",
    )


def finish_of(report: RunReport) -> Notice:
    """What is said of a run at its end."""
    entries = report.entries
    others = {"failed": entries.failed, "skipped": entries.skipped, "left": entries.pending}
    counts = "".join(f", {count} {name}" for name, count in others.items() if count)
    cause = "" if report.cause is None else f"; {report.cause.message}"
    return Notice(
        f"finished:{report.run_id}",
        NoticeKind.FINISHED,
        f"{entries.done} of {entries.total} entries done{counts}, in {duration(report.elapsed_seconds)}; "
        f"exit code {int(report.exit_code)}{cause} (run {report.run_id})",
    )


class Notifier:
    """A subscriber that owes to its targets what happens in the run *run_id*, and a task that sends it.

    *has_worked* is asked at the end: a run that found nothing to do is not reported.
    """

    name = "the notifications"
    hears = frozenset({RunStarted, EntryFailed, DecisionNeeded, OutageBegan, OutageEnded})

    def __init__(
        self,
        targets: Sequence[Target],
        command: str | None,
        journal: Journal,
        run_id: str,
        *,
        has_worked: Callable[[], bool],
        around: Surroundings,
    ) -> None:
        self._delivery = Delivery(targets, journal, around)
        self._command = command
        self._journal = journal
        self._run_id = run_id
        self._has_worked = has_worked
        self._around = around
        self._events: list[Event] = []
        self._outages = 0
        self._news = anyio.Event()
        self._ending = anyio.Event()
        self._task: asyncio.Task[None] | None = None
        #: Those to which an earlier run owes its end, because it was killed.
        self._continued: set[str] = set()

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
            if kind is not None and not self._has_worked():
                await self._guarded(self._break_promises)

    async def finish(self, report: RunReport) -> None:
        """Send all that is owed, and the end of the run where it had work or continued one that was killed."""
        await self._end_task()
        await self._guarded(partial(self._finish, report))

    async def _keep_sending(self) -> None:
        while not self._ending.is_set():
            await self._news.wait()
            self._news = anyio.Event()
            await self._guarded(self._note)
            await self._pause(GATHER_SECONDS)
            await self._guarded(self._delivery.send_owed)
            await self._pause(REST_SECONDS)

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
            self._delivery.complain("some address", error.message)

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._ending.wait()

    async def _note(self) -> None:
        events, self._events = self._events, []
        notices = []
        for event in events:
            if isinstance(event, RunStarted):
                await self._begin(event)
            self._outages += isinstance(event, OutageBegan)
            notices.append(notice_of(event, f"{self._run_id} {self._outages}"))
        await self._delivery.owe(notices)

    async def _begin(self, event: RunStarted) -> None:
        found = [one.batch for one in await self._journal.batches() if one.last_run_id == self._run_id]
        if found:
            self._delivery.begin(found[0], event.batch)
        for digest in self._digests():
            book = self._delivery.book(digest)
            if await book.promise(f"finished:{self._run_id}", NoticeKind.FINISHED):
                self._continued.add(digest)
            # A run that was killed can no longer say how its outages went.
            await book.drop_stale(NoticeKind.OUTAGE_BEGUN)
            await book.drop_stale(NoticeKind.OUTAGE_OVER)

    def _digests(self) -> list[str]:
        if not self._delivery.has_batch:
            return []
        command = [] if self._command is None else [_digest_of_command(self._command)]
        return [*(target.digest for target in self._delivery.targets), *command]

    async def _finish(self, report: RunReport) -> None:
        await self._note()
        if not self._delivery.has_batch:
            return
        reading = self._journal.entries(self._delivery.batch, states=_FAILED)
        # What a run that was killed had no time to owe.
        await self._delivery.owe([notice_of_entry(record) async for record in reading])
        finish = self._delivery.hidden(finish_of(report))
        reported = [digest for digest in self._digests() if self._has_worked() or digest in self._continued]
        for digest in reported:
            await self._delivery.book(digest).keep_promise(finish)
        if not reported:
            await self._break_promises()
        with anyio.move_on_after(FLUSH_SECONDS):
            await self._delivery.send_owed()
        if self._command is not None and _digest_of_command(self._command) in reported:
            await self._run_command(self._command, finish, report)

    async def _break_promises(self) -> None:
        for digest in self._digests():
            await self._delivery.book(digest).break_promise(f"finished:{self._run_id}")

    async def _run_command(self, command: str, finish: Notice, report: RunReport) -> None:
        book = self._delivery.book(_digest_of_command(command))
        taken = await book.take([finish])
        # As `--json` prints it: the command may well show it on a terminal.
        told = (await with_results(report, self._journal)).as_dict()
        document = disarmed_json(json.dumps(told, ensure_ascii=False))
        failure = await feed(command, document, self._around.command_output)
        if failure is not None:
            self._around.warn(f"the command of --on-finish {failure}")
        # One that failed is not run again: what it did until then must not be done twice.
        await book.settle(taken, is_sent=True)


def _digest_of_command(command: str) -> str:
    return "command:" + hashlib.sha256(command.encode()).hexdigest()[:16]
