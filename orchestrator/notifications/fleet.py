"""Notifications about the batches of a fleet, once per subject, however many workers see it.

Every worker records the notices it owes in the shared journal and sends owed ones; the database decides whether a
notice was already owed or taken. The end of a batch is promised when the batch is queued and reported by the first
worker that keeps the promise. If that worker dies before it does, the others keep the promise, including those that
start later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from orchestrator.engine.events import (
    BatchFinished,
    BatchQueued,
    DecisionNeeded,
    EntryEvent,
    EntryFailed,
    Event,
    OutageBegan,
    OutageEnded,
    OutageEvent,
)
from orchestrator.journal.outbox import NoticeKind
from orchestrator.notifications.notices import finish_of, notice_of
from orchestrator.notifications.notifier import FLUSH_SECONDS, Notifier, digest_of_command, owe_failures
from orchestrator.notifications.sending import Delivery, Target
from orchestrator.observe.streams import ReportingContext

if TYPE_CHECKING:
    from orchestrator.engine.report import RunOutcome
    from orchestrator.journal.journal import Journal

#: Seconds after which an outage is reported again: the workers that saw it begin may have ended before it did.
_OUTAGE_REMEMBERED: Final = 3600.0


class FleetNotifier(Notifier):
    """The notifier of a worker or of a command that queues a batch, next to others that do the same.

    *document* returns the command's input for the end of a batch.
    """

    event_types = frozenset(
        {BatchQueued, BatchFinished, EntryFailed, DecisionNeeded, OutageBegan, OutageEnded}
    )

    def __init__(
        self,
        targets: Sequence[Target],
        command: str | None,
        journal: Journal,
        *,
        document: Callable[[BatchFinished, Journal], Awaitable[Mapping[str, object]]],
        reporting: ReportingContext,
    ) -> None:
        super().__init__(targets, command, journal, reporting)
        self._document = document
        #: Deliveries of queued batches by batch name; all are in one project.
        self._deliveries: dict[str, Delivery] = {}
        self._finished: list[BatchFinished] = []
        self._commands: list[asyncio.Task[None]] = []

    async def finish(self, report: RunOutcome) -> None:
        """Do nothing: the end of a batch is an event, which the worker or command that sees it publishes."""

    async def _note(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, BatchQueued):
                await self._promise(event)
            elif isinstance(event, BatchFinished):
                await self._finish(event)
            elif isinstance(event, OutageEvent):
                for delivery in self._deliveries.values():
                    await _owe_outage(delivery, event)
            elif isinstance(event, EntryEvent):
                about = await self._delivery_of(event.batch)
                if about is not None:
                    await about.owe([notice_of(event, "")])

    async def _send_owed(self) -> None:
        for delivery in list(self._deliveries.values()):
            await delivery.send_owed()
        finished, self._finished = self._finished, []
        for event in finished:
            self._deliveries.pop(event.batch, None)

    async def _leave(self, *, has_failed: bool) -> None:
        del has_failed
        await self._note_events()
        with anyio.move_on_after(FLUSH_SECONDS):
            await self._send_owed()
        if self._commands:
            await asyncio.wait(self._commands)

    async def _delivery_of(self, name: str, digest: str | None = None) -> Delivery | None:
        """Return the batch's delivery; None if the journal does not have the batch."""
        if name not in self._deliveries:
            if digest is None:
                alike = await self._journal.batches_named(name)
                if not alike:
                    return None
                digest = max(alike, key=lambda batch: batch.last_run_at or 0.0).batch
            self._deliveries[name] = Delivery(
                self._targets, self._journal, self._complaints, batch=digest, name=name
            )
        return self._deliveries[name]

    async def _promise(self, event: BatchQueued) -> None:
        # The batch may have been queued again before its last end was sent.
        self._finished = [finished for finished in self._finished if finished.batch != event.batch]
        delivery = await self._delivery_of(event.batch, event.digest)
        for digest in self._digests() if delivery is not None else ():
            book = self._journal.notices(event.digest, digest)
            await book.promise(f"finished:{event.run_id}", NoticeKind.FINISHED)

    async def _finish(self, event: BatchFinished) -> None:
        delivery = await self._delivery_of(event.batch, event.digest)
        if delivery is None:
            return
        self._finished.append(event)
        await owe_failures(delivery, self._journal)
        finish = delivery.masked(
            finish_of(event.run_id, event.exit_code, event.elapsed_seconds, event.entries)
        )
        for digest in self._digests():
            await delivery.book(digest).keep_latest_promise(finish)
        if self._command is not None:
            # The command may take minutes; other notices must not wait for it.
            running = partial(self._guarded, partial(self._run_owed_command, delivery, event))
            self._commands.append(asyncio.create_task(running()))

    async def _run_owed_command(self, delivery: Delivery, event: BatchFinished) -> None:
        book = delivery.book(digest_of_command(self._command or ""))
        owed = [notice for notice in await book.owed() if notice.kind is NoticeKind.FINISHED]
        if owed:
            await self._run_command(book, owed[-1], await self._document(event, self._journal))


async def _owe_outage(delivery: Delivery, event: OutageEvent) -> None:
    """Owe one notice that all hosts wait, or no longer wait, although each of them sees the event."""
    notice = notice_of(event, "")
    if notice is None:
        return
    notice = delivery.masked(notice)
    begin, end = f"outage:{event.side}", f"outage_over:{event.side}"
    for target in delivery.targets:
        book = delivery.book(target.digest)
        if isinstance(event, OutageEnded):
            await book.owe_end(notice, begin)
        else:
            await book.owe_begin(notice, end, _OUTAGE_REMEMBERED)
