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
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import anyio.to_thread

from orchestrator.api.run_report import with_results
from orchestrator.domain.errors import ConfigurationError, ExitCode, JournalError
from orchestrator.domain.foreign import disarmed_json, masked, shown_address
from orchestrator.domain.notices import Message, Notice, NoticeKind, message_of
from orchestrator.domain.quantities import as_clock
from orchestrator.domain.states import EntryState
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
from orchestrator.journal.notices import NoticeBook
from orchestrator.journal.records import BatchRecord, EntryRecord
from orchestrator.observe.wording import outage_line

if TYPE_CHECKING:
    from apprise import Apprise

    from orchestrator.api.session import Surroundings

#: What a command may take; a run that waits for it for ever would keep the next one out.
COMMAND_SECONDS: Final = 600.0
#: Seconds from the first thing to say to the message, in which others of its kind come along.
GATHER_SECONDS: Final = 2.0
#: Seconds between two messages: a batch in which everything fails is no reason to send hundreds.
REST_SECONDS: Final = 30.0
_FAILED: Final = frozenset({EntryState.FAILED, EntryState.REVIEW_FAILED})
#: Seconds that a command waits at its end for what is still to be sent.
FLUSH_SECONDS: Final = 30.0
#: By which apprise's services choose a colour or a priority.
_TYPES: Final = {
    NoticeKind.FINISHED: "info",
    NoticeKind.FAILED: "failure",
    NoticeKind.OUTAGE_OVER: "success",
    NoticeKind.WATCH_FINISHED: "info",
}


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
            text = f"{event.side} answers again after {as_clock(event.lasted_seconds)}"
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
        f"{entries.done} of {entries.total} entries done{counts}, in {as_clock(report.elapsed_seconds)}; "
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
        self._delivery = Delivery(targets_of(urls) if urls else (), journal, around)
        self._delivery.begin(batch.batch, batch.name)
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
            self._delivery.complain("some address", error.message)

    async def report_end(self, until: Milestone, exit_code: ExitCode, progress: Progress) -> None:
        """Send what is still owed, and the end where nothing is under way any more; for half a minute at most."""
        if not self._delivery.targets:
            return
        with anyio.move_on_after(FLUSH_SECONDS):
            if progress.exit_code() is exit_code:
                try:
                    await self._delivery.owe([await self._end(until, exit_code, progress)])
                except JournalError as error:
                    self._delivery.complain("some address", error.message)
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


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go; `name` is what people may see of it, `digest` what the journal has."""

    name: str
    digest: str
    send: Callable[[Message], bool]


def targets_of(urls: Sequence[str]) -> list[Target]:
    """What sends to *urls*, each once; raises ConfigurationError without apprise, or for one it does not know."""
    try:
        from apprise import Apprise  # noqa: PLC0415 - loading it takes most of a second, and is an extra
    except ImportError:
        raise ConfigurationError(
            "--notify needs the extra notify", hint="`pip install 'metastudio-orchestrator[notify]'`"
        ) from None
    return [_target(Apprise(), url) for url in dict.fromkeys(urls)]


def _target(service: Apprise, url: str) -> Target:
    if not service.add(url):
        raise ConfigurationError(
            f"--notify: {shown_address(url)} is not an address that can be notified",
            hint="https://github.com/caronc/apprise/wiki lists what they look like",
        )

    def send(message: Message) -> bool:
        kind: Any = _TYPES.get(message.kind, "warning")
        return bool(service.notify(title=message.title, body=message.body, notify_type=kind))

    return Target(shown_address(url), hashlib.sha256(url.encode()).hexdigest()[:16], send)


class Delivery:
    """The way of a batch's notices to *targets*; until `begin` there is no batch, and nothing is owed or sent."""

    def __init__(self, targets: Sequence[Target], journal: Journal, around: Surroundings) -> None:
        self.targets = targets
        self.batch = ""
        self._name = ""
        self._journal = journal
        self._around = around
        self._complained: set[str] = set()

    @property
    def has_batch(self) -> bool:
        """True once it is known what the notices are about."""
        return self.batch != ""

    def begin(self, batch: str, name: str) -> None:
        """Let the notices be about the batch with the digest *batch*, which people know by *name*."""
        self.batch, self._name = batch, name

    def book(self, digest: str) -> NoticeBook:
        """The journal's notices of the batch to the target with this digest."""
        return self._journal.notices(self.batch, digest)

    def hidden(self, notice: Notice) -> Notice:
        """The *notice* without what neither a journal nor a chat may hold."""
        return notice._replace(text=masked(notice.text, hidden=self._around.hidden))

    async def owe(self, notices: Iterable[Notice | None]) -> None:
        """Owe *notices* to every target, each unless it was owed for the same reason before."""
        masked_ones = [self.hidden(notice) for notice in notices if notice is not None]
        for target in self.targets if self.has_batch else ():
            await self.book(target.digest).owe(masked_ones)

    async def send_owed(self) -> None:
        """Send what is owed, one message for all notices of a kind; a target that does not take it is one warning."""
        for target in self.targets if self.has_batch else ():
            book = self.book(target.digest)
            by_kind = sorted(await book.owed(), key=lambda notice: notice.kind)
            for kind, group in groupby(by_kind, key=lambda notice: notice.kind):
                await self._send(target, book, kind, list(group))

    def complain(self, name: str, reason: str) -> None:
        """Warn, once, that what is called *name* was not notified."""
        if name not in self._complained:
            self._complained.add(name)
            self._around.warn(f"{name} was not notified: {reason}; the next run tries again")

    async def _send(self, target: Target, book: NoticeBook, kind: NoticeKind, notices: list[Notice]) -> None:
        taken = await book.take(notices)
        if not taken:
            return
        is_sent = False
        try:
            is_sent = await anyio.to_thread.run_sync(
                target.send, message_of(self._name, kind, taken), abandon_on_cancel=True
            )
            reason = "it did not take the message"
        except Exception as error:  # noqa: BLE001 - whatever a service's client raises, the work is worth more
            reason = type(error).__name__
        if not is_sent:
            self.complain(target.name, reason)
        await book.settle(taken, is_sent=is_sent)
