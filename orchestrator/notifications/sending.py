"""Sends a batch's notices: each is owed in the journal, taken, sent and settled once, even with several senders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.untrusted_text import masked, shown_address
from orchestrator.journal.journal import Journal
from orchestrator.journal.outbox import Notice, NoticeBook, NoticeKind
from orchestrator.notifications.notices import Message, message_of
from orchestrator.observe.streams import ReportingContext

if TYPE_CHECKING:
    from apprise import Apprise

#: Types from which apprise's services choose a color or a priority.
_TYPES: Final = {
    NoticeKind.FINISHED: "info",
    NoticeKind.FAILED: "failure",
    NoticeKind.OUTAGE_OVER: "success",
    NoticeKind.WATCH_FINISHED: "info",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A destination of messages; `name` may be shown to people, the journal stores `digest`."""

    name: str
    digest: str
    send: Callable[[Message], bool]


def targets_of(urls: Sequence[str]) -> list[Target]:
    """Return the targets for *urls*, without duplicates.

    Raises ConfigurationError without apprise, or for a URL that apprise does not support.
    """
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


class Complaints:
    """Warnings about addresses that were not notified, once per address."""

    def __init__(self, reporting: ReportingContext) -> None:
        self.reporting = reporting
        self._complained: set[str] = set()

    def complain(self, name: str, reason: str) -> None:
        """Warn that the address *name* was not notified."""
        if name not in self._complained:
            self._complained.add(name)
            self.reporting.warn(f"{name} was not notified: {reason}; the next run tries again")


class Delivery:
    """The delivery of a batch's notices to *targets*; *batch* is its digest, *name* its name for people."""

    def __init__(
        self, targets: Sequence[Target], journal: Journal, complaints: Complaints, *, batch: str, name: str
    ) -> None:
        self.targets = targets
        self.batch = batch
        self._name = name
        self._journal = journal
        self._complaints = complaints

    def book(self, digest: str) -> NoticeBook:
        """Return the journal's notices of the batch for the target with this digest."""
        return self._journal.notices(self.batch, digest)

    def masked(self, notice: Notice) -> Notice:
        """Return *notice* with secrets masked, which neither the journal nor a chat may contain."""
        return notice._replace(text=masked(notice.text, hidden=self._complaints.reporting.hidden))

    async def owe(self, notices: Iterable[Notice | None]) -> None:
        """Owe *notices* to every target, except those that it was already owed for the same reason."""
        masked_ones = [self.masked(notice) for notice in notices if notice is not None]
        for target in self.targets:
            await self.book(target.digest).owe(masked_ones)

    async def send_owed(self) -> None:
        """Send the owed notices, one message per kind; a target that rejects a message causes one warning."""
        for target in self.targets:
            book = self.book(target.digest)
            by_kind = sorted(await book.owed(), key=lambda notice: notice.kind)
            for kind, group in groupby(by_kind, key=lambda notice: notice.kind):
                await self._send(target, book, kind, list(group))

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
        except Exception as error:  # noqa: BLE001 - whatever a client raises, the run continues
            reason = type(error).__name__
        if not is_sent:
            self._complaints.complain(target.name, reason)
        await book.settle(taken, is_sent=is_sent)
